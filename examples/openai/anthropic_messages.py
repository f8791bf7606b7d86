"""Anthropic's client on the same endpoint: a message, and a stream of one.

Settings: none
Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL, which ends in /v1. MODEL, where it is not the only one.
"""

import os
import sys

import anthropic

endpoint, key = os.environ.get("ENDPOINT_ID"), os.environ.get("RUNPOD_API_KEY", "none")
url = os.environ.get("BASE_URL") or endpoint and f"https://api.runpod.ai/v2/{endpoint}/openai/v1"
if not url:
    sys.exit("Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL, which ends in /v1.")
# This client writes the /v1 itself.
client = anthropic.Anthropic(base_url=url.removesuffix("/v1"), auth_token=key, max_retries=0)
model = os.environ.get("MODEL", "default")  # "default" is whatever the endpoint serves

ASKED = [{"role": "user", "content": "What is the capital of France?"}]


def main() -> None:
    whole = client.messages.create(model=model, max_tokens=64, messages=ASKED, extra_body={"temperature": 0})
    print(f"{whole.content[0].text} ({whole.usage.output_tokens} tokens)")
    with client.messages.stream(model=model, max_tokens=64, messages=ASKED, extra_body={"temperature": 0}) as stream:
        for text in stream.text_stream:
            print(text, end="", flush=True)
    print()


try:
    main()
except anthropic.AnthropicError as error:
    sys.exit(f"It was not answered: {getattr(error, 'body', None) or error}")
