"""Ollama's routes on a real SGLang."""

import json

import pytest

from local import corpus

pytestmark = pytest.mark.asyncio(loop_scope="session")

PARIS, PARIS_ANSWER = corpus.EXCHANGES[0]
SAY = {"model": corpus.SERVED_NAME, "messages": [{"role": "user", "content": PARIS}]}
GREEDY = {"temperature": 0, "seed": 1}


async def answered(platform, path, body=None):
    job = await (await platform.submit({"openai_route": path, "openai_input": body})).finished(120)
    assert job.status == "COMPLETED", job.error
    if not isinstance(job.output[0], str):
        return job.output[0]
    return [json.loads(line) for line in "".join(job.output).splitlines()]


async def test_a_chat_in_lines_and_as_a_whole(platform, worker):
    lines = await answered(platform, "/api/chat", {**SAY, "options": GREEDY})
    assert "".join(line["message"]["content"] for line in lines) == PARIS_ANSWER
    assert [line["done"] for line in lines[-2:]] == [False, True] and lines[-1]["done_reason"] == "stop"
    whole = await answered(platform, "/api/chat", {**SAY, "options": GREEDY, "stream": False})
    assert whole["message"]["content"] == PARIS_ANSWER
    assert whole["eval_count"] == lines[-1]["eval_count"] > 0
    assert whole["prompt_eval_count"] == lines[-1]["prompt_eval_count"] > 0


async def test_no_word_is_lost_at_a_limit(platform, worker):
    body = {**SAY, "options": {**GREEDY, "num_predict": 1}}
    lines = await answered(platform, "/api/chat", body)
    whole = await answered(platform, "/api/chat", {**body, "stream": False})
    assert "".join(line["message"]["content"] for line in lines) == whole["message"]["content"]
    assert lines[-1]["done_reason"] == "length" == whole["done_reason"] and lines[-1]["eval_count"] == 1


async def test_a_prompt_is_a_turn_of_a_chat_and_raw_is_none(platform, worker):
    body = {"model": corpus.SERVED_NAME, "prompt": PARIS, "options": GREEDY, "stream": False}
    turn = await answered(platform, "/api/generate", body)
    raw = await answered(platform, "/api/generate", {**body, "raw": True, "options": {**GREEDY, "num_predict": 5}})
    assert turn["response"] == PARIS_ANSWER and raw["prompt_eval_count"] < turn["prompt_eval_count"]


async def test_a_format_is_kept(platform, worker):
    schema = {"type": "object", "properties": {"city": {"enum": ["Paris"]}}, "required": ["city"],
              "additionalProperties": False}
    told = await answered(platform, "/api/chat", {**SAY, "format": schema, "stream": False,
                                                  "options": {**GREEDY, "num_predict": 200}})
    text = told["message"]["content"].strip()
    assert text.startswith("{") and (not text.endswith("}") or json.loads(text) == {"city": "Paris"})


async def test_what_clients_ask_first(platform, worker):
    assert (await answered(platform, "/api/tags"))["models"][0]["name"] == corpus.SERVED_NAME
    shown = await answered(platform, "/api/show", {"model": corpus.SERVED_NAME})
    assert shown["capabilities"] == ["completion", "tools"]
    assert shown["model_info"][f"{corpus.SERVED_NAME}.context_length"] > 0
