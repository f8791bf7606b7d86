"""Free text in which whatever stands between two tags keeps a JSON schema.

Settings: none
Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL, which ends in /v1. MODEL, where it is not the only one.
"""

import json
import os
import re
import sys

import openai

endpoint, key = os.environ.get("ENDPOINT_ID"), os.environ.get("RUNPOD_API_KEY", "none")
url = os.environ.get("BASE_URL") or endpoint and f"https://api.runpod.ai/v2/{endpoint}/openai/v1"
if not url:
    sys.exit("Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL, which ends in /v1.")
client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
model = os.environ.get("MODEL", "default")  # "default" is whatever the endpoint serves

PLACE = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 40}}, "required": ["city"],
         "additionalProperties": False}
# xgrammar's structural tags: this answer is one tag. "triggered_tags" leaves free text around tags as well.
TAG = {"type": "structural_tag", "format": {
    "type": "tag", "begin": "<place>", "content": {"type": "json_schema", "json_schema": PLACE}, "end": "</place>"}}


def main() -> None:
    reply = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "What is the capital of France? Answer with a <place>."}],
        temperature=0, max_tokens=200, response_format=TAG)
    text = reply.choices[0].message.content
    print(text)
    for inside in re.findall(r"<place>(.*?)</place>", text, re.DOTALL):
        print("city:", json.loads(inside)["city"])


try:
    main()
except openai.OpenAIError as error:
    sys.exit(f"It was not answered: {getattr(error, 'body', None) or error}")
