"""What SGLang's log says of an answer, left out of the log that is shown.

By default the engine logs no prompts and no answers (LOG_REQUESTS makes it). But when an answer does not fit what it
was to be, a grammar or the form of a tool call, some of its warnings quote it; others quote a schema or a pattern that
cannot be compiled. Pure.
"""

from __future__ import annotations

import re

# No model has this token: the worker asks for the size of the vocabulary by naming it, and is refused.
NO_TOKEN = 2**62

# Every line of its logger begins with the time (sglang: srt/utils/common.py, configure_logger); what does not is the
# rest of a message of several lines.
_BEGINS = re.compile(r"\[\d{4}-\d\d-\d\d ")
# The rest of a grammar's message when a line of another process came between.
_TORN = ("Accepted tokens: ", "Key string: ")
_LEFT_OUT = " (what it quotes is left out)"
# Up to where a message may be shown; paths in sglang/srt.
_QUOTES = tuple(re.compile(pattern) for pattern in (
    # managers/scheduler_components/batch_result_processor.py, with constrained/xgrammar_backend.py inside
    r".*?Grammar accept_token failed(?: for req \S+)?",
    # constrained/, of a schema or pattern that cannot be compiled
    r".*?Hit invalid [\w ]+(?=:)", r".*?Failed to compile \w+ grammar", r".*?skip invalid regex",
    r".*?Skip unsupported (?=key_type)",
    # function_call/*_detector.py
    r".*?Failed to parse (?:JSON part|dots tool call|streamed dots tool call|tool calls|argument)",
    r".*?Failed to parse '(?=.*as number, treating as string)",
    r".*?Parsed value (?='.*' of parameter)",
    r".*?Model attempted to call undefined function",
    r".*?Invalid Inkling tool call payload", r".*?Surfacing Inkling call to undeclared tool",
    r".*?\[GigaChat35\] undefined function call", r".*?Arguments overlap mismatch\.",
    r".*?\[InternLM Tool Call\] Parsed tool call #\d+",
    r".*?Cohere tool-call body did not parse as JSON", r".*?Unexpected tool_call_id format",
    r".*?Dropping (?:unclosed|malformed) DeepSeek invoke",
    r".*?Arguments of (?=.* are not valid JSON)", r".*?Tool call (?=.* has positional arguments)",
    r".*?Error in (?:Kimi K3 )?(?:detect_and_parse|parse_streaming_increment)",
    r".*?(?:Tool call parsing error|Required tool JSON parse error|Reasoning parsing error)",
    # entrypoints/anthropic/serving.py
    r".*?Failed to parse Anthropic stream chunk",
))


class Discretion:
    """One server's log, line by line."""

    def __init__(self) -> None:
        self._quoting = False

    def shown(self, line: str) -> str | None:
        """What of the next line is to be shown, None for nothing."""
        if self._quoting and not _BEGINS.match(line) and not line.startswith("Traceback "):
            return None
        self._quoting = False
        if line.startswith(_TORN):
            self._quoting = True
            return None
        if f"got {NO_TOKEN}" in line:
            return None
        if not _BEGINS.match(line):
            return line
        for quote in _QUOTES:
            if found := quote.match(line):
                self._quoting = True
                return found[0] + _LEFT_OUT
        return line
