"""How many tokens speculative decoding gets for each step of the model, in a job.

Settings: SPECULATIVE_ALGORITHM=NGRAM
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


PROMPT = "Repeat this list three times: red, green, blue.\nred, green, blue\nred, green,"
# Nothing in a job asks for it: the settings of the endpoint do.
[answer] = output_of({"text": PROMPT, "sampling_params": {"temperature": 0, "max_new_tokens": 64}})
tokens, steps = answer["meta_info"]["completion_tokens"], answer["meta_info"].get("spec_verify_ct")
print(f"answer: {answer['text']!r}")
print(f"{tokens} tokens, {tokens / steps:.2f} a step" if steps else f"{tokens} tokens, without speculation")
