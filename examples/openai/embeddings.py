"""Embeddings, and which of the texts is nearest to the first.

Settings: IS_EMBEDDING=true
Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL, which ends in /v1. MODEL, where it is not the only one.
"""

import math
import os
import sys

import openai

endpoint, key = os.environ.get("ENDPOINT_ID"), os.environ.get("RUNPOD_API_KEY", "none")
url = os.environ.get("BASE_URL") or endpoint and f"https://api.runpod.ai/v2/{endpoint}/openai/v1"
if not url:
    sys.exit("Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL, which ends in /v1.")
client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
model = os.environ.get("MODEL", "default")  # "default" is whatever the endpoint serves

TEXTS = ["The capital of France is Paris.", "Paris lies on the Seine.", "Once upon a time there was a parrot."]


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def main() -> None:
    made = [one.embedding for one in client.embeddings.create(model=model, input=TEXTS).data]
    print(f"{len(made)} embeddings of {len(made[0])} numbers")
    for text, embedding in zip(TEXTS[1:], made[1:], strict=True):
        print(f"{cosine(made[0], embedding):.4f} {text}")


try:
    main()
except openai.OpenAIError as error:
    sys.exit(f"It was not answered: {getattr(error, 'body', None) or error}")
