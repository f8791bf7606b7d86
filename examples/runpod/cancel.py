"""A job that is cancelled while it runs: the worker stops generating at once.

Settings: none
Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL, an endpoint's address for OpenAI clients (…/openai/v1).
"""

import os
import sys

import requests

endpoint, key = os.environ.get("ENDPOINT_ID"), os.environ.get("RUNPOD_API_KEY", "none")
url = os.environ.get("BASE_URL", "").removesuffix("/openai/v1") or endpoint and f"https://api.runpod.ai/v2/{endpoint}"
if not url:
    sys.exit("Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL, which ends in /openai/v1.")
session = requests.Session()
session.headers["Authorization"] = f"Bearer {key}"

job = session.post(f"{url}/run", timeout=30, json={"input": {
    "text": "Once upon a time", "stream": True,
    "sampling_params": {"n": 8, "max_new_tokens": 1500, "ignore_eos": True}}}).json()
if "id" not in job:
    sys.exit(f"The endpoint took no job: {job}")
while not (got := session.get(f"{url}/stream/{job['id']}", timeout=120).json()).get("stream"):
    if got["status"] not in ("IN_QUEUE", "IN_PROGRESS"):
        sys.exit(f"It ended before it was cancelled: {got['status']} {got.get('error') or ''}")
print(session.post(f"{url}/cancel/{job['id']}", timeout=30).json()["status"])
