"""The model and each of its LoRA adapters asked the same, in jobs.

Settings: LORA_SOURCES, or LORA_PATHS
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


[models] = output_of({"openai_route": "/v1/models"})
for model in models["data"]:  # the model itself, and its adapters, by the names to ask for
    [answer] = output_of({"model": model["id"], "temperature": 0, "max_tokens": 30, "messages": [
        {"role": "user", "content": "What is the capital of France?"}]})
    print(f"{model['id']}: {answer['choices'][0]['message']['content']!r}")
