"""Tools in jobs: the model asks for one, this program runs it, and the model answers with what it gave.

Settings: none where a parser is detected, otherwise TOOL_CALL_PARSER
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


TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "The weather in a city now.",
    "parameters": {"type": "object",
                   "properties": {"city": {"type": "string", "description": "Name of the city."}},
                   "required": ["city"], "additionalProperties": False}}}]


def asked(messages: list[dict]) -> dict:
    [answer] = output_of({"messages": messages, "tools": TOOLS, "temperature": 0, "max_tokens": 200})
    return answer["choices"][0]["message"]


messages = [{"role": "user", "content": "What is the weather in Paris?"}]
message = asked(messages)
if not message.get("tool_calls"):
    sys.exit(f"No tool was asked for: {message['content']}")
messages.append({"role": "assistant", "content": message["content"] or "", "tool_calls": message["tool_calls"]})
for call in message["tool_calls"]:
    print(f"call: {call['function']['name']}({call['function']['arguments']})")
    result = {"degrees": 18, "sky": "clear"}
    messages.append({"role": "tool", "tool_call_id": call["id"], "content": json.dumps(result)})
print("answer:", asked(messages)["content"])
