#!/usr/bin/env bash
# Documents in the order in which they answer a query.
#
# Settings: none, but a reranker; a cross-encoder wants IS_EMBEDDING=true
# Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL (…/v1).
set -euo pipefail
url="${BASE_URL:-https://api.runpod.ai/v2/${ENDPOINT_ID:?Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL}/openai/v1}"
headers=(-H "Authorization: Bearer ${RUNPOD_API_KEY:-none}" -H "Content-Type: application/json")

curl -sS --fail-with-body "$url/rerank" "${headers[@]}" -d '{
  "query": "What is the capital of France?",
  "documents": ["Rome is the capital of Italy.", "Paris is the capital of France."]
}'
