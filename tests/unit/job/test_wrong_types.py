"""Values of the wrong type in every field that the worker looks at: a request or a refusal, never an internal error."""

import random

import pytest

from job import constraints, hazards, media, routes, sampling
from job.amend import without_unknown_stops
from job.model import ModelFacts
from job.routes import Context
from job.unread import UNREAD
from settings.limits import Limits
from utils import JobError

CONTEXT = Context("tiny", "org/tiny", lora=True, adapters=("sql",), reasoning=False)
FACTS = ModelFacts(vocabulary=1000, context=2048, width=64)
Q = [{"role": "user", "content": "Hi"}]
BODIES = {
    "/v1/chat/completions": {"messages": Q}, "/v1/completions": {"prompt": "Hi"}, "/v1/responses": {"input": "Hi"},
    "/v1/messages": {"messages": Q, "max_tokens": 9}, "/v1/messages/count_tokens": {"messages": Q},
    "/generate": {"text": "Hi"}, "/vertex_generate": {"instances": [{"text": "Hi"}]}, "/v1/embeddings": {"input": "Hi"},
    "/encode": {"text": "Hi"}, "/v1/rerank": {"query": "q", "documents": ["a"]},
    "/rerank": {"query": "q", "documents": ["a"]}, "/v1/score": {"query": "q", "items": ["a"]},
    "/v1/tokenize": {"messages": Q}}
NAMES = sorted({name for _, name in UNREAD} | {name for names, _ in sampling.SETTINGS for name in names}
               | {*constraints.NAMES, "messages", "prompt", "input", "text", "tools", "tool_choice", "thinking",
                  "reasoning", "reasoning_format", "include", "model", "lora_path", "sampling_params", "extra_body",
                  "instances", "parameters", "logprobs", "top_logprobs", "stop_regex", "regex", "json_schema",
                  "structural_tag", "functions", "function_call", "documents", "query", "stream",
                  "chat_template_kwargs", "repeat_last_n"})
VALUES = [
    None, True, False, 0, -1, 1.5, float("nan"), 10**400, "", "x", "{}", "[", "[" * 2000, [], {}, [None], [[]], [{}],
    [5], ["x"], {"a": None}, {"type": 5}, {"type": []}, {"type": {}}, {"type": "text"}, {"type": "json_schema"},
    {"type": "json_schema", "json_schema": 5}, {"type": "json_schema", "json_schema": {"schema": [1]}},
    {"type": "function"}, {"type": "function", "function": []}, {"type": "allowed_tools", "allowed_tools": 5},
    {"name": 5}, {"format": []},
    {"type": "allowed_tools", "tools": [5], "mode": []}, {"format": {"type": []}}, {"effort": []}, {"max_tokens": {}},
    [{"role": 5}], [{"role": "user", "content": [5, None, {"type": []}, {"type": "image", "source": {"data": 5}}]}],
    [{"role": "assistant", "prefix": True, "content": None}], [{"role": "user", "images": {}}], [{"name": {}}],
    [{"role": "assistant", "content": [{"type": "document", "source": []}], "tool_calls": [5, {"function": []}]}],
    [{"type": "function", "function": {"name": []}}], [{"type": [], "name": "x"}], {"schema": {"schema": 5}}, "\ud800"]


@pytest.mark.parametrize("path", BODIES)
def test_whatever_stands_in_a_field(path):
    chosen = random.Random(path)
    for _ in range(1500):
        body = {**BODIES[path], **{chosen.choice(NAMES): chosen.choice(VALUES) for _ in range(chosen.randint(1, 4))}}
        job_input = {"openai_route": path, "openai_input": body} if chosen.random() < 0.8 else body
        try:
            request = routes.plan(job_input, CONTEXT, "job-1")
            planned = without_unknown_stops(request.path, request.body or {}, FACTS)
            hazards.check(request.path, planned, FACTS, Limits())
            media.find(request.path, planned)
        except JobError as error:
            assert 400 <= error.code < 500 and error.message
