"""Answers that keep a regular expression, a choice and an EBNF grammar.

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

DATE = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
MOVE = 'root ::= piece " to " square\npiece ::= "knight" | "rook"\nsquare ::= [a-h] [1-8]'
WISHES = {
    "regex": ("When did the first man walk on the moon? Answer with the date.", {"regex": DATE}),
    "choice": ("Is the sky blue?", {"guided_choice": ["yes", "no", "it depends"]}),
    "ebnf": ("Give a move of chess.", {"ebnf": MOVE}),
}


def main() -> None:
    for name, (question, constraint) in WISHES.items():
        reply = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": question}], temperature=0, max_tokens=60,
            extra_body=constraint)  # not OpenAI's fields: SGLang's own, and vLLM's, which the worker translates
        print(f"{name}: {reply.choices[0].message.content}")


try:
    main()
except openai.OpenAIError as error:
    sys.exit(f"It was not answered: {getattr(error, 'body', None) or error}")
