#!/usr/bin/env bash
# An answer that keeps a JSON schema.
#
# Settings: none
# Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL (…/v1).
set -euo pipefail
url="${BASE_URL:-https://api.runpod.ai/v2/${ENDPOINT_ID:?Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL}/openai/v1}"
headers=(-H "Authorization: Bearer ${RUNPOD_API_KEY:-none}" -H "Content-Type: application/json")

curl -sS --fail-with-body "$url/chat/completions" "${headers[@]}" -d '{
  "model": "default", "temperature": 0, "max_tokens": 200,
  "messages": [{"role": "user", "content": "Give Paris and its country as JSON."}],
  "response_format": {"type": "json_schema", "json_schema": {"name": "place", "strict": true, "schema": {
    "type": "object", "required": ["city", "country"], "additionalProperties": false,
    "properties": {"city": {"type": "string", "maxLength": 40}, "country": {"type": "string", "maxLength": 40}}}}}
}'
