#!/usr/bin/env bash
# A job that is cancelled.
#
# Settings: none
# Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL (…/openai/v1).
set -euo pipefail
base="${BASE_URL:-https://api.runpod.ai/v2/${ENDPOINT_ID:?Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL}/openai/v1}"
url="${base%/openai/v1}"
headers=(-H "Authorization: Bearer ${RUNPOD_API_KEY:-none}" -H "Content-Type: application/json")

field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

job=$(curl -sS --fail-with-body "$url/run" "${headers[@]}" -d '{"input": {
  "text": "Once upon a time", "sampling_params": {"n": 8, "max_new_tokens": 1500, "ignore_eos": true}
}}' | field id)
curl -sS --fail-with-body -X POST "$url/cancel/$job" "${headers[@]}"
