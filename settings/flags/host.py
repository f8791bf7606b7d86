"""The server's processes on the host: how often streams tell of replicas, and what several tokenizers lack. Pure."""

from __future__ import annotations

from settings.flags import Given, variable
from settings.flags.values import Notice, Problem

# Tokens between two events of a stream. One process of the server writes the streams of all replicas: a token costs it
# 55 us of its core where each is an event of its own, and 25 with four in one (docs/scaling.md, Data parallel).
OF_REPLICAS = 4
# What the processes of several tokenizers do not share, or are not told (sglang 0.5.23: init_multi_tokenizer in
# entrypoints/http_server.py; response_store in entrypoints/openai/serving_responses.py).
_ALONE = (("--api-key", "SGLang's tokenizer workers take no key and do not start with one; the server listens on this "
                        "machine alone"),
          ("--admin-api-key", "SGLang's tokenizer workers ask nobody for it"),
          ("--enable-response-store", "each of SGLang's tokenizer workers would keep responses of its own"))


def stream_interval(given: Given, config_file: bool, parsed: bool) -> tuple[list[str], list[Notice]]:
    """(arguments, notices): with replicas of the model fewer and larger events, unless the user has decided.

    parsed: the server looks for tool calls in answers. Then events stay as they are: several of SGLang's parsers take
    one thing from each piece of a stream and lose what else is in it, a call's arguments for one (sglang 0.5.23:
    parse_streaming_increment in function_call/deepseekv3_detector.py, base_format_detector.py).
    """
    replicas = given.count("--dp-size")
    if (replicas < 2 or given.on("--enable-dp-attention") or given.on("--is-embedding") or config_file
            or "--stream-interval" in given):
        return [], []
    if parsed:
        return [], [("info", f"one process writes the streams of {replicas} replicas, a token an event, for SGLang's "
                             f"parsers lose parts of streamed tool calls otherwise: STREAM_INTERVAL={OF_REPLICAS} "
                             "halves that process's work where nobody streams tool calls, or TOOL_CALL_PARSER=none")]
    return ["--stream-interval", str(OF_REPLICAS)], [
        ("info", f"STREAM_INTERVAL={OF_REPLICAS}: one process writes the streams of {replicas} replicas")]


def tokenizers(given: Given) -> list[Problem]:
    """What does not go with several tokenizer processes."""
    name, count = "--tokenizer-worker-num", given.count("--tokenizer-worker-num")
    if count < 2:
        return []
    return [Problem(variable(name), given.value(name) or "", f"does not go with {variable(flag)}: {why}")
            for flag, why in _ALONE if flag in given and (given.value(flag) or given.on(flag))]
