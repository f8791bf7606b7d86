"""curl, as the documentation shows it."""

import json
import subprocess

from checking import ANSWER, FACTS, KEY, KIND, LONG, MODEL, URL, USER, WAY, run, same


def _curl(path, body=None, *options, limit=60):
    sent = [] if body is None else ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    done = subprocess.run(["curl", "-sS", *options, URL + path, "-H", f"Authorization: Bearer {KEY}", *sent],
                          capture_output=True, text=True, timeout=limit)
    return done.returncode, done.stdout


def models():
    same(json.loads(_curl("/v1/models")[1])["data"][0]["id"], MODEL)


def chat():
    _, text = _curl("/v1/chat/completions", {"model": MODEL, "messages": USER, "temperature": 0})
    same(json.loads(text)["choices"][0]["message"]["content"], ANSWER)


def stream():
    _, text = _curl("/v1/chat/completions", {"model": MODEL, "messages": USER, "temperature": 0, "stream": True}, "-N")
    assert text.startswith("data: ") and text.endswith("data: [DONE]\n\n"), text


def cancel():
    body = {"model": MODEL, "messages": LONG, "stream": True, "max_tokens": FACTS["many"], "ignore_eos": True}
    status, text = _curl("/v1/chat/completions", body, "-N", "--max-time", "0.5")
    same(status, 28)  # curl's own time limit; run.py sees that the engine has stopped
    assert "[DONE]" not in text


def refusal():
    _, text = _curl("/v1/chat/completions", {"model": "gpt-4", "messages": USER}, "-w", "\n%{http_code}")
    body, _, status = text.rpartition("\n")
    same(status, "404" if WAY == "http" else "500")
    assert "does not exist" in body
    return f"HTTP {status} {body[:160]}"


def embeddings():
    _, text = _curl("/v1/embeddings", {"model": MODEL, "input": ["Paris", "Rome"]})
    same([len(one["embedding"]) for one in json.loads(text)["data"]], [FACTS["width"]] * 2)


run(*((models, chat, stream, refusal, cancel) if KIND == "generation" else (embeddings,)))
