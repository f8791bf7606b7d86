"""What the engine's log quotes of an answer is not shown; everything else is."""

import pytest

from server.discretion import Discretion

AT = "[2026-11-22 11:15:21 TP0] "


def shown(*lines):
    log = Discretion()
    return [line for line in map(log.shown, lines) if line is not None]


@pytest.mark.parametrize("line", [
    "Grammar accept_token failed for req job-1 with token [7, 8]: Tokens not accepted: SECRET",
    "Failed to parse JSON part: SECRET, JSON parse error: x", "Failed to parse 'SECRET' as number, treating as string",
    "Parsed value 'SECRET' of parameter 'a' is not an integer in tool 'b', degenerating to string.",
    "Model attempted to call undefined function: SECRET", "Invalid Inkling tool call payload: SECRET",
    "Arguments of SECRET are not valid JSON: x", "Error in parse_streaming_increment: SECRET",
    "Tool call parsing error: SECRET", "Failed to parse Anthropic stream chunk (ValueError): SECRET"])
def test_what_a_warning_quotes_is_left_out_with_all_its_lines(line):
    told = shown(AT + line, "Accepted tokens: SECRET", "", "SECRET [2026", "Traceback (most recent call last):",
                 '  File "x.py"', AT + "Decode batch.")
    assert "SECRET" not in "\n".join(told)
    assert told[0].startswith(AT) and told[0].endswith("left out)")
    assert told[1:] == ["Traceback (most recent call last):", '  File "x.py"', AT + "Decode batch."]


@pytest.mark.parametrize("line", [
    AT + "Decode batch.", "Grammar accept_token failed for req x", "", "Traceback (most recent call last):",
    AT + "Failed to parse the config.", AT + "Tool call support is on."])
def test_any_other_line_is_shown(line):
    assert shown(line, line) == [line, line]
