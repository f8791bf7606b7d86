"""Codex in print mode (`codex exec`), with its whole prompt, longer than anything that the model was taught."""

import json
import os
import subprocess
import tempfile
import time

from checking import FACTS, KEY, MODEL, QUESTION, URL, WAY, run, same

PROGRAM = os.path.join(FACTS["node_folder"], "node_modules", "@openai", "codex", "bin", "codex.js")
CONFIG = """model_provider = "worker"
[model_providers.worker]
name = "worker"
base_url = "{}/v1"
env_key = "WORKER_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
"""


def _ask(model):
    with tempfile.TemporaryDirectory() as home:
        os.makedirs(os.path.join(home, "codex"))
        with open(os.path.join(home, "codex", "config.toml"), "w") as file:
            file.write(CONFIG.format(URL))
        done = subprocess.run(
            ["node", PROGRAM, "exec", "--json", "--skip-git-repo-check", "--model", model, QUESTION], cwd=home,
            text=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=280,
            env={"PATH": os.environ["PATH"], "HOME": home, "CODEX_HOME": os.path.join(home, "codex"),
                 "WORKER_KEY": KEY})
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def whole_prompt():
    status, events = _ask(MODEL)
    same(status, 0)
    said = [event["item"]["text"] for event in events
            if event["type"] == "item.completed" and event["item"]["type"] == "agent_message"]
    [usage] = [event["usage"] for event in events if event["type"] == "turn.completed"]
    assert said and usage["input_tokens"] > 2000, events
    return f"an answer to {usage['input_tokens']:,} tokens"


def refusal():
    began = time.monotonic()
    status, events = _ask("gpt-4")
    assert status != 0
    said = [event.get("message") or event["error"]["message"] for event in events
            if event["type"] in ("error", "turn.failed")]
    # The queue's connection breaks off after the event that says why (docs/clients.md), and that is what it shows.
    assert said and (WAY == "queue" or "does not exist" in said[-1]), events
    return f"{time.monotonic() - began:.0f} s: {' '.join(said[-1].split())[:160]}"


run(whole_prompt, refusal)
