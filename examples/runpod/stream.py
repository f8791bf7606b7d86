"""A job's answer while it is generated: server-sent events, whole ones, in each part.

Settings: none
Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL, an endpoint's address for OpenAI clients (…/openai/v1).
"""

import json
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
    "messages": [{"role": "user", "content": "Count to one hundred."}], "temperature": 0, "max_tokens": 1000,
    "stream": True}}).json()
if "id" not in job:
    sys.exit(f"The endpoint took no job: {job}")
while True:
    # RunPod holds this call until there is something new.
    got = session.get(f"{url}/stream/{job['id']}", timeout=120).json()
    for part in got.get("stream", []):
        for event in part["output"].split("\n\n"):
            if event.startswith("data: {"):
                told = json.loads(event.removeprefix("data: "))
                if "error" in told:
                    sys.exit(f"\nThe stream failed: {told['error']['message']}")
                for choice in told["choices"]:
                    print(choice["delta"].get("content") or "", end="", flush=True)
    if got["status"] not in ("IN_QUEUE", "IN_PROGRESS"):
        break
print()
if got["status"] != "COMPLETED":
    sys.exit(f"{got['status']}: {got.get('error')}")
