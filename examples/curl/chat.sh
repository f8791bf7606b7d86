#!/usr/bin/env bash
# A chat. Without --fail-with-body a refusal would end with status 0.
#
# Settings: none
# Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL (…/v1).
set -euo pipefail
url="${BASE_URL:-https://api.runpod.ai/v2/${ENDPOINT_ID:?Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL}/openai/v1}"
headers=(-H "Authorization: Bearer ${RUNPOD_API_KEY:-none}" -H "Content-Type: application/json")

curl -sS --fail-with-body "$url/chat/completions" "${headers[@]}" -d '{
  "model": "default", "temperature": 0, "max_tokens": 100,
  "messages": [{"role": "user", "content": "What is the capital of France?"}]
}'
