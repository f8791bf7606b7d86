"""A reasoning model: its thoughts apart from its answer, less of them, and none.

Settings: REASONING_PARSER
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

ASKED = [{"role": "user", "content": "What is two plus two?"}]
WAYS = {
    "thinking": {"chat_template_kwargs": {"enable_thinking": True}},  # Qwen3 and its like, which do so unless told
    "little": {"reasoning_effort": "low"},  # for models whose template reads it, such as GPT-OSS
    "none": {"chat_template_kwargs": {"enable_thinking": False}},
}


def main() -> None:
    for name, wish in WAYS.items():
        reply = client.chat.completions.create(model=model, messages=ASKED, temperature=0, max_tokens=2000,
                                               extra_body=wish)
        message = reply.choices[0].message
        thoughts = getattr(message, "reasoning_content", None)
        print(f"{name}: thoughts {thoughts!r}, answer {message.content!r}")


try:
    main()
except openai.OpenAIError as error:
    sys.exit(f"It was not answered: {getattr(error, 'body', None) or error}")
