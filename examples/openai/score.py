"""How likely each of a few words is as the next, for several texts: a classifier without training.

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

QUERY = "Is this about food? Answer yes or no.\n"
ITEMS = ["Soup with bread.\n", "A poem about rain.\n"]
LABELS = ["yes", "no"]


def main() -> None:
    # A label is its first token: choose words that differ in it.
    first = [client.post("/tokenize", cast_to=object, body={"prompt": label, "add_special_tokens": False})["tokens"][0]
             for label in LABELS]
    made = client.post("/score", cast_to=object, body={
        "model": model, "query": QUERY, "items": ITEMS, "label_token_ids": first, "apply_softmax": True})
    for item, scores in zip(ITEMS, made["scores"], strict=True):
        told = ", ".join(f"{label} {score:.4f}" for label, score in zip(LABELS, scores, strict=True))
        print(f"{item.strip()} {told}")


try:
    main()
except openai.OpenAIError as error:
    sys.exit(f"It was not answered: {getattr(error, 'body', None) or error}")
