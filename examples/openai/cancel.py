"""A stream that is ended early: the worker stops generating, and nothing more is paid for.

Settings: none
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
    text = ""
    with client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Count to one hundred."}], temperature=0,
            max_tokens=1000, stream=True) as stream:
        for chunk in stream:
            text += chunk.choices[0].delta.content or "" if chunk.choices else ""
            if "7" in text:
                break  # leaving the block closes the connection, and that cancels the job
    print(f"stopped after {text!r}")


try:
    main()
except openai.OpenAIError as error:
    sys.exit(f"It was not answered: {getattr(error, 'body', None) or error}")
