#!/usr/bin/env bash
# A chat as a job that is waited for, up to 90 seconds.
#
# Settings: none
# Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL (…/openai/v1).
set -euo pipefail
base="${BASE_URL:-https://api.runpod.ai/v2/${ENDPOINT_ID:?Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL}/openai/v1}"
url="${base%/openai/v1}"
headers=(-H "Authorization: Bearer ${RUNPOD_API_KEY:-none}" -H "Content-Type: application/json")

curl -sS --fail-with-body "$url/runsync" "${headers[@]}" -d '{"input": {
  "messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0
}}'
