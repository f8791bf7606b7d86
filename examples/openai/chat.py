"""A chat that is streamed, with the count of its tokens at the end.

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
    stream = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "What is the capital of France?"}], temperature=0,
        max_tokens=100, stream=True, stream_options={"include_usage": True})
    for chunk in stream:
        if chunk.choices:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
        elif chunk.usage:
            print(f"\n{chunk.usage.prompt_tokens} tokens in, {chunk.usage.completion_tokens} out")


try:
    main()
except openai.OpenAIError as error:
    sys.exit(f"It was not answered: {getattr(error, 'body', None) or error}")
