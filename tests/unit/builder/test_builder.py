"""The snapshot program on a parser of its own."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from builder import flag_snapshot

ROOT = Path(__file__).parents[3]
COMMITTED = (ROOT / "builder" / "flags.json").read_text(encoding="utf-8")


class DeprecatedAction(argparse.Action):
    def __init__(self, option_strings, dest, error_message=None, new_flag=None, nargs=0, **options):
        self.error_message, self.new_flag = error_message, new_flag
        super().__init__(option_strings, dest, nargs=nargs, **options)

    def __call__(self, *_):
        raise AssertionError("never parsed here")


def human_readable_int(text):
    return int(text)


def json_list_type(text):
    return json.loads(text)


def entry(*names, **options):
    parser = argparse.ArgumentParser()
    parser.add_argument(*names, **options)
    (flag,) = flag_snapshot.snapshot_of(parser, "1.0")["flags"].values()
    return flag


@pytest.mark.parametrize(("names", "options", "expected"), [
    (["--a", "--b"], {}, {"names": ["--a", "--b"], "kind": "value", "type": "str", "default": None, "help": ""}),
    (["-a", "--long"], {"type": int, "default": 3}, {"names": ["--long"], "type": "int", "default": 3}),
    (["--a"], {"type": float}, {"type": "float"}),
    (["--a"], {"type": human_readable_int}, {"type": "size"}),
    (["--a"], {"type": json.loads}, {"type": "json"}),
    (["--a"], {"type": json_list_type}, {"type": "json_list"}),
    (["--a"], {"type": str, "default": "{}"}, {"type": "json", "default": "{}"}),
    (["--a"], {"type": lambda text: text}, {"type": "str"}),
    (["--a"], {"choices": {"z", "b", "a"}}, {"choices": ["a", "b", "z"]}),
    (["--a"], {"choices": [2, 0, 4], "type": int}, {"choices": [2, 0, 4]}),
    (["--a"], {"choices": ("x", "w")}, {"choices": ["x", "w"]}),
    (["--a"], {"nargs": "+", "type": int}, {"kind": "list", "nargs": "+", "type": "int"}),
    (["--a"], {"nargs": "?"}, {"kind": "value", "nargs": "?"}),
    (["--a"], {"action": "store_true"}, {"kind": "switch", "default": False}),
    (["--a"], {"action": argparse.BooleanOptionalAction}, {"kind": "paired", "names": ["--a"]}),
    (["--a"], {"action": DeprecatedAction, "error_message": "Use  --b."},
     {"kind": "removed", "deprecated": "Use --b."}),
    (["--a"], {"action": DeprecatedAction, "new_flag": "--b"},
     {"kind": "switch", "deprecated": "Deprecated. Use --b instead."}),
    (["--a"], {"help": "(Deprecated: use --b) Does\n  this. And that."},
     {"deprecated": "Deprecated: use --b", "help": "Does this."}),
    (["--a"], {"help": "Deprecated. Use --b instead."}, {"deprecated": "Deprecated. Use --b instead.", "help": ""}),
    (["--a"], {"help": argparse.SUPPRESS}, {"help": ""}),
    (["--a"], {"help": "Sizes, e.g. 16. More."}, {"help": "Sizes, e.g. 16."}),
    (["--a"], {"help": "Short\n\n* list"}, {"help": "Short"}),
])
def test_each_kind_of_flag(names, options, expected):
    made = entry(*names, **options)
    assert {field: made.get(field) for field in expected} == expected


def test_a_long_help_text_is_cut_at_a_word():
    text = entry("--a", help="word " * 100)["help"]
    assert len(text) <= 202 and text.endswith("word …")


@pytest.mark.parametrize("path", sorted((ROOT / "builder").glob("flags*.json")), ids=lambda path: path.name)
def test_a_committed_file_is_as_the_program_writes_it(path):
    text = path.read_text(encoding="utf-8")
    assert flag_snapshot.dumps(json.loads(text)) == text


@pytest.fixture
def installed(monkeypatch):
    snapshot = json.loads(COMMITTED)
    monkeypatch.setattr(flag_snapshot, "installed", lambda: snapshot)
    return snapshot


def test_check_passes_without_drift_and_writes_nothing(installed, tmp_path, capsys):
    path = tmp_path / "flags.json"
    path.write_text(COMMITTED, encoding="utf-8")
    path.chmod(0o444)
    assert flag_snapshot.main(["--check", "--out", str(path)]) == 0
    assert capsys.readouterr().out == f"0 difference(s) between flags.json and sglang {installed['sglang']}\n"


def test_check_reports_drift(installed, tmp_path, capsys):
    path = tmp_path / "flags.json"
    assert flag_snapshot.main(["--out", str(path)]) == 0
    assert path.read_text(encoding="utf-8") == COMMITTED
    version, installed["sglang"] = installed["sglang"], "9.9"
    installed["flags"]["--new"] = installed["flags"].pop("--dtype")
    installed["flags"]["--device"]["choices"] = ["cuda"]
    capsys.readouterr()
    assert flag_snapshot.main(["--check", "--out", str(path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"sglang {version} -> 9.9", "- --dtype is gone", "+ --new is new", '~ --device choices: null -> ["cuda"]',
        "4 difference(s) between flags.json and sglang 9.9"]
    assert path.read_text(encoding="utf-8") == COMMITTED


def test_the_worker_never_imports_what_is_slow():
    """Neither the flags nor the configuration bring SGLang, torch or the SDK into the worker's first second."""
    program = ("import sys; from settings import config, flags; "
               "print(sorted({'sglang', 'torch', 'runpod', 'aiohttp', 'builder'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
