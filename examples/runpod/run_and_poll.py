"""A job that is queued, and asked for until it is done: for work that takes its time.

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

job = session.post(f"{url}/run", timeout=30, json={
    "input": {"messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0},
    # Milliseconds, both optional: how long it may run, and how long it may exist at all.
    "policy": {"executionTimeout": 120_000, "ttl": 3_600_000}}).json()
if "id" not in job:
    sys.exit(f"The endpoint took no job: {job}")
print(f"job {job['id']}")
wait = 0.2
while (job := session.get(f"{url}/status/{job['id']}", timeout=30).json())["status"] in ("IN_QUEUE", "IN_PROGRESS"):
    time.sleep(wait)
    wait = min(5, wait * 1.5)
if job["status"] != "COMPLETED":  # FAILED, CANCELLED, TIMED_OUT
    sys.exit(f"{job['status']}: {job.get('error')}")
print(job["output"][0]["choices"][0]["message"]["content"])
