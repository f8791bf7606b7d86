#!/usr/bin/env bash
# Speech as text: a file as a form. Over HTTP alone; RunPod's queue takes no forms.
#
# Settings: none, but a model that hears
# Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL (…/v1).
set -euo pipefail
url="${BASE_URL:-https://api.runpod.ai/v2/${ENDPOINT_ID:?Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL}/openai/v1}"
headers=(-H "Authorization: Bearer ${RUNPOD_API_KEY:-none}")

file="${1:?usage: transcription.sh SPEECH.wav}"
curl -sS --fail-with-body "$url/audio/transcriptions" "${headers[@]}" -F "file=@$file" -F language=en
