#!/usr/bin/env bash
# A job's parts while they are generated: each call gives what is new.
#
# Settings: none
# Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL (…/openai/v1).
set -euo pipefail
base="${BASE_URL:-https://api.runpod.ai/v2/${ENDPOINT_ID:?Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL}/openai/v1}"
url="${base%/openai/v1}"
headers=(-H "Authorization: Bearer ${RUNPOD_API_KEY:-none}" -H "Content-Type: application/json")

field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

job=$(curl -sS --fail-with-body "$url/run" "${headers[@]}" -d '{"input": {
  "text": "The capital of France is", "stream": true, "sampling_params": {"temperature": 0, "max_new_tokens": 20}
}}' | field id)
while answer=$(curl -sS --fail-with-body "$url/stream/$job" "${headers[@]}"); do
  echo "$answer"
  status=$(field status <<< "$answer")
  [[ $status == IN_QUEUE || $status == IN_PROGRESS ]] || break
  sleep 0.2
done
[[ $status == COMPLETED ]]
