"""The jobs whose exchanges with a real SGLang are recorded, by the worker that serves them. Data only."""

from __future__ import annotations

from dataclasses import dataclass

from local import corpus

_FRANCE, _UNICODE = "What is the capital of France?", "Write a line with accents and emoji."
_TOO_LONG = "word " * 700  # more than the tiny model's 2,048 tokens
_SCHEMA = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"],
           "additionalProperties": False}
_SAMPLING = {"max_new_tokens": 40, "temperature": 0}


def _say(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def _chat(text: str = _FRANCE, **more) -> dict:
    return _routed("/v1/chat/completions", {"messages": _say(text), "temperature": 0, "max_tokens": 60, **more})


def _routed(path: str, body: dict) -> dict:
    return {"openai_route": path, "openai_input": {"model": corpus.SERVED_NAME, **body}}


def _native(text: object, **more) -> dict:
    return {"text": text, "sampling_params": _SAMPLING, **more}


def _message(text: str, **more) -> dict:
    return _routed("/v1/messages", {"messages": _say(text), "max_tokens": 60, "temperature": 0, **more})


def _both(name: str, job: dict) -> dict[str, dict]:
    """A job unstreamed and streamed."""
    inner = "openai_input" if "openai_input" in job else None
    streamed = {**job, inner: {**job[inner], "stream": True}} if inner else {**job, "stream": True}
    return {name: job, f"{name}-stream": streamed}


_BATCH = ["The capital of France is", "Once upon a time"]

GENERATION = {
    **_both("chat", _chat()), **_both("chat-unicode", _chat(_UNICODE)), **_both("chat-n", _chat(n=2)),
    **_both("chat-framing", _chat("How does an event stream end?")),
    "chat-usage-stream": _chat(stream=True, stream_options={"include_usage": True}),
    "chat-logprobs-stream": _chat(stream=True, logprobs=True, top_logprobs=2, max_tokens=4),
    **_both("chat-tools", _chat(corpus.WEATHER_PROMPT, tools=[corpus.WEATHER_TOOL])),
    "chat-schema": _chat(response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": _SCHEMA}}),
    **_both("chat-native", {"messages": _say(_FRANCE), "sampling_params": _SAMPLING}),
    **_both("completion", _routed("/v1/completions", {"prompt": _BATCH[0], "max_tokens": 12, "temperature": 0})),
    **_both("completion-batch", _routed("/v1/completions", {"prompt": _BATCH, "max_tokens": 12, "temperature": 0})),
    "completion-echo": _routed("/v1/completions", {"prompt": _BATCH[0], "max_tokens": 4, "temperature": 0,
                                                   "echo": True, "logprobs": 1}),
    **_both("generate", _native(_BATCH[0])), **_both("generate-batch", _native(_BATCH)),
    **_both("generate-n", _native(_BATCH[0], sampling_params={**_SAMPLING, "n": 2})),
    **_both("generate-ids", {"input_ids": [10, 11, 12, 13], "sampling_params": {"max_new_tokens": 4}}),
    **_both("responses", _routed("/v1/responses", {"input": _FRANCE, "temperature": 0, "max_output_tokens": 40})),
    **_both("messages", _message(_FRANCE, system="You are a helpful assistant.")),
    **_both("messages-tools", _message(corpus.WEATHER_PROMPT, tools=[{
        "name": "get_weather", "description": "The weather in a city now.",
        "input_schema": corpus.WEATHER_TOOL["function"]["parameters"]}])),
    "count-tokens": _routed("/v1/messages/count_tokens", {"messages": _say(_FRANCE)}),
    "tokenize": _routed("/tokenize", {"prompt": "Hello"}), "models": {"openai_route": "/v1/models", "openai_input": {}},
    # What the engine refuses, and where it says so.
    **_both("refused-chat", _chat(_TOO_LONG)), **_both("refused-generate", _native(_TOO_LONG)),
    **_both("refused-completion", _routed("/v1/completions", {"prompt": _TOO_LONG, "max_tokens": 4})),
    **_both("refused-messages", _message(_TOO_LONG)),
    **_both("refused-responses", _routed("/v1/responses", {"input": _TOO_LONG})),
    "refused-validation": _chat(temperature="hot"), "refused-validation-messages": _message(_FRANCE, tools="none"),
    "refused-sampling": _native("x", sampling_params={"no_such": 1}),
    "refused-response": {"openai_route": "/v1/responses/resp_none", "openai_input": {}},
}
# Aborted by somebody else after the first words.
ABORTED = {
    **_both("aborted-chat", _chat(corpus.LONG_PROMPT, max_tokens=500)),
    **_both("aborted-generate", _native(corpus.LONG_PROMPT, apply_chat_template=True,
                                        sampling_params={**_SAMPLING, "max_new_tokens": 500})),
}
INCREMENTAL = {name: GENERATION[name] for name in ("generate-stream", "generate-batch-stream", "generate-n-stream",
                                                   "chat-unicode-stream", "completion-batch-stream")}
EMBEDDING = {
    "embeddings": _routed("/v1/embeddings", {"input": "Hello"}),
    "embeddings-batch": _routed("/v1/embeddings", {"input": ["Hello", "Paris."]}),
    "embeddings-base64": _routed("/v1/embeddings", {"input": "Hello", "encoding_format": "base64"}),
    "embeddings-ids": _routed("/v1/embeddings", {"input": [10, 11, 12]}),
    "refused-embeddings": _routed("/v1/embeddings", {"input": _TOO_LONG}),
}


@dataclass(frozen=True)
class Worker:
    """jobs: run one after another; aborted: those that somebody aborts; environ: beside the ordinary variables."""

    jobs: dict[str, dict]
    aborted: dict[str, dict]
    environ: dict[str, str]


WORKERS = {
    "generation": Worker(GENERATION, ABORTED, {"TOOL_CALL_PARSER": "qwen25"}),
    "incremental": Worker(INCREMENTAL, {}, {"INCREMENTAL_STREAMING_OUTPUT": "true"}),
    "embedding": Worker(EMBEDDING, {}, {"IS_EMBEDDING": "true"}),
}
