"""Claude Code in print mode: with a short system prompt and no tools, where the model's answer is known, and as it is,
with its whole prompt of tools, which is longer than anything that the model was taught."""

import json
import os
import subprocess
import tempfile
import time

from checking import FACTS, KEY, MODEL, QUESTION, URL, WAY, run, same

PROGRAM = os.path.join(FACTS["node_folder"], "node_modules", "@anthropic-ai", "claude-code", "cli-wrapper.cjs")
SETTINGS = {"ANTHROPIC_BASE_URL": URL, "ANTHROPIC_AUTH_TOKEN": KEY, "ANTHROPIC_MODEL": MODEL,
            "ANTHROPIC_SMALL_FAST_MODEL": MODEL, "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "64",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "CLAUDE_CODE_MAX_RETRIES": "0",
            "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1"}


def _ask(*arguments, **settings):
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            ["node", PROGRAM, "-p", QUESTION, "--output-format", "json", *arguments], cwd=home, text=True,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=280,
            env={"PATH": os.environ["PATH"], "HOME": home, **SETTINGS, **settings})
    return json.loads(done.stdout)


def prompt_alone():
    told = _ask("--system-prompt", "You are a helpful assistant.", "--tools", "")
    same((told["is_error"], told["result"]), (False, FACTS["fallback_answer"]))


def whole_prompt():
    told = _ask()
    assert not told["is_error"] and told["result"], told
    assert told["usage"]["input_tokens"] + told["usage"]["cache_read_input_tokens"] > 10_000
    return f"an answer to {told['usage']['input_tokens']:,} tokens"


def refusal():
    began = time.monotonic()
    told = _ask(ANTHROPIC_MODEL="gpt-4")
    assert told["is_error"] and "gpt-4" in told["result"], told
    if WAY == "http":
        same(told.get("api_error_status"), 404)
    return f"{time.monotonic() - began:.0f} s: {' '.join(told['result'].split())[:160]}"


run(prompt_alone, whole_prompt, refusal)
