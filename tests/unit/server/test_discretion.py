"""What the engine's log quotes of an answer is not shown; everything else is."""

import pytest

from server.discretion import NO_TOKEN, Discretion

AT = "[2026-11-22 11:15:21 TP0] "


def shown(*lines):
    log = Discretion()
    return [line for line in map(log.shown, lines) if line is not None]


@pytest.mark.parametrize("line", [
    "Grammar accept_token failed for req job-1 with token [7, 8]: Tokens not accepted: SECRET",
    "[http_server] Error: Grammar accept_token failed: Tokens not accepted: SECRET",
    "Hit invalid json_schema: key_string='SECRET', e=RuntimeError('SECRET')",
    "Hit invalid regex schema: regex='SECRET'",
    "[http_server] Error: Failed to compile ebnf grammar: SECRET", "skip invalid regex: SECRET, e=ValueError()",
    "Skip unsupported key_type='x', key_string='SECRET'",
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


def test_a_line_of_another_process_in_between_is_shown_and_nothing_of_the_rest():
    told = shown(AT + "Grammar accept_token failed for req a with token [7]: Tokens not accepted: SECRET",
                 AT + "First.", "Accepted tokens: SECRET", "Key string: {", "SECRET", AT + "Last.",
                 "Key string: SECRET", AT + "End.")
    assert "SECRET" not in "\n".join(told)
    assert told[1:] == [AT + "First.", AT + "Last.", AT + "End."]


def test_the_question_for_the_vocabulary_leaves_no_error():
    said = AT + "[http_server] Error: logit_bias must has keys in [0, 511], got "
    assert shown(f"{said}{NO_TOKEN}.", f"{said}600.", "next") == [f"{said}600.", "next"]
