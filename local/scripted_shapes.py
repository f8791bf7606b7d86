"""The answers of SGLang 0.5.23's inference routes, field by field, for the scripted engine.

Each shape class gives the parts of one answer: `head` (events before the first token), `token`, `finish`
(events after the last) and `whole` (the non-streamed object). Errors are in the server's several shapes.
"""

from __future__ import annotations

import base64
import json
import struct
import time
import uuid

DONE = "data: [DONE]\n\n"


def compact(value) -> str:
    """JSON as the server writes it: no blanks, characters as UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def data(value) -> str:
    """One server-sent event."""
    return f"data: {compact(value)}\n\n"


def openai_error(message: str, code: int = 400, kind: str = "BadRequestError", param=None) -> dict:
    return {"object": "error", "message": message, "type": kind, "param": param, "code": code}


ANTHROPIC_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error",
                   413: "request_too_large", 429: "rate_limit_error", 500: "api_error", 502: "api_error",
                   503: "overloaded_error"}


def event_error(name: str, message: str, code: int, rid: str) -> str:
    """The event(s) of an error hidden in a 200 stream, by the name of the route family that sends it.

    "openai": chat and completions. "generate": native, refused. "generate-abort": native, queue full.
    "anthropic": /v1/messages. "string": {"error": "…"}.
    """
    if name == "openai":
        kind = "SERVICE_UNAVAILABLE" if code == 503 else "BadRequestError"
        return data({"error": openai_error(message, code, kind)})
    if name == "generate":
        return data({"error": {"message": message, "type": "invalid_request_error", "code": code,
                               "retryable": False}})
    if name == "generate-abort":
        return data({"text": "", "output_ids": [], "meta_info": {
            "id": rid, "finish_reason": {"type": "abort", "message": message, "status_code": code,
                                         "err_type": "SERVICE_UNAVAILABLE"},
            "prompt_tokens": 0, "completion_tokens": 0, "cached_tokens": 0}})
    if name == "anthropic":
        return (_named({"type": "error", "error": {"type": "api_error", "message": message}})
                + _named({"type": "message_stop"}))
    if name == "string":
        return data({"error": message})
    raise ValueError(f"unknown error shape {name!r}: one of {', '.join(EVENT_ERRORS)}")


EVENT_ERRORS = ("openai", "generate", "generate-abort", "anthropic", "string")


def body_error(name: str | None, message: str, code: int) -> dict:
    """The JSON body of an error that has its own HTTP status; `name` as in `event_error`, or "detail"."""
    if name in (None, "openai"):
        return openai_error(message, code)
    if name in ("generate", "generate-abort"):
        return {"error": {"message": message}}
    if name == "anthropic":
        return {"type": "error", "error": {"type": ANTHROPIC_TYPES.get(code, "invalid_request_error"),
                                           "message": message}}
    if name == "string":
        return {"error": message}
    if name == "detail":
        return {"detail": message}
    raise ValueError(f"unknown error shape {name!r}")


EMBEDDING_SIZE = 8


def embeddings(tokens: list[list[int]], body: dict, model: str) -> dict:
    """/v1/embeddings: a vector for each input, the same for the same tokens."""
    rows = []
    for index, ids in enumerate(tokens):
        vector = [((sum(ids) + k) % 97) / 97 for k in range(body.get("dimensions") or EMBEDDING_SIZE)]
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        rows.append({"embedding": vector, "index": index, "object": "embedding"})
    count = sum(map(len, tokens))
    return {"object": "list", "data": rows, "model": model, "usage": {
        "prompt_tokens": count, "total_tokens": count, "completion_tokens": 0, "prompt_tokens_details": None,
        "reasoning_tokens": 0}}


class Chat:
    """/v1/chat/completions. reasoning: what stands before the answer."""

    reasoning: str | None = None

    def __init__(self, body: dict, rid: str, model: str, prompt_tokens: int):
        self.rid, self.prompt_tokens = rid, prompt_tokens
        self.model = body.get("model") or "default"  # echoed, whatever is served
        self.usage_wanted = bool((body.get("stream_options") or {}).get("include_usage"))
        self.created = int(time.time())
        # A paced benchmark sends tens of thousands of these: only the text is encoded per token.
        self.before, self.after = self._event({"content": "\0"}).split(json.dumps("\0"))

    def _event(self, delta, reason=None, matched=None) -> str:
        return data({"id": self.rid, "object": "chat.completion.chunk", "created": self.created,
                     "model": self.model, "choices": [{
                         "index": 0, "delta": {"reasoning_content": None, **delta}, "logprobs": None,
                         "finish_reason": reason, "matched_stop": matched}]})

    def head(self) -> str:
        thought = self._event({"reasoning_content": self.reasoning}) if self.reasoning else ""
        return self._event({"role": "assistant", "content": ""}) + thought

    def token(self, index: int, piece: str) -> str:
        return self.before + json.dumps(piece, ensure_ascii=False) + self.after

    def finish(self, tokens: int, reason: str) -> str:
        matched = 2 if reason == "stop" else None
        out = self._event({}, reason, matched)
        if self.usage_wanted:
            out += data({"id": self.rid, "object": "chat.completion.chunk", "created": self.created,
                         "model": self.model, "choices": [], "usage": self.usage(tokens)})
        return out

    def usage(self, tokens: int) -> dict:
        return {"prompt_tokens": self.prompt_tokens, "total_tokens": self.prompt_tokens + tokens,
                "completion_tokens": tokens, "prompt_tokens_details": None, "reasoning_tokens": 0,
                "completion_tokens_details": None}

    def whole(self, text: str, tokens: int, reason: str) -> dict:
        return {"id": self.rid, "object": "chat.completion", "created": self.created, "model": self.model,
                "choices": [{"index": 0,
                             "message": {"role": "assistant", "content": text, "reasoning_content": self.reasoning},
                             "logprobs": None, "finish_reason": reason,
                             "matched_stop": 2 if reason == "stop" else None}],
                "usage": self.usage(tokens), "metadata": {"weight_version": "default"}}


class Completion(Chat):
    """/v1/completions."""

    def _event(self, delta, reason=None, matched=None) -> str:
        return data({"id": self.rid, "object": "text_completion", "created": self.created,
                     "choices": [{"index": 0, "text": delta.get("content", ""), "logprobs": None,
                                  "finish_reason": reason, "matched_stop": matched}],
                     "model": self.model, "usage": None})

    def head(self) -> str:
        return ""

    def whole(self, text: str, tokens: int, reason: str) -> dict:
        return {"id": self.rid, "object": "text_completion", "created": self.created, "model": self.model,
                "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": reason,
                             "matched_stop": 2 if reason == "stop" else None}],
                "usage": self.usage(tokens), "metadata": {"weight_version": "default"}}


SAMPLING_FIELDS = (
    "max_new_tokens", "stop", "stop_token_ids", "stop_regex", "temperature", "top_p", "top_k", "min_p",
    "frequency_penalty", "presence_penalty", "repetition_penalty", "min_new_tokens", "n", "json_schema",
    "regex", "ebnf", "structural_tag", "ignore_eos", "skip_special_tokens", "spaces_between_special_tokens",
    "no_stop_trim", "stream_interval", "logit_bias", "sampling_seed", "custom_params", "beam_width",
    "watermark", "choice")


def sampling_error(body: dict) -> str | None:
    """What /generate answers to a sampling parameter that it does not know; other unknown keys pass."""
    sampling = body.get("sampling_params") or {}
    for one in sampling if isinstance(sampling, list) else [sampling]:
        for name in one:
            if name not in SAMPLING_FIELDS:
                return f"unknown field `{name}`, expected one of " + ", ".join(
                    f"`{known}`" for known in SAMPLING_FIELDS)
    return None


class Generate:
    """/generate. Streamed text is cumulative, as the server's is."""

    def __init__(self, body: dict, rid: str, model: str, prompt_tokens: int, index: int | None = None):
        self.rid, self.prompt_tokens, self.index = rid, prompt_tokens, index
        self.text, self.start = "", time.perf_counter()

    def head(self) -> str:
        return ""

    def token(self, index: int, piece: str) -> str:
        self.text += piece
        return data(self._answer(self.text, index + 1, None))

    def finish(self, tokens: int, reason: str) -> str:
        return data(self._answer(self.text, tokens, reason))

    def whole(self, text: str, tokens: int, reason: str) -> dict:
        return self._answer(text, tokens, reason)

    def _answer(self, text: str, tokens: int, reason: str | None) -> dict:
        finish = {None: None, "length": {"type": "length", "length": tokens},
                  "stop": {"type": "stop", "matched": 2},
                  "abort": {"type": "abort", "message": "Aborted", "status_code": None, "err_type": None},
                  }.get(reason, {"type": reason})
        answer = {"text": text, "output_ids": list(range(tokens)), "meta_info": {
            "id": self.rid, "finish_reason": finish, "prompt_tokens": self.prompt_tokens,
            "weight_version": "default", "total_retractions": 0, "completion_tokens": tokens,
            "cached_tokens": 0, "e2e_latency": time.perf_counter() - self.start}}
        if self.index is not None:
            answer["index"] = self.index
        return answer


def _named(value: dict) -> str:
    """An Anthropic event; the server leaves empty fields out of these."""
    if isinstance(value.get("message"), dict):
        value["message"] = {k: v for k, v in value["message"].items() if v is not None}
    return f"event: {value['type']}\ndata: {compact(value)}\n\n"


class Messages:
    """/v1/messages, in Anthropic's shape."""

    def __init__(self, body: dict, rid: str, model: str, prompt_tokens: int):
        self.id, self.model, self.prompt_tokens = f"msg_{uuid.uuid4().hex}", body["model"], prompt_tokens

    def _message(self, content, reason, tokens) -> dict:
        return {"id": self.id, "type": "message", "role": "assistant", "content": content,
                "model": self.model, "stop_reason": reason, "stop_sequence": None,
                "usage": {"input_tokens": self.prompt_tokens, "output_tokens": tokens}}

    def head(self) -> str:
        return (_named({"type": "message_start", "message": self._message([], None, 0)})
                + _named({"type": "content_block_start", "index": 0,
                          "content_block": {"type": "text", "text": ""}}))

    def token(self, index: int, piece: str) -> str:
        return _named({"type": "content_block_delta", "index": 0,
                       "delta": {"type": "text_delta", "text": piece}})

    def finish(self, tokens: int, reason: str) -> str:
        return (_named({"type": "content_block_stop", "index": 0})
                + _named({"type": "message_delta", "delta": {"stop_reason": self._reason(reason)},
                          "usage": {"output_tokens": tokens}})
                + _named({"type": "message_stop"}))

    def whole(self, text: str, tokens: int, reason: str) -> dict:
        return self._message([{"type": "text", "text": text}], self._reason(reason), tokens)

    @staticmethod
    def _reason(reason: str) -> str:
        return "max_tokens" if reason == "length" else "end_turn"
