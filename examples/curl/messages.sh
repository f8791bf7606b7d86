#!/usr/bin/env bash
# A message to Anthropic's route.
#
# Settings: none
# Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL (…/v1).
set -euo pipefail
url="${BASE_URL:-https://api.runpod.ai/v2/${ENDPOINT_ID:?Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL}/openai/v1}"
headers=(-H "Authorization: Bearer ${RUNPOD_API_KEY:-none}" -H "Content-Type: application/json")

curl -sS --fail-with-body "$url/messages" "${headers[@]}" -d '{
  "model": "default", "max_tokens": 64, "temperature": 0,
  "messages": [{"role": "user", "content": "What is the capital of France?"}]
}'
