"""Stop patterns: which are sure to run quickly, and that those that pass do, on the worst texts for them."""

import json
import re
import subprocess
import sys

import pytest

from job.patterns import check, reduced, search_steps
from utils import JobError

ACCEPTED = [
    r"stop", r"C\+\+", r"[+*/-]=", r"[^\n]x", r"\)+", r"\n{2,}", r"[\])]+", r"(foo)?bar", r"(ab){2}",
    r"\d{1,3}-\d{1,3}", r"\d+\.\d+", r"a+b", r"a*b", r"(?i)stop|halt", r"Observation:|Thought:|Action:",
    r"\bEND\b", r"^###$", r"(END|STOP)\.?\s*", r"(?:a|b|c){1,10}d", r"\s{0,10}\n", r".{0,40}foo", r"[^a]bc",
    r"\n\s*\n", r"\n\s*\n\s*\n", r"\n[ \t]*\n", r"\n[ \t]*?\n[^\S\n]*\n", r"x{3}", r"",
    r"(a){1,100}b", r"(\w{1,5} ){3}",
    r"\n\d+\.", r"\n#+\s", r"Answer:\s*[A-D]", r"(?i)answer:\s*[a-d]\b", r"Step\s+\d+:", '"[^"]*"', r"```\s*$",
    r"x\s*$",
    r"<[^<>]*>", r"</?tool[^<>]*>", r"[.!?]\s+[A-Z]", r"\$\d+(\.\d{2})?", r"ba+c", r"a b+ c+ d", r"(?:ba+c)", r"}\s*\Z",
    r"```\s*", r"(?:x|y+)", r"(?P<name>a)b", r"[^\n]{0,20}:", r"a{3,}b", r"(?i)é+!",
]
REFUSED = [
    r"(.*.*)*\x00", r"(a|aa)+\x00", r".*.*.*.*.*\x00", r"(a+)+b", r"(a*)*", r"((a{0,5}){0,5}){0,5}b",
    r"(a{0,99}){0,99}",
    "a?" * 20 + "a" * 20 + "!", "(a|a)" * 18 + "!", ".{0,60}" * 4 + "!", r"\s*\d+x", r"a+b|c+d",
    r"<[^>]+>", r"<\|.*?\|>", r"</?tool.*?>", r"\([^)]*\)",
    r"b[ab]+c", r"ba+[a-c]", r"(?i)k[\u212a]+x", r"(?i)b[A-C]+x", r"ba+.c", r"ba+(c)?c", r"ba+x?c", r"\n\w+\d+:",
    r"b[^a]*[^b]*c", r"=\s*(?:a|ab){1,2}c", r"b(?:a+c){1,2}d", r"ba+c{0,3}d", r"x\S+\s*$", "a" + "b+c" * 40,
    r"(a)\1", r"(?P<x>a)(?P=x)", r"(?=a)b", r"(?!a)b", r"(?<=a)b", r"(?<!a)b", r"(a)?(?(1)b|c)", r"(ab)+", r"(a|b)+c",
    r"x{4294967294}", r"(?:a{0,300}){0,300}", r"(x+x+)+y", r"([a-z]+)*1", r"(a|b|ab)*c", r"(.+)+\n", r"^(\w+\s?)*$",
    r"a[abc]*a[ab]*a", r"a[abc]*a[bd]*a", r"\n\s*\n\s*\n\s*\n", r"\n\s+\n\s*\n", r"(?:a?){40}b", r"a{0,999}b{0,999}c",
]
INVALID = ["([", "a{2,1}", "(", "*a", "(?P<1>a)", "\\", "[z-a]", "(" * 120]


@pytest.mark.parametrize("pattern", ACCEPTED)
def test_a_pattern_that_is_sure_to_be_quick_passes(pattern):
    check([pattern])


@pytest.mark.parametrize("pattern", REFUSED)
def test_a_pattern_that_could_take_long_is_refused_by_name(pattern):
    with pytest.raises(JobError) as raised:
        check([pattern])
    assert raised.value.param == "stop_regex" and raised.value.code == 400
    assert "other request" in raised.value.message


@pytest.mark.parametrize("pattern", INVALID)
def test_what_is_no_regular_expression_is_said_to_be_none(pattern):
    with pytest.raises(JobError, match="no regular expression"):
        check([pattern])


@pytest.mark.parametrize("pattern, said", [
    (r"(a)\1", "a backreference"), (r"(a)?(?(1)b|c)", "a condition"), (r"(?=a)b", "a lookahead or lookbehind"),
    (r"(?<!a)b", "a lookahead or lookbehind"), (r"x.*$", "without a bound")])
def test_the_refusal_says_what_is_in_the_way_and_what_to_write(pattern, said):
    with pytest.raises(JobError) as raised:
        check([pattern])
    assert said in raised.value.message and "{1,20}" in raised.value.message
    assert repr(pattern) in raised.value.message


@pytest.mark.skipif(sys.version_info < (3, 11), reason="newer than this Python's regular expressions")
@pytest.mark.parametrize("pattern", ["a++b", "(?>a{1,3})b", "a{1,3}+b"])
def test_possessive_and_atomic_parts_are_refused(pattern):
    with pytest.raises(JobError, match="possessive or atomic"):
        check([pattern])


def test_length_and_number_of_patterns_are_those_of_the_engine():
    for right in (["a" * 150 + r"\x61" * 26 + "ab"], [r"\x61" * 62 + "éééé"], ["a"] * 32):
        assert len(right) > 1 or len(right[0].encode()) == 256
        check(right)
    for wrong in ([r"\x61" * 64 + "a"], [r"\x61" * 62 + "éééé" + "a"], ["a"] * 33):
        with pytest.raises(JobError) as raised:
            check(wrong)
        assert "256 bytes" in raised.value.message or "33 patterns; the limit is 32" in raised.value.message
    for wrong in ([5], [None], [{}]):
        with pytest.raises(JobError, match="must be a string or a list of strings"):
            check(wrong)


def test_all_patterns_of_a_request_share_one_measure():
    one = r".{0,40}foo"
    assert search_steps(one) < 500_000 < 32 * search_steps(one)
    with pytest.raises(JobError, match="Shorten its repeats"):
        check([one] * 32)


@pytest.mark.parametrize("beside, stops", [(["q{9,}"], []), ([r"\n\s*\n"], []), (["[^q]"], []), (["q{100}"], []),
                                           ([], ["q" * 300]), ([], ["x", "\u00e9" * 150])])
def test_a_pattern_is_searched_for_as_far_back_as_its_neighbours_need(beside, stops):
    dear = "(?:" + "a?" * 10 + ")b"
    check([dear], ["stop"])
    check(beside, stops)
    with pytest.raises(JobError, match="looks as far back"):
        check([dear, *beside], stops)


@pytest.mark.parametrize("one, many", [("[\x01-\uffff]", 7), ("(?i)[\x01-\uffff]", 7), (r"[\x01-\uffff]", 7),
                                       ("(?:x|[^\x01-\U0010ffff])", 7), ("([\u4e00-\u9fff]{1,3})", 22)])
def test_classes_may_not_take_long_to_compile(one, many):
    check([f"{one}{number}" for number in range(many)])
    with pytest.raises(JobError, match="classes of so many characters"):
        check([f"{one}{number}" for number in range(many + 2)])


@pytest.mark.parametrize("pattern, steps", [
    # Tokens looked at, eight characters each, and steps at every one of them.
    ("ab", 3 * 8 * 2), ("a", 2 * 8 * 1), ("", 1 * 8 * 1), ("a|bc", 3 * 8 * 5), ("a{2,4}", 5 * 8 * 5), ("^a", 2 * 8 * 2),
    ("a{1,3}b", 5 * 8 * 7), ("(ab){1,2}", 5 * 8 * 7), ("(a|b){1,2}", 3 * 8 * 5), ("a+", 1024 * 8 * 2),
    ("a*", 1024 * 8 * 1), ("a{3,}", 1024 * 8 * 4), ("[^a]", 1024 * 8 * 1), (r"\n\s*\n", 1024 * 8 * 4),
    (r"\n\s*\n\s*\n", 1024 * 8 * 8), ("(a{0,1}b?){1,2}c", 6 * 8 * 56), ("(?:ab|cd)x", 4 * 8 * 8)])
def test_what_a_search_is_counted_for(pattern, steps):
    assert search_steps(pattern) == steps


@pytest.mark.parametrize("pattern, shorter", [
    (r"\d+\.\d+", r"(?:\d)\.\d+"), ("a+b", "(?:a)b"), ("a*b", "(?:)b"), ("a{3,}b", "(?:a{3})b"), ("a{1,}b", "(?:a)b"),
    ("a{0,}b", "(?:)b"), ("a+?b", "(?:a)b"), (r"[+*/-]+=", "(?:[+*/-])="), (r"\)+x", r"(?:\))x"),
    ("(?i)a+b", "(?i)(?:a)b"), ("[]a]+b", "(?:[]a])b"), (r"[^\]]+b", r"(?:[^\]])b"), (".*foo", "(?:)foo"),
    (r"\x41+b", r"(?:\x41)b"), (r"\u00e9+b", r"(?:\u00e9)b"), ("é+!", "(?:é)!")])
def test_a_repeat_at_the_beginning_is_sent_at_its_least(pattern, shorter):
    assert reduced(pattern) == shorter and reduced(shorter) == shorter
    text = "xx 3.14 aaaab \u00e9\u00e9! )x == +*= foo AAb ]b"
    assert shorter not in text  # the engine would cut an answer at it, as at a stop string
    for end in range(len(text)):  # found at the same token
        assert bool(re.search(pattern, text[:end])) == bool(re.search(shorter, text[:end]))


@pytest.mark.parametrize("pattern", ["a+", "a*", "^a+b", "(a)+b", "ba+c", r"\s*\d+x", "a+b|c", r"\b+x", "a{2}b", "",
                                     "a{2,3}b", "([", "a" * 256 + "+b", "(?x)a +b", r"\1+b", "a++b", "a+b+c"])
def test_another_pattern_is_sent_as_it_is(pattern):
    assert reduced(pattern) == pattern


# For each accepted pattern the texts that keep it busy longest: runs of what its parts can match, none of them whole.
_RUN = r"""
import itertools, json, re, sys
for pattern in json.load(sys.stdin):
    compiled = re.compile(pattern)
    pieces = ["a", "aa", "ab", "0", " ", "\n", "\n ", "x", ")", "f", "fo", "aaaaa ", "C+", "`", "\n \n x", "1.", "b"]
    for piece, end in itertools.product(pieces, ("", "\0")):
        text = (piece * 8192)[:8192] + end
        compiled.search(text)
print("done")
"""


def test_accepted_patterns_end_on_the_texts_that_are_worst_for_them():
    """All of them together within a time that one deadly search would not keep to by far."""
    ran = subprocess.run([sys.executable, "-c", _RUN], input=json.dumps([reduced(p) for p in ACCEPTED]), text=True,
                         capture_output=True, timeout=120, check=True)
    assert ran.stdout == "done\n"


@pytest.mark.parametrize("pattern", ["(a|aa)+\\x00", "a?" * 30 + "a" * 30 + "!", "(a|a)" * 30 + "!"])
def test_the_measure_is_needed(pattern):
    """The same run does not end for what is refused."""
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([sys.executable, "-c", _RUN], input=json.dumps([pattern]), text=True, capture_output=True,
                       timeout=3, check=True)
