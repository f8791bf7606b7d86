"""The model and each of its LoRA adapters asked the same.

Settings: LORA_SOURCES, or LORA_PATHS
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


def main() -> None:
    for model in client.models.list():  # the model itself, and its adapters, by the names to ask for
        reply = client.chat.completions.create(
            model=model.id, messages=[{"role": "user", "content": "What is the capital of France?"}], temperature=0,
            max_tokens=30)
        print(f"{model.id}: {reply.choices[0].message.content!r}")


try:
    main()
except openai.OpenAIError as error:
    sys.exit(f"It was not answered: {getattr(error, 'body', None) or error}")
