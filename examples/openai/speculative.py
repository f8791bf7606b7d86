"""How many tokens speculative decoding gets for each step of the model. NGRAM needs no draft model.

Settings: SPECULATIVE_ALGORITHM=NGRAM
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

PROMPT = "Repeat this list three times: red, green, blue.\nred, green, blue\nred, green,"


def main() -> None:
    # Nothing in a request asks for it: the settings of the endpoint do. The native route tells how it goes.
    root = str(client.base_url).removesuffix("v1/")
    answer = client.post(root + "generate", cast_to=object, body={
        "text": PROMPT, "sampling_params": {"temperature": 0, "max_new_tokens": 64}})
    tokens, steps = answer["meta_info"]["completion_tokens"], answer["meta_info"].get("spec_verify_ct")
    print(f"answer: {answer['text']!r}")
    print(f"{tokens} tokens, {tokens / steps:.2f} a step" if steps else f"{tokens} tokens, without speculation")


try:
    main()
except openai.OpenAIError as error:
    sys.exit(f"It was not answered: {getattr(error, 'body', None) or error}")
