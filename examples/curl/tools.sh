#!/usr/bin/env bash
# A tool that the model asks for.
#
# Settings: none where a parser is detected, otherwise TOOL_CALL_PARSER
# Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL (…/v1).
set -euo pipefail
url="${BASE_URL:-https://api.runpod.ai/v2/${ENDPOINT_ID:?Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL}/openai/v1}"
headers=(-H "Authorization: Bearer ${RUNPOD_API_KEY:-none}" -H "Content-Type: application/json")

curl -sS --fail-with-body "$url/chat/completions" "${headers[@]}" -d '{
  "model": "default", "temperature": 0, "max_tokens": 200,
  "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
  "tools": [{"type": "function", "function": {
    "name": "get_weather", "description": "The weather in a city now.",
    "parameters": {"type": "object", "required": ["city"], "additionalProperties": false,
                   "properties": {"city": {"type": "string", "description": "Name of the city."}}}}}]
}'
