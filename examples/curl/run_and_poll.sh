#!/usr/bin/env bash
# A job that is queued, and asked for until it is done.
#
# Settings: none
# Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL (…/openai/v1).
set -euo pipefail
base="${BASE_URL:-https://api.runpod.ai/v2/${ENDPOINT_ID:?Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL}/openai/v1}"
url="${base%/openai/v1}"
headers=(-H "Authorization: Bearer ${RUNPOD_API_KEY:-none}" -H "Content-Type: application/json")

field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

job=$(curl -sS --fail-with-body "$url/run" "${headers[@]}" -d '{"input": {
  "messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0
}}' | field id)
while answer=$(curl -sS --fail-with-body "$url/status/$job" "${headers[@]}"); do
  status=$(field status <<< "$answer")
  [[ $status == IN_QUEUE || $status == IN_PROGRESS ]] || break
  sleep 1
done
echo "$answer"
[[ $status == COMPLETED ]]
