"""The runpod package: a job that is waited for, and one that is streamed.

Settings: none
Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL, an endpoint's address for OpenAI clients (…/openai/v1).
"""

import os
import sys

import runpod

endpoint, key = os.environ.get("ENDPOINT_ID"), os.environ.get("RUNPOD_API_KEY", "none")
if url := os.environ.get("BASE_URL", "").removesuffix("/openai/v1"):  # elsewhere than at RunPod
    runpod.endpoint_url_base, _, endpoint = url.rpartition("/")
if not endpoint:
    sys.exit("Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL, which ends in /openai/v1.")
runpod.api_key = key
client = runpod.Endpoint(endpoint)
asked = {"messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0}

output = client.run_sync({"input": asked}, timeout=300)
if not output:  # this package does not say why: /status does, or the OpenAI client (../openai/errors.py)
    sys.exit("The job failed.")
print(output[0]["choices"][0]["message"]["content"])

for part in client.run({"input": {**asked, "stream": True}}).stream():
    print(part, end="")  # server-sent events, whole ones
