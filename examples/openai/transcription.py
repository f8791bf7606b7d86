"""Speech as text. Over HTTP alone: a form does not pass RunPod's queue (see ../runpod/transcription.py).

Settings: none, but a model that hears
Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL, which ends in /v1. MODEL, where it is not the only one.
"""

import os
import sys

import openai

endpoint, key = os.environ.get("ENDPOINT_ID"), os.environ.get("RUNPOD_API_KEY", "none")
url = os.environ.get("BASE_URL") or endpoint and f"https://api.runpod.ai/v2/{endpoint}/openai/v1"
if not url:
    sys.exit("Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL, which ends in /v1.")
client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
model = os.environ.get("MODEL", "default")  # "default" is whatever the endpoint serves


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: transcription.py SPEECH.wav")
    with open(sys.argv[1], "rb") as file:
        heard = client.audio.transcriptions.create(model=model, file=file, language="en")
    print(heard.text)


try:
    main()
except openai.OpenAIError as error:
    sys.exit(f"It was not answered: {getattr(error, 'body', None) or error}")
