"""What SGLang's own code makes of each family's template: run with a Python that has SGLang, by bench/parser_table.py.

Prints one JSON object, {family: {"tools", "reasoning": what `auto` detects, or null; "reads", "tells": of the
detected parser and of the family's own, of all where it has none, whether it reads its tool call, or tells its thought
from its answer}}.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
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
    return {"tools": tools, "reasoning": reasoning,
            "reads": {name: _reads(name, family.call) for name in sorted(readers - {None})},
            "tells": {name: _tells(name, family.thought, forced) for name in sorted(thinkers - {None})}}


def main() -> None:
    logging.disable()
    with contextlib.redirect_stdout(io.StringIO()):
        found = {family.name: of(family) for family in FAMILIES}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
