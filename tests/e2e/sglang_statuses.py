"""What SGLang's own tests of its server expect of statuses, as data: requests of our own that ask for the same.

Read in sgl-project/sglang, test/registered: openai_server/basic/test_openai_server.py and test_anthropic_server.py,
openai_server/validation/test_request_length_validation.py and test_strict_model_validation.py,
openai_server/basic/test_openai_embedding.py, core/test_srt_endpoint.py. `engine` is the server's own status where the
worker's is another on purpose (a model that is not served is refused, a stream is refused before it begins), and None
where the server is not asked, as it might not survive the question.
"""

from __future__ import annotations

from typing import Any, NamedTuple

CHAT, COMPLETIONS, GENERATE = "/v1/chat/completions", "/v1/completions", "/generate"
RESPONSES, MESSAGES, COUNT = "/v1/responses", "/v1/messages", "/v1/messages/count_tokens"
MODEL = "tiny"
SAME = -1
_HELLO = [{"role": "user", "content": "Hello"}]
_LONG = [{"role": "user", "content": "hello " * 3000}]
_SCORE = {"model": MODEL, "query": "The capital of France is", "items": ["Paris", "London"]}


class Row(NamedTuple):
    """status: the worker's; says: in its message, in any case, "" where nothing is refused; engine: see above."""

    name: str
    path: str
    body: Any
    status: int
    says: str = ""
    engine: int | None = SAME


def _chat(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": _HELLO, "max_tokens": 4, **fields}


def _message(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": _HELLO, "max_tokens": 4, **fields}


def _native(**fields: Any) -> dict[str, Any]:
    return {"text": "hi", "sampling_params": {"max_new_tokens": 1}, **fields}


def _probed(ids: Any, **fields: Any) -> dict[str, Any]:
    return _native(return_logprob=True, token_ids_logprob=ids, **fields)


ROWS = [
    # openai_server/basic/test_openai_server.py
    Row("the model", f"/v1/models/{MODEL}", None, 200),
    Row("a model that is not there", "/v1/models/non-existent-model", None, 404, "non-existent-model"),
    Row("a previous response that is none", RESPONSES, {"model": MODEL, "input": "Hi", "previous_response_id": "bad"},
        400, "stateful responses"),
    Row("a tool of no known type", RESPONSES, {"model": MODEL, "input": "Hi", "tools": [{"type": "some_tool"}]}, 400,
        "tools"),
    Row("a penalty", RESPONSES, {"model": MODEL, "input": "Hi", "max_output_tokens": 4, "frequency_penalty": 1.0}, 200),
    Row("a label outside the vocabulary", "/v1/score", {**_SCORE, "label_token_ids": [999999]}, 400, "vocabulary"),
    Row("labels", "/v1/score", {**_SCORE, "label_token_ids": [65, 66], "apply_softmax": True}, 200),
    # openai_server/validation
    Row("longer than the context", CHAT, _chat(messages=_LONG), 400, "context length"),
    Row("longer than the context, streamed", CHAT, _chat(messages=_LONG, stream=True), 400, "context length"),
    Row("an answer longer than the context", CHAT, _chat(max_tokens=5000), 400, "maximum context length"),
    Row("another model", CHAT, _chat(model="wrong_model_name"), 404, "wrong_model_name", 200),
    Row("another model, completions", COMPLETIONS, {"model": "wrong_model_name", "prompt": "hi"}, 404,
        "wrong_model_name", 200),
    Row("an adapter without LoRA", CHAT, _chat(model=f"{MODEL}:some_adapter"), 404, "some_adapter", 400),
    *(Row(f"probed token ids {ids}", GENERATE, _probed(ids), 400, "token_ids_logprob", None)
      for ids in ([-1], [2_000_000_000], [[0]], [[0], [1, 2]])),
    Row("one of a batch outside", GENERATE, _probed([[0], [2_000_000_000]], text=["hi", "hi"]), 400,
        "token_ids_logprob", None),
    Row("a probed token id", GENERATE, _probed([0]), 200),
    # openai_server/basic/test_anthropic_server.py
    Row("a message", MESSAGES, _message(), 200),
    Row("a message, streamed", MESSAGES, _message(stream=True), 200),
    Row("less than no tokens", MESSAGES, _message(max_tokens=-1), 400, "max_tokens"),
    Row("no messages", MESSAGES, _message(messages=[]), 400, "messages"),
    Row("no longest answer", MESSAGES, {"model": MODEL, "messages": _HELLO}, 400, "max_tokens"),
    Row("a count", COUNT, {"model": MODEL, "messages": _HELLO}, 200),
    Row("a count with a system prompt", COUNT, {"model": MODEL, "messages": _HELLO, "system": "Be kind."}, 200),
    # openai_server/basic/test_openai_embedding.py, on a server that embeds nothing
    Row("an embedding of nothing", "/v1/embeddings", {"model": MODEL, "input": ""}, 400, "empty"),
    Row("an embedding of fewer dimensions", "/v1/embeddings", {"model": MODEL, "input": "Hi", "dimensions": 512}, 400,
        "IS_EMBEDDING"),
    # core/test_srt_endpoint.py
    Row("a number to take apart", "/tokenize", {"model": MODEL, "prompt": 12345}, 400, "prompt"),
    Row("no text to take apart", "/tokenize", {"model": MODEL, "prompt": "", "add_special_tokens": False}, 200),
    Row("words to put together", "/detokenize", {"model": MODEL, "tokens": ["a", "b"]}, 400, "tokens"),
    Row("a token id below none", "/detokenize", {"model": MODEL, "tokens": [1, -1, 2]}, 500, "out of range"),
    Row("token ids to put together", "/detokenize", {"model": MODEL, "tokens": [65, 66]}, 200),
    # What the tests above take for granted.
    Row("no messages in a chat", CHAT, _chat(messages=[]), 400, "messages"),
    Row("a temperature below zero", CHAT, _chat(temperature=-1), 400, "temperature"),
    Row("an unknown sampling parameter", GENERATE, _native(sampling_params={"nonsense": 1}), 400, "nonsense"),
    Row("native text longer than the context", GENERATE, _native(text="hello " * 3000), 400, "context length"),
    Row("the same, streamed", GENERATE, _native(text="hello " * 3000, stream=True), 400, "context length", 200),
    Row("a route that is none", "/v1/nothing", {"a": 1}, 404, "/v1/nothing"),
]
