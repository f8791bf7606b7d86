"""runpod's own client, which knows the queue alone."""

import json

import runpod
from checking import ANSWER, FACTS, KEY, KIND, URL, USER, run, same

# The client's own setting; RunPod's is https://api.runpod.ai/v2.
runpod.endpoint_url_base = URL.removesuffix("/openai").rpartition("/")[0]
runpod.api_key = KEY
endpoint = runpod.Endpoint(URL.removesuffix("/openai").rpartition("/")[2])
CHAT = {"messages": USER, "temperature": 0}


def text_of(output) -> str:
    return output[0]["choices"][0]["message"]["content"]


def run_sync():
    same(text_of(endpoint.run_sync({"input": CHAT}, timeout=120)), ANSWER)


def run_and_wait():
    same(text_of(endpoint.run({"input": CHAT}).output(timeout=120)), ANSWER)


def stream():
    job = endpoint.run({"input": {**CHAT, "stream": True}})
    events = "".join(job.stream()).split("\n\n")
    same(events[-2:], ["data: [DONE]", ""])
    choices = [json.loads(event.removeprefix("data: "))["choices"] for event in events[:-2]]
    same("".join(choice[0]["delta"].get("content") or "" for choice in choices if choice), ANSWER)


def cancel():
    job = endpoint.run({"input": {"text": FACTS["long_prompt"], "sampling_params": {"max_new_tokens": FACTS["many"],
                                                                                    "ignore_eos": True}}})
    job.cancel()
    same(job.status(), "CANCELLED")


def refusal():
    job = endpoint.run({"input": {**CHAT, "model": "gpt-4"}})
    job.output(timeout=120)
    same(job.status(), "FAILED")
    return "the job is FAILED; this client does not show why"


def embeddings():
    asked = {"openai_route": "/v1/embeddings", "openai_input": {"input": ["Paris", "Rome"]}}
    made = endpoint.run_sync({"input": asked}, timeout=120)
    same([len(one["embedding"]) for one in made[0]["data"]], [FACTS["width"]] * 2)


run(*((run_sync, run_and_wait, stream, cancel, refusal) if KIND == "generation" else (embeddings,)))
