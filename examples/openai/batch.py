"""Several prompts in one request, answered together.

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

PROMPTS = ["The capital of France is", "Once upon a time"]


def main() -> None:
    # One job on the queue, at most MAX_BATCH prompts; a job each (fan_out.py) spreads over several workers.
    reply = client.completions.create(model=model, prompt=PROMPTS, temperature=0, max_tokens=30)
    for choice in sorted(reply.choices, key=lambda choice: choice.index):
        print(f"{PROMPTS[choice.index]}|{choice.text}")


try:
    main()
except openai.OpenAIError as error:
    sys.exit(f"It was not answered: {getattr(error, 'body', None) or error}")
