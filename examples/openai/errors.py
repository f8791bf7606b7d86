"""Why a request was refused, on a queue endpoint and over HTTP, and which failures to try again.

Settings: none
Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL, which ends in /v1. MODEL, where it is not the only one.
"""

import json
import os
import sys
import time

import openai

endpoint, key = os.environ.get("ENDPOINT_ID"), os.environ.get("RUNPOD_API_KEY", "none")
url = os.environ.get("BASE_URL") or endpoint and f"https://api.runpod.ai/v2/{endpoint}/openai/v1"
if not url:
    sys.exit("Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL, which ends in /v1.")
client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
model = os.environ.get("MODEL", "default")  # "default" is whatever the endpoint serves

AGAIN = (429, 502, 503)  # too many, an engine that died, a worker that is replaced; anything else fails again


def reason(error: openai.APIStatusError) -> dict:
    """{"message", "code", …}. RunPod answers a failed job with HTTP 500 and the job, whose `error` is JSON in text."""
    body = error.response.json()
    told = body.get("error", body) if isinstance(body, dict) else {"message": str(body)}
    try:
        told = json.loads(told) if isinstance(told, str) else told
    except ValueError:
        told = {"message": told}
    return {"code": error.status_code, **told}


def ask(question: str, asked: str) -> str:
    for attempt in range(5):
        try:
            reply = client.chat.completions.create(
                model=asked, messages=[{"role": "user", "content": question}], temperature=0, max_tokens=30)
            return reply.choices[0].message.content
        except openai.APIStatusError as error:
            told = reason(error)
            if told["code"] not in AGAIN or attempt == 4:
                return f"refused with {told['code']}: {told['message']}"
        time.sleep(2 ** attempt)
    raise AssertionError


def main() -> None:
    print(ask("What is the capital of France?", model))
    print(ask("What is the capital of France?", "no-such-model"))


try:
    main()
except openai.OpenAIError as error:
    sys.exit(f"It was not answered: {getattr(error, 'body', None) or error}")
