"""A JSON schema, a regular expression, an EBNF grammar and a structural tag on SGLang's own /generate.

Settings: none
Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL, an endpoint's address for OpenAI clients (…/openai/v1).
"""

import json
import os
import sys
import time

import requests

endpoint, key = os.environ.get("ENDPOINT_ID"), os.environ.get("RUNPOD_API_KEY", "none")
url = os.environ.get("BASE_URL", "").removesuffix("/openai/v1") or endpoint and f"https://api.runpod.ai/v2/{endpoint}"
if not url:
    sys.exit("Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL, which ends in /openai/v1.")
session = requests.Session()
session.headers["Authorization"] = f"Bearer {key}"


def output_of(job_input: dict) -> list:
    """What a job gave: one value for each part that the worker sent. Ends the program where it failed."""
    job = session.post(f"{url}/runsync", json={"input": job_input}, timeout=120).json()
    while job.get("status") in ("IN_QUEUE", "IN_PROGRESS"):  # /runsync answers after 90 s, done or not
        time.sleep(1)
        job = session.get(f"{url}/status/{job['id']}", timeout=30).json()
    if job.get("status") != "COMPLETED":
        sys.exit(f"The job failed: {job.get('error') or job}")
    return job["output"]


PLACE = {"type": "object", "required": ["city", "country"], "additionalProperties": False,
         "properties": {"city": {"type": "string", "maxLength": 40}, "country": {"type": "string", "maxLength": 40}}}
TAG = {"type": "structural_tag", "format": {
    "type": "tag", "begin": "<place>", "content": {"type": "json_schema", "json_schema": PLACE}, "end": "</place>"}}
# A schema and a tag may be objects, or JSON in text as SGLang takes them.
WISHES = {"json_schema": PLACE, "regex": r"\d{4}-\d\d-\d\d", "ebnf": 'root ::= "knight to " [a-h] [1-8]',
          "structural_tag": TAG}
for name, wish in WISHES.items():
    # /generate takes raw text; the worker puts it into the model's chat template where a job asks for it.
    [answer] = output_of({"text": "Give Paris and its country as JSON.", "apply_chat_template": True,
                          "sampling_params": {"temperature": 0, "max_new_tokens": 200, name: wish}})
    if name == "json_schema":
        json.loads(answer["text"])  # whole, or an error here
    print(f"{name}: {answer['text']}")
