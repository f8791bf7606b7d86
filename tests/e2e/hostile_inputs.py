"""Single requests that killed, froze or slowed a bare SGLang 0.5.23 on the CPU engine. Data only.

Every entry was sent to a real server that serves a model with VOCABULARY token ids and a context of
2,048 tokens under the name "tiny", while a second client streamed. docs/hostile-input.md explains each
group and what the worker does about it. `outcome` is what the BARE server did.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

VOCABULARY = 512  # of the tests' tiny model: the first id that it does not have

KILLS = "kills"  # the server process ends, every other request is cut
KILLS_NAN = "kills by NaN"  # the same; with SGLANG_SANITIZE_NAN_LOGITS=1 one wrong or failed answer
FREEZES = "freezes everyone"  # no other request gets anything for as long as it lasts, health checks included
SLOWS = "slows everyone"  # others wait for seconds, or go on several times slower, also after a disconnect
HANGS = "hangs itself"  # never answered; others unharmed


class Case(NamedTuple):
    """name: unique; route: the engine's path, POST; body: JSON; outcome: one of the constants above."""

    name: str
    route: str
    body: Any
    outcome: str


GENERATE, COMPLETIONS, CHAT = "/generate", "/v1/completions", "/v1/chat/completions"
RESPONSES, MESSAGES, SCORE = "/v1/responses", "/v1/messages", "/v1/score"
_HELLO = [{"role": "user", "content": "Hello"}]
_ITSELF = {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}
_NARROW = [[0.1, 0.2]]  # rows of 2 where the model's hidden size is 64


def _ids(ids: Any) -> dict:
    return {"input_ids": ids, "sampling_params": {"max_new_tokens": 4}}


def _native(sampling: dict | None = None, **fields: Any) -> dict:
    return {"text": "Hello", "sampling_params": {"max_new_tokens": 8, **(sampling or {})}, **fields}


def _chat(**fields: Any) -> dict:
    return {"model": "tiny", "messages": _HELLO, "max_tokens": 8, **fields}


def _completion(**fields: Any) -> dict:
    return {"model": "tiny", "prompt": "Hello", "max_tokens": 8, **fields}


def _score(**fields: Any) -> dict:
    return {"model": "tiny", "query": "a", "items": ["b"], "label_token_ids": [1], **fields}


def _schema(schema: Any) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


_OUTSIDE = [
    Case("input_ids first outside", GENERATE, _ids([1, VOCABULARY]), KILLS),
    Case("input_ids negative", GENERATE, _ids([1, -1]), KILLS),
    Case("input_ids batch", GENERATE, _ids([[1], [2**31]]), KILLS),
    Case("input_ids int64 max", GENERATE, _ids([2**63 - 1]), KILLS),
    Case("input_ids int64 min", GENERATE, _ids([-(2**63)]), KILLS),
    Case("prompt ids", COMPLETIONS, _completion(prompt=[513]), KILLS),
    Case("prompt ids nested", COMPLETIONS, _completion(prompt=[[1], [-5]]), KILLS),
    Case("chat input_ids", CHAT, _chat(input_ids=[VOCABULARY]), KILLS),
    Case("chat input_ids negative", CHAT, _chat(input_ids=[-3]), KILLS),
    Case("chat input_ids as strings", CHAT, _chat(input_ids=["600"]), KILLS),
    Case("score query ids", SCORE, _score(query=[600], items=[[1]]), KILLS),
    Case("score items ids", SCORE, _score(query=[1], items=[[1], [-7]]), KILLS),
    Case(
        "stop_token_ids with min_new_tokens",
        GENERATE,
        _native({"min_new_tokens": 2, "stop_token_ids": [600]}),
        KILLS,
    ),
    Case("stop_token_ids negative", GENERATE, _native({"min_new_tokens": 2, "stop_token_ids": [-1]}), KILLS),
    Case(
        "stop_token_ids over int64",
        GENERATE,
        _native({"min_new_tokens": 2, "stop_token_ids": [2**63]}),
        KILLS,
    ),
    Case("chat stop_token_ids", CHAT, _chat(stop_token_ids=[99999], min_tokens=2), KILLS),
    Case("chat stop_token_ids as strings", CHAT, _chat(stop_token_ids=["99999"], min_tokens=2), KILLS),
    Case(
        "stop_token_ids beside a neighbour's min_new_tokens",
        GENERATE,
        {
            "text": ["a", "b"],
            "sampling_params": [
                {"stop_token_ids": [9999], "max_new_tokens": 8},
                {"min_new_tokens": 2, "max_new_tokens": 8},
            ],
        },
        KILLS,
    ),
]
_EMPTY = [
    Case("empty text", GENERATE, _native(text=""), KILLS),
    Case("empty text in a list", GENERATE, _native(text=[""]), KILLS),
    Case("empty ids in a batch", GENERATE, _ids([[]]), KILLS),
    Case("score all ids empty", SCORE, _score(query=[], items=[[]]), KILLS),
    Case("score all text empty", SCORE, _score(query="", items=[""]), KILLS),
    Case(
        "score no query, empty item", SCORE, {"model": "tiny", "items": [""], "label_token_ids": [1]}, KILLS
    ),
    Case("score one of two empty", SCORE, _score(query="", items=["", "b"]), KILLS),
    Case("score ids, one of two empty", SCORE, {"model": "tiny", "items": [[1], []], "label_token_ids": [1]}, KILLS),
]
_NUMBERS = [
    Case("top_k over int32", GENERATE, _native({"top_k": 2**31}), KILLS),
    Case("chat top_k over int32", CHAT, _chat(top_k=2**31), KILLS),
    Case("chat top_k as a string", CHAT, _chat(top_k=str(2**31)), KILLS),
    Case(
        "responses top_k",
        RESPONSES,
        {"model": "tiny", "input": "hi", "top_k": 2**31, "max_output_tokens": 4},
        KILLS,
    ),
    Case(
        "messages top_k",
        MESSAGES,
        {"model": "tiny", "messages": _HELLO, "max_tokens": 4, "top_k": 2**31},
        KILLS,
    ),
    Case(
        "top_logprobs_num over the vocabulary",
        GENERATE,
        _native(return_logprob=True, logprob_start_len=0, top_logprobs_num=VOCABULARY + 1),
        KILLS,
    ),
    Case(
        "top_logprobs_num over int64",
        GENERATE,
        _native(return_logprob=True, logprob_start_len=0, top_logprobs_num=2**63),
        KILLS,
    ),
    Case("chat top_logprobs", CHAT, _chat(logprobs=True, top_logprobs=10**6), KILLS),
    Case("chat top_logprobs as a string", CHAT, _chat(logprobs=True, top_logprobs="1000000"), KILLS),
    Case("completions logprobs", COMPLETIONS, _completion(logprobs=10**6, echo=True), KILLS),
    Case(
        "responses top_logprobs",
        RESPONSES,
        {
            "model": "tiny",
            "input": "hi",
            "max_output_tokens": 4,
            "top_logprobs": 10**6,
            "include": ["message.output_text.logprobs"],
        },
        KILLS,
    ),
    Case(
        "logprob_start_len negative",
        GENERATE,
        _native(text="Never seen before, truly", return_logprob=True, logprob_start_len=-5),
        KILLS,
    ),
    Case(
        "logit_bias times temperature",
        GENERATE,
        _native({"logit_bias": {"5": 1e35, "6": 1e35}, "temperature": 1e-5}),
        KILLS,
    ),
    Case("logit_bias 1e308", GENERATE, _native({"logit_bias": {"5": 1e308}}), KILLS_NAN),
    Case(
        "logit_bias bans all",
        GENERATE,
        _native({"logit_bias": {str(i): -1e308 for i in range(VOCABULARY)}}),
        KILLS_NAN,
    ),
    Case("chat logit_bias 1e39", CHAT, _chat(logit_bias={"5": 1e39}), KILLS_NAN),
    Case("chat logit_bias NaN as a string", CHAT, _chat(logit_bias={"5": "NaN"}), KILLS_NAN),
    Case("chat logit_bias inf as a string", CHAT, _chat(logit_bias={"5": "inf"}), KILLS_NAN),
    Case("repetition_penalty zero in float32", GENERATE, _native({"repetition_penalty": 1e-300}), KILLS_NAN),
    Case("completions repetition_penalty", COMPLETIONS, _completion(repetition_penalty=1e-46), KILLS_NAN),
]
_GRAMMARS = [
    Case("regex with min_new_tokens", GENERATE, _native({"regex": "a", "min_new_tokens": 5}), KILLS_NAN),
    Case(
        "response_format with min_tokens",
        CHAT,
        _chat(response_format=_schema({"const": 5}), min_tokens=60, max_tokens=64),
        KILLS_NAN,
    ),
    Case("schema of itself", GENERATE, _native({"json_schema": json.dumps(_ITSELF)}), KILLS_NAN),
    Case("response_format of itself", CHAT, _chat(response_format=_schema({"$ref": "#"})), KILLS_NAN),
    Case(
        "responses format of itself",
        RESPONSES,
        {
            "model": "tiny",
            "input": "hi",
            "max_output_tokens": 4,
            "text": {"format": {"type": "json_schema", "name": "x", "schema": _ITSELF}},
        },
        KILLS_NAN,
    ),
    Case(
        "strict tool of itself",
        CHAT,
        _chat(
            tools=[{"type": "function", "function": {"name": "f", "strict": True, "parameters": _ITSELF}}],
            tool_choice="required",
            max_tokens=60,
        ),
        KILLS_NAN,
    ),
    Case("ebnf of itself", GENERATE, _native({"ebnf": "root ::= root"}), KILLS_NAN),
    Case("ebnf of each other", GENERATE, _native({"ebnf": "root ::= a\na ::= root"}), KILLS_NAN),
]
_SHAPES = [
    Case(
        "logprob_start_len list for one prompt",
        GENERATE,
        _native(return_logprob=True, logprob_start_len=[0]),
        KILLS,
    ),
    Case(
        "top_logprobs_num list for one prompt",
        GENERATE,
        _native(return_logprob=True, top_logprobs_num=[1]),
        KILLS,
    ),
    Case("return_hidden_states list for one prompt", GENERATE, _native(return_hidden_states=[False]), KILLS),
    Case("lora_id list for one prompt", GENERATE, _native(lora_id=["x"]), KILLS),
    Case("positional_embed_overrides object", GENERATE, _native(positional_embed_overrides={"a": 1}), KILLS),
    Case("positional_embed_overrides list", GENERATE, _native(positional_embed_overrides=[1]), KILLS),
    Case(
        "token_indices_to_pool",
        GENERATE,
        {
            "text": "Hello",
            "token_indices_to_pool": [99],
            "sampling_params": {"max_new_tokens": 0},
            "return_logprob": True,
            "token_ids_logprob": [1],
        },
        KILLS,
    ),
    Case(
        "score query_embed_overrides too narrow",
        SCORE,
        _score(query=[1, 2], items=[[3]], embed_override_token_id=2, query_embed_overrides=_NARROW),
        KILLS,
    ),
]
_HARM = [
    Case(
        "stop_regex exponential with one repeat",
        GENERATE,
        {
            "text": "a",
            "sampling_params": {
                "regex": "a{500}",
                "max_new_tokens": 200,
                "ignore_eos": True,
                "stop_regex": "(a|aa)+\\x00",
            },
        },
        FREEZES,
    ),
    Case(
        "stop_regex exponential",
        GENERATE,
        _native({"stop_regex": "(.*.*)*\\x00", "max_new_tokens": 100, "ignore_eos": True}),
        FREEZES,
    ),
    *(
        Case(
            f"stop_regex {name}",
            GENERATE,
            _native({"regex": "a{290}", "max_new_tokens": 300, "ignore_eos": True, "stop_regex": pattern}),
            FREEZES,
        )
        for name, pattern in (
            ("exponential without repeats", "a?" * 30 + "a" * 30 + "!"),
            ("exponential in alternatives", "(a|a)" * 30 + "!"),
            ("polynomial in bounds", ".{0,60}.{0,60}.{0,60}.{0,60}.{0,60}!"),
            ("nested bounds", "((a{0,9}){0,9}){0,9}!"),
            ("overlapping alternatives in bounds", "(?:a|aa|aaa){0,40}!"),
        )
    ),
    Case(
        "chat stop_regex exponential in alternatives",
        CHAT,
        _chat(regex="a{290}", max_tokens=300, ignore_eos=True, stop_regex=["x", "(a|a)" * 30 + "!"]),
        FREEZES,
    ),
    Case(
        "parse_function_call pythonic 400 bytes",
        "/parse_function_call",
        {
            "text": "[a(" + "a=1," * 100,
            "tools": [{"function": {"name": "a", "parameters": {}}}],
            "tool_call_parser": "pythonic",
        },
        FREEZES,
    ),
    Case(
        "parse_function_call 2 MB",
        "/parse_function_call",
        {
            "text": "<tool_call>\n" * 150_000,
            "tools": [{"function": {"name": "f"}}],
            "tool_call_parser": "qwen25",
        },
        FREEZES,
    ),
    Case(
        "separate_reasoning 5 MB",
        "/separate_reasoning",
        {"text": "<think>" * 700_000, "reasoning_parser": "deepseek-r1"},
        FREEZES,
    ),
    Case(
        "100,000 empty texts",
        GENERATE,
        {"text": [""] * 10**5, "sampling_params": {"max_new_tokens": 1}},
        FREEZES,
    ),
    Case("100,000 prompts", COMPLETIONS, _completion(prompt=["a"] * 10**5, max_tokens=1), FREEZES),
    Case("n 1e7", GENERATE, {"text": "Hello", "sampling_params": {"max_new_tokens": 1, "n": 10**7}}, FREEZES),
    Case("chat n 1e6", CHAT, _chat(n=10**6), FREEZES),
    Case(
        "batch times n",
        GENERATE,
        {"text": ["a"] * 300, "sampling_params": {"n": 300, "max_new_tokens": 1}},
        FREEZES,
    ),
    Case("text 10 MB", GENERATE, {"text": "ab " * 3_500_000}, FREEZES),
    Case("tokenize 10 MB", "/tokenize", {"model": "tiny", "prompt": "ab " * 3_500_000}, FREEZES),
    Case(
        "stop_regex polynomial",
        GENERATE,
        _native({"stop_regex": ".*.*.*.*.*\\x00", "max_new_tokens": 300, "ignore_eos": True}),
        SLOWS,
    ),
    Case("stop string 1 MB", GENERATE, _native({"stop": "a" * 2**20}), SLOWS),
    Case(
        "schema with 100,000 values",
        GENERATE,
        _native({"json_schema": json.dumps({"enum": [f"value {i}" for i in range(10**5)]})}),
        SLOWS,
    ),
    Case(
        "regex of 20,000 words",
        GENERATE,
        _native({"regex": "|".join(f"word{i}" for i in range(20_000))}),
        SLOWS,
    ),
    Case(
        "ebnf ambiguous",
        GENERATE,
        _native(
            {
                "ebnf": 'root ::= root root | "a" | "b" | " " | [a-z]',
                "max_new_tokens": 200,
                "ignore_eos": True,
            }
        ),
        SLOWS,
    ),
    Case(
        "10,000 tools",
        CHAT,
        _chat(
            tools=[
                {"type": "function", "function": {"name": f"f{i}", "parameters": {"type": "object"}}}
                for i in range(10**4)
            ]
        ),
        SLOWS,
    ),
    Case("detokenize 5,000,000 ids", "/detokenize", {"model": "tiny", "tokens": [65] * 5_000_000}, SLOWS),
    Case("rid of the health check", GENERATE, _native(rid="HEALTH_CHECK_1"), HANGS),
    Case("chat rid of the health check", CHAT, _chat(rid="HEALTH_CHECK"), HANGS),
    Case("completions rid of the health check", COMPLETIONS, _completion(rid="HEALTH_CHECK_c"), HANGS),
    Case(
        "rid of the health check in a list",
        GENERATE,
        {"text": ["a", "b"], "rid": ["x1", "HEALTH_CHECK_l"], "sampling_params": {"max_new_tokens": 2}},
        HANGS,
    ),
    Case(
        "responses request_id of the health check",
        RESPONSES,
        {"model": "tiny", "input": "a", "max_output_tokens": 4, "request_id": "HEALTH_CHECK_r"},
        HANGS,
    ),
]
# Sent to a server that generates, with --tool-call-parser qwen25 and default flags otherwise.
GENERATING = [*_OUTSIDE, *_EMPTY, *_NUMBERS, *_GRAMMARS, *_SHAPES, *_HARM]

_ROW = [0.1] * 64
# Sent to the same server with --disable-radix-cache --dtype bfloat16 --enable-custom-logit-processor.
UNLOCKED = [
    Case("input_embeds too narrow", GENERATE, {"input_embeds": [[1.0, 2.0]]}, KILLS),
    Case("input_embeds ragged", GENERATE, {"input_embeds": [_ROW, [1.0]]}, KILLS),
    Case("input_embeds infinite in float32", GENERATE, {"input_embeds": [[1e308] * 64]}, KILLS),
    Case("input_embeds NaN as strings", GENERATE, {"input_embeds": [["NaN"] * 64]}, KILLS),
    Case("custom_logit_processor garbage", GENERATE, _native(custom_logit_processor="garbage"), KILLS),
    Case("chat custom_logit_processor garbage", CHAT, _chat(custom_logit_processor="x"), KILLS),
]

# Sent to the same server with --disable-radix-cache --dtype float32.
OTHER_TYPE = [
    Case("right input_embeds", GENERATE, {"input_embeds": [_ROW, _ROW]}, KILLS),
    Case("right input_embeds in a batch", GENERATE, {"input_embeds": [[_ROW], [_ROW]]}, KILLS),
    Case("right input_embeds of one in a batch", GENERATE, {"input_embeds": [[_ROW]]}, KILLS),
]

EMBEDDINGS, ENCODE, CLASSIFY = "/v1/embeddings", "/encode", "/classify"
# Sent to a server with --is-embedding.
EMBEDDING = [
    Case("chat", CHAT, _chat(), KILLS),
    Case("chat streamed", CHAT, _chat(stream=True), KILLS),
    Case("completions", COMPLETIONS, _completion(), KILLS),
    Case("generate", GENERATE, _native(), KILLS),
    Case("generate streamed", GENERATE, {"text": "a", "stream": True}, KILLS),
    Case("messages", MESSAGES, {"model": "tiny", "messages": _HELLO, "max_tokens": 4}, KILLS),
    Case("responses", RESPONSES, {"model": "tiny", "input": "a", "max_output_tokens": 4}, KILLS),
    Case("embeddings ids", EMBEDDINGS, {"model": "tiny", "input": [VOCABULARY]}, KILLS),
    Case("embeddings ids in a batch", EMBEDDINGS, {"model": "tiny", "input": [[1], [600]]}, KILLS),
    Case("encode ids", ENCODE, {"input_ids": [VOCABULARY]}, KILLS),
    Case("encode ids negative in a batch", ENCODE, {"input_ids": [[1], [-4]]}, KILLS),
    Case("encode ids as strings", ENCODE, {"input_ids": ["600"]}, KILLS),
    Case("classify ids", CLASSIFY, {"input_ids": [VOCABULARY]}, KILLS),
    Case("v1 classify ids", "/v1/classify", {"model": "tiny", "input": [600]}, KILLS),
    Case("score ids", SCORE, {"model": "tiny", "query": [600], "items": [[1]]}, KILLS),
    Case("embeddings all empty", EMBEDDINGS, {"model": "tiny", "input": [[]]}, KILLS),
    Case("embeddings one empty", EMBEDDINGS, {"model": "tiny", "input": [[1], []]}, KILLS),
    Case("encode empty text", ENCODE, {"text": ""}, KILLS),
    Case("encode empty ids", ENCODE, {"input_ids": [[1], []]}, KILLS),
    Case("encode empty pair", ENCODE, {"text": [["", ""]], "is_cross_encoder_request": True}, KILLS),
    Case("classify one empty", CLASSIFY, {"text": ["", "a"]}, KILLS),
    Case("score empty", SCORE, {"model": "tiny", "query": "", "items": [""]}, KILLS),
    Case("encode top_k over int32", ENCODE, {"text": "Once", "sampling_params": {"top_k": 2**31}}, KILLS),
    Case(
        "encode logit_bias string",
        ENCODE,
        {"text": "Once", "sampling_params": {"logit_bias": {"1": "x"}}},
        KILLS,
    ),
    Case("encode lora_id list for one text", ENCODE, {"text": "a", "lora_id": ["x"]}, KILLS),
    Case(
        "encode positional_embed_overrides",
        ENCODE,
        {"text": "Once", "positional_embed_overrides": {"a": 1}},
        KILLS,
    ),
    Case(
        "score query_embed_overrides too narrow",
        SCORE,
        {
            "model": "tiny",
            "query": [1, 2],
            "items": [[3]],
            "embed_override_token_id": 2,
            "query_embed_overrides": _NARROW,
        },
        KILLS,
    ),
    Case("embeddings 10,000 texts", EMBEDDINGS, {"model": "tiny", "input": ["a"] * 10**4}, SLOWS),
    Case(
        "embeddings rid of the health check",
        EMBEDDINGS,
        {"model": "tiny", "input": "Once", "rid": "HEALTH_CHECK"},
        HANGS,
    ),
]
