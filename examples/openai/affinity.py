"""A conversation that stays with one worker, whose prefix cache knows its beginning already.

Settings: WORKER_MODE=http on a load-balancing endpoint; ENABLE_CACHE_REPORT=true tells what was cached
Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL, which ends in /v1. MODEL, where it is not the only one.
"""

import os
import sys

import openai

endpoint, key = os.environ.get("ENDPOINT_ID"), os.environ.get("RUNPOD_API_KEY", "none")
url = os.environ.get("BASE_URL") or endpoint and f"https://api.runpod.ai/v2/{endpoint}/openai/v1"
if not url:
    sys.exit("Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL, which ends in /v1.")
client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
model = os.environ.get("MODEL", "default")  # "default" is whatever the endpoint serves


def main() -> None:
    messages, headers = [{"role": "system", "content": "You are a helpful assistant."}], {}
    for question in ("What is the capital of France?", "What is the capital of Japan?"):
        messages.append({"role": "user", "content": question})
        got = client.chat.completions.with_raw_response.create(
            model=model, messages=messages, temperature=0, max_tokens=30, extra_headers=headers)
        reply, worker = got.parse(), got.headers.get("x-runpod-worker-id")
        if worker:  # RunPod's load balancer names it; the name alone is a wish, "strict <name>" would wait for it
            headers = {"X-Runpod-Worker-Id": worker}
        messages.append({"role": "assistant", "content": reply.choices[0].message.content})
        details = reply.usage.prompt_tokens_details
        print(f"{messages[-1]['content']} worker {worker}, {details.cached_tokens if details else 0} of "
              f"{reply.usage.prompt_tokens} tokens cached")


try:
    main()
except openai.OpenAIError as error:
    sys.exit(f"It was not answered: {getattr(error, 'body', None) or error}")
