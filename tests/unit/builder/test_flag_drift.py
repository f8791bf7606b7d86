"""What differs between two snapshots, and who names the flags in question."""

import copy
import sys

import pytest

from builder import flag_drift, flag_fetch, flag_snapshot
from local import environments
from tests.flag_samples import SNAPSHOTS

OLD, NEW = sorted(SNAPSHOTS)


@pytest.fixture
def newer():
    snapshot = copy.deepcopy(SNAPSHOTS[NEW])
    snapshot["sglang"] = "9.9"
    return snapshot


def reported(newer, files=None):
    lines, differ = flag_drift.report(SNAPSHOTS[NEW], newer, {} if files is None else files)
    assert lines[0].startswith(f"sglang {NEW} -> 9.9: ")
    return lines[1:], differ


def test_a_gone_and_a_new_flag(newer):
    newer["flags"]["--brand-new"] = newer["flags"].pop("--dtype")
    assert reported(newer) == (["- --dtype is gone", "+ --brand-new is new",
                                "1 gone, 1 new, 0 changed; 0 of them used here; 0 other help texts"], True)


@pytest.mark.parametrize(("field", "value", "line"), [
    ("default", "half", '~ --dtype default: "auto" -> "half"'),
    ("names", ["--dtype", "--data-type"], "~ --dtype names: + --data-type"),
    ("kind", "list", '~ --dtype kind: "value" -> "list"'),
    ("deprecated", "Gone.", '~ --dtype deprecated: null -> "Gone."'),
])
def test_a_changed_flag(newer, field, value, line):
    newer["flags"]["--dtype"][field] = value
    assert reported(newer)[0][0] == line


def test_choices_are_told_by_what_comes_and_goes(newer):
    choices = newer["flags"]["--dtype"]["choices"]
    newer["flags"]["--dtype"]["choices"] = [*choices[1:], "fp12"]
    assert reported(newer)[0][0] == f"~ --dtype choices: + fp12; - {choices[0]}"
    newer["flags"]["--dtype"]["choices"] = choices[::-1]
    assert reported(newer)[0][0].startswith("~ --dtype choices: [")


def test_a_help_text_alone_is_nothing_to_do(newer):
    newer["flags"]["--dtype"]["help"] = "Other words."
    assert reported(newer) == (["0 gone, 0 new, 0 changed; 0 of them used here; 1 other help texts"], False)


@pytest.mark.parametrize(("text", "named"), [
    ('"--tp-size"', True), ("`TENSOR_PARALLEL_SIZE=2`", True), ("--tensor-parallel-size 2", True),
    ("--tp-size-2", False), ("x--tp-size", False), ("TP_SIZES", False), ("tp_size", False)])
def test_whoever_names_the_flag_or_its_variable_is_a_user(newer, text, named):
    del newer["flags"]["--tp-size"]
    lines, _ = reported(newer, {"docs/a.md": text, "docs/b.md": "nothing"})
    assert lines[0] == "- --tp-size is gone" + ("   used by docs/a.md" if named else "")
    assert f"{int(named)} of them used here" in lines[-1]


def test_the_repositorys_own_files_are_searched_but_for_what_is_generated(tmp_path):
    files = flag_drift.texts()
    assert {"settings/config.py", "docs/configuration.md", "README.md", "docker-compose.yml"} <= set(files)
    assert not any(name.startswith(("tests/", "builder/flags")) for name in files)
    text = "a\n<!-- x:begin -->\n`DTYPE`\n<!-- x:end -->\n`QUANTIZATION`"
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    assert flag_drift.users(["--dtype"], flag_drift.words(flag_drift.texts(tmp_path))) == []
    assert flag_drift.users(["--quantization"], flag_drift.words(flag_drift.texts(tmp_path))) == ["README.md"]


def test_versions_and_files_are_compared(tmp_path, capsys):
    assert flag_drift.main([OLD, NEW]) == 1
    text = capsys.readouterr().out
    assert text.startswith(f"sglang {OLD} -> {NEW}: ") and "\n- --stream-output is gone\n" in text
    (tmp_path / "own.json").write_text(flag_snapshot.dumps(SNAPSHOTS[NEW]), encoding="utf-8")
    assert flag_drift.main([NEW, str(tmp_path / "own.json")]) == 0
    assert flag_drift.main([NEW, "nowhere.json"]) == 2
    assert capsys.readouterr().err == "nowhere.json is neither a version nor a file\n"


def test_what_is_not_committed_is_fetched_and_kept(tmp_path, monkeypatch, capsys, newer):
    asked = []
    monkeypatch.setattr(flag_fetch, "fetched", lambda version: asked.append(version) or newer)
    assert flag_drift.main([NEW, "newest", "--out", str(tmp_path / "new.json")]) == 0
    assert flag_drift.main([NEW, "0.9.9.post1"]) == 0
    assert asked == ["newest", "0.9.9.post1"]
    assert (tmp_path / "new.json").read_text(encoding="utf-8") == flag_snapshot.dumps(newer)
    assert flag_drift.main([NEW, str(tmp_path / "new.json")]) == 0


def test_what_cannot_be_fetched_is_told_and_no_drift(monkeypatch, capsys):
    def fetched(version):
        raise flag_fetch.FetchError("pip ended with status 1:\nno such version")
    monkeypatch.setattr(flag_fetch, "fetched", fetched)
    assert flag_drift.main([NEW, "0.0.1"]) == 2
    assert capsys.readouterr().err == "pip ended with status 1:\nno such version\n"


@pytest.fixture
def fetching(tmp_path, monkeypatch):
    """An engine's Python that pretends: pip lays down a wheel, and the snapshot's program says what it was run with."""
    program = tmp_path / "python"
    program.write_text(f"""#!{sys.executable}
import json, os, sys, zipfile
words = sys.argv[1:]
if "download" in words:
    if words[-1] == "sglang==0.0.1":
        sys.exit("no such version")
    with zipfile.ZipFile(os.path.join(words[words.index("--dest") + 1], "sglang-9.9-any.whl"), "w") as wheel:
        wheel.writestr("sglang/version.txt", words[-1])
else:
    sources = os.environ["PYTHONPATH"].split(os.pathsep)[0]
    with open(os.path.join(sources, "sglang/version.txt")) as file, open(words[-1], "w") as out:
        json.dump({{"sglang": file.read(), "flags": {{}}}}, out)
""", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("WORKER_SGLANG_ENGINE_PYTHON", str(program))


@pytest.mark.parametrize(("version", "asked"), [("newest", "sglang"), ("0.9.9", "sglang==0.9.9")])
def test_a_wheel_is_read_before_what_is_installed(fetching, version, asked):
    assert flag_fetch.fetched(version) == {"sglang": asked, "flags": {}}


def test_an_engine_that_cannot_be_made_is_no_drift(monkeypatch, capsys):
    def made(progress):
        progress("installing SGLang ...")
        raise environments.SetupError("pip failed with status 1")
    monkeypatch.setattr(environments, "engine_python", made)
    assert flag_drift.main([NEW, "newest"]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err == "installing SGLang ...\npip failed with status 1\n"


def test_a_failed_download_says_what_pip_said(fetching):
    with pytest.raises(flag_fetch.FetchError, match=r"sglang==0.0.1 ended with status 1:\nno such version"):
        flag_fetch.fetched("0.0.1")


@pytest.mark.parametrize(("version", "against", "count"), [
    (OLD, f"flags-{OLD}.json", 0), (NEW, "flags.json", 0), ("9.9", "flags.json", 1)])
def test_an_image_takes_the_flags_of_its_own_sglang(tmp_path, monkeypatch, capsys, version, against, count):
    for name, snapshot in (("flags.json", SNAPSHOTS[NEW]), (f"flags-{OLD}.json", SNAPSHOTS[OLD])):
        (tmp_path / name).write_text(flag_snapshot.dumps(snapshot), encoding="utf-8")
    there = {**SNAPSHOTS.get(version, SNAPSHOTS[NEW]), "sglang": version}
    monkeypatch.setattr(flag_snapshot, "installed", lambda: there)
    assert flag_snapshot.main(["--take", "--out", str(tmp_path / "flags.json")]) == 0
    assert f"{count} difference(s) between {against} and sglang {version}\n" in capsys.readouterr().out
    assert (tmp_path / "flags.json").read_text(encoding="utf-8") == flag_snapshot.dumps(there)


def test_the_upgrade_that_is_told_of_is_that_of_the_committed_snapshots():
    lines, _ = flag_drift.report(SNAPSHOTS["0.5.19"], SNAPSHOTS["0.5.23"], {})
    counts = lines[-1].split(";")[0]
    told = " ".join((flag_drift.ROOT / "docs/upgrading.md").read_text(encoding="utf-8").split())
    assert f"`python -m builder.flag_drift 0.5.19 0.5.23`, both committed, says: {counts}" in told
