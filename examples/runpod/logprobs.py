"""Log-probabilities of an answer's tokens on SGLang's own /generate, and of the likeliest others.

Settings: none
Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL, an endpoint's address for OpenAI clients (…/openai/v1).
"""

import math
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


[answer] = output_of({"text": "The capital of France is", "return_logprob": True, "top_logprobs_num": 3,
                      "return_text_in_logprobs": True, "sampling_params": {"temperature": 0, "max_new_tokens": 10}})
told = answer["meta_info"]
for (logprob, _, text), likeliest in zip(told["output_token_logprobs"], told["output_top_logprobs"], strict=True):
    others = ", ".join(f"{other!r} {math.exp(value):.3f}" for value, _, other in likeliest)
    print(f"{text!r} {math.exp(logprob):.3f} of {others}")
