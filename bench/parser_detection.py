"""What SGLang's own code makes of each family's template: run with a Python that has SGLang, by bench/parser_table.py.

Prints one JSON object, {family: {"tools", "reasoning": what `auto` detects, or null; "reads", "tells": of the
detected parser and of the family's own, of all where it has none, whether it reads its tool call, or tells its thought
from its answer; "pieces": of the parsers that read the call, whether a stream gives the same with four tokens in each
piece as with one}}.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import sys

from local import corpus
from local.families import ANSWER, FAMILIES, THOUGHT, Family


class _Tokenizer:
    def __init__(self, tokens: tuple[str, ...]):
        self._tokens = tokens

    def get_vocab(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self._tokens)}


def _reads(parser: str, text: str) -> bool:
    from sglang.srt.entrypoints.openai.protocol import Tool
    from sglang.srt.function_call.function_call_parser import FunctionCallParser

    read = FunctionCallParser([Tool(**corpus.WEATHER_TOOL)], parser)
    calls = read.parse_non_stream(text)[1] if read.has_tool_call(text) else []
    return [(call.name, json.loads(call.parameters)) for call in calls] == [("get_weather", corpus.WEATHER_ARGUMENTS)]


def _tells(parser: str, text: str, forced: bool) -> bool:
    from sglang.srt.parser.reasoning_parser import ReasoningParser

    thought, answer = ReasoningParser(parser, stream_reasoning=False, force_reasoning=forced).parse_non_stream(text)
    return ((thought or "").strip(), (answer or "").strip()) == (THOUGHT, ANSWER)


# Words, marks and what is between: about what a tokenizer makes of a call.
_TOKEN = re.compile(r"<[^<>\s]+>|\[[A-Z_]+\]| ?\w+|\s+|[^\w\s<]+|<")
TOGETHER = 4  # tokens of one piece


def _streamed(parser: str, pieces: list[str]) -> tuple[str, list[tuple[str, str]]]:
    """(text, (name, arguments) of each call) of a stream, as SGLang's serving_chat.py puts it together."""
    from sglang.srt.entrypoints.openai.protocol import Tool
    from sglang.srt.function_call.function_call_parser import FunctionCallParser

    read = FunctionCallParser([Tool(**corpus.WEATHER_TOOL)], parser)
    texts, calls = [], {}
    for text, found in [*map(read.parse_stream_chunk, pieces), read.parse_stream_end()]:
        texts.append(text or "")
        for call in found:
            name, arguments = calls.get(call.tool_index, ("", ""))
            calls[call.tool_index] = name + (call.name or ""), arguments + (call.parameters or "")
    return "".join(texts).strip(), [(name, arguments.replace(" ", "")) for name, arguments in calls.values()]


def _in_pieces(parser: str, call: str) -> bool:
    """Whether a call, alone, behind a sentence and twice, is read the same wherever pieces begin."""
    for text in (call, f"Let me look. {call}", f"{call}\n{call}"):
        tokens = _TOKEN.findall(text)
        alone = _streamed(parser, tokens)
        for first in range(TOGETHER):
            ends = [0, 1, *range(1 + first, len(tokens) + TOGETHER, TOGETHER)]
            pieces = ["".join(tokens[a:b]) for a, b in zip(ends, ends[1:], strict=False) if a < b]
            if _streamed(parser, pieces) != alone:
                return False
    return True


def of(family: Family) -> dict:
    from sglang.srt.function_call.function_call_parser import FunctionCallParser
    from sglang.srt.parser import template_detection as detection

    forced, mode = detection.detect_reasoning_pattern(family.template)
    arguments = (family.template, _Tokenizer(family.tokens), mode, forced)
    tools, reasoning = detection.detect_tool_call_parser(*arguments), detection.detect_reasoning_parser(*arguments)
    # As for a request that says nothing of thinking (sglang: entrypoints/openai/serving_chat.py).
    forced = forced or bool(mode and mode.default_enabled)
    readers = set() if not family.call else {tools, family.tools} if family.tools else (
        set(FunctionCallParser.ToolCallParserEnum) - {"response_template"})  # which needs a template of its own
    thinkers = {reasoning, family.reasoning} if family.thought else set()
    reads = {name: _reads(name, family.call) for name in sorted(readers - {None})}
    return {"tools": tools, "reasoning": reasoning, "reads": reads,
            "pieces": {name: _in_pieces(name, family.call) for name, right in reads.items() if right},
            "tells": {name: _tells(name, family.thought, forced) for name in sorted(thinkers - {None})}}


def main() -> None:
    logging.disable()
    with contextlib.redirect_stdout(io.StringIO()):
        found = {family.name: of(family) for family in FAMILIES}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
