"""Documents in the order in which they answer a query.

Settings: none, but a reranker; a cross-encoder wants IS_EMBEDDING=true
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

QUERY = "What is the capital of France?"
DOCUMENTS = ["Rome is the capital of Italy.", "Paris is the capital of France.", "A parrot spoke in tokens."]


def main() -> None:
    # OpenAI has no such route, so its client has no method for it. /v2/rerank answers in Cohere's shape.
    ranked = client.post("/rerank", cast_to=object, body={"query": QUERY, "documents": DOCUMENTS})
    for entry in ranked:
        print(f"{entry['score']:.4f} {DOCUMENTS[entry['index']]}")


try:
    main()
except openai.OpenAIError as error:
    sys.exit(f"It was not answered: {getattr(error, 'body', None) or error}")
