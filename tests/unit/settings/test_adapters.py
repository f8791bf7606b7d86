"""LORA_PATHS in every spelling that people use."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings.flags import adapters, argv_for
from tests.flag_samples import parser

ROOT = Path(__file__).parents[3]
SNAPSHOT = json.loads((ROOT / "builder" / "flags.json").read_text(encoding="utf-8"))
A, B = '{"lora_name": "a", "lora_path": "/x"}', '{"lora_name": "b", "lora_path": "/y, z"}'


@pytest.mark.parametrize(("text", "found"), [
    ("a=/x b=/y", ["a=/x", "b=/y"]), ("a=/x,b=/y", ["a=/x", "b=/y"]), ("a=/x, b=/y ,", ["a=/x", "b=/y"]),
    ("a = /x b =/y c= /z", ["a=/x", "b=/y", "c=/z"]), ("a=/x\nb=/y\n", ["a=/x", "b=/y"]),
    ("org/a org/b", ["org/a", "org/b"]), ("org/a,b=org/b", ["org/a", "b=org/b"]), ("/only", ["/only"]),
    ("a='/x y'", ["a=/x y"]), ('"a=/x y" b=/z', ["a=/x y", "b=/z"]), (r"a=/x\ y", ["a=/x y"]),
    ("a='/x,y'", ["a=/x,y"]), ("a=/x=y", ["a=/x=y"]),
    (A, [A]), (f"{A} {B}", [A, B]), (f"{A},{B}", [A, B]), (f"[{A}, {B}]", [A, B]), (f"c=/z {A}", ["c=/z", A]),
    (f"{A} c = /z", [A, "c=/z"]), (f"'{A}' c=/z", [A, "c=/z"]), ('["a=/x", "b=/y, z"]', ["a=/x", "b=/y, z"]),
    (f'["c=/z", {A}]', ["c=/z", A]),
])
def test_every_spelling(text, found):
    assert [json.loads(part) if part[0] == "{" else part for part in adapters.elements(text)] == [
        json.loads(part) if part[0] == "{" else part for part in found]


@pytest.mark.parametrize(("text", "says"), [
    ("", "has no element"), (" , ", "has no element"), ("[]", "has no element"),
    ("a=/x a=/y", "names 2 adapters 'a'; each needs a name of its own"), (f"a=/z {A}", "names 2 adapters 'a'"),
    ("org/a org/a", "names 2 adapters 'org/a'"),
    ("=/x", "element '=/x' must be name=path"), ("a=", "element 'a=' must be name=path"),
    ("a='/x", "cannot be read from"),
    ("--a=/x", "element '--a=/x' cannot start with a dash"), ("[a=/x]", "must be a JSON list where it begins"),
    ('["=/x"]', "element '=/x' must be name=path"), ('["a="]', "element 'a=' must be name=path"),
    ('{"lora_name": "a"}', "must have lora_name and lora_path"), ("{a: b}", "must be JSON"),
    ("[1]", "element 1 must be a text or an object"), ("[[]]", "element [] must be a text or an object"),
])
def test_what_cannot_be_read(text, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        adapters.elements(text)


def test_the_documented_example_is_what_the_server_takes():
    table = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    example = re.search(r"`LORA_PATHS=(.+?)`", table)[1]
    argv, _, problems = argv_for({"LORA_PATHS": example}, SNAPSHOT)
    assert problems == []
    first, second = parser(SNAPSHOT).parse_args(argv).__dict__["--lora-paths"]
    assert first == "sql=/adapters/sql" and json.loads(second) == {"lora_name": "fr", "lora_path": "org/fr"}


@given(st.text(alphabet="ab=, /'\"{}[]\\-:\n", max_size=30))
def test_any_text_is_read_or_refused(text):
    try:
        found = adapters.elements(text)
    except ValueError as error:
        assert str(error)
        return
    assert found and all(isinstance(part, str) and part for part in found)
