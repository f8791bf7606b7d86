"""How likely each of two words is as the next, for several texts, as jobs.

Settings: none
Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL, an endpoint's address for OpenAI clients (…/openai/v1).
"""

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


LABELS, ITEMS = ["yes", "no"], ["Soup with bread.\n", "A poem about rain.\n"]
first = [output_of({"openai_route": "/v1/tokenize", "openai_input": {"prompt": label, "add_special_tokens": False}})[0]
         ["tokens"][0] for label in LABELS]  # a label is its first token: choose words that differ in it
[answer] = output_of({"openai_route": "/v1/score", "openai_input": {
    "query": "Is this about food? Answer yes or no.\n", "items": ITEMS, "label_token_ids": first,
    "apply_softmax": True}})
for item, scores in zip(ITEMS, answer["scores"], strict=True):
    told = ", ".join(f"{label} {score:.4f}" for label, score in zip(LABELS, scores, strict=True))
    print(f"{item.strip()} {told}")
