"""A reasoning model in jobs: its thoughts apart from its answer, and an answer without thoughts.

Settings: REASONING_PARSER
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


asked = {"messages": [{"role": "user", "content": "What is two plus two?"}], "temperature": 0, "max_tokens": 2000}
for wish in ({"chat_template_kwargs": {"enable_thinking": True}}, {"reasoning_effort": "low"},
             {"chat_template_kwargs": {"enable_thinking": False}}):
    [answer] = output_of({**asked, **wish})
    message = answer["choices"][0]["message"]
    print(f"{wish}: thoughts {message.get('reasoning_content')!r}, answer {message['content']!r}")
