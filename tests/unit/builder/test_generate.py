"""What is generated: every document is up to date, the words in form.toml are of settings that are there, and whatever
changes among the sources makes a document stale."""

import json
import shutil
from pathlib import Path

import pytest

from builder import config_table, curated, generate
from builder.curated import Field
from settings import snapshots, worker_settings
from settings.worker_settings import WORKER_SETTINGS

SNAPSHOT = snapshots.read(snapshots.DEFAULT)
FORM = curated.read()
MADE = dict(generate.documents())


@pytest.fixture
def copy(tmp_path):
    """A copy of every generated document, in a repository of its own."""
    for path in MADE:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(generate.ROOT / path, tmp_path / path)
    return tmp_path


def test_every_document_is_up_to_date(capsys):
    assert generate.main(["--check"]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("path", MADE, ids=str)
def test_a_stale_document_is_told_and_written(copy, capsys, path):
    whole = (copy / path).read_text(encoding="utf-8")
    before, end, after = whole.partition(":begin -->\n")  # hub.json has no markers: all of it is made
    stale = f"{before}{end}of yesterday\n{after}" if end else whole.replace("MODEL_NAME", "MODEL_NAMES")
    assert stale != whole
    (copy / path).write_text(stale, encoding="utf-8")
    assert generate.main(["--check"], copy) == 1
    assert capsys.readouterr().out == f"{path}: stale: run python -m builder.generate\n"
    assert (copy / path).read_text(encoding="utf-8") == stale
    assert generate.main([], copy) == 0
    assert capsys.readouterr().out == f"{path}: written\n"
    assert generate.main(["--check"], copy) == 0


def test_a_missing_document_is_stale(copy, capsys):
    (copy / generate.HUB).unlink()
    assert generate.main(["--check"], copy) == 1
    assert generate.main([], copy) == 0 and (copy / generate.HUB).is_file()


@pytest.mark.parametrize("text", ["", "<!-- config:begin -->", "<!-- config:end --> <!-- config:begin -->",
                                  "<!-- config:begin --><!-- config:begin --><!-- config:end -->"])
def test_a_document_without_its_markers_is_no_document(copy, capsys, text):
    (copy / "README.md").write_text(text, encoding="utf-8")
    assert generate.main(["--check"], copy) == 1
    assert "README.md needs <!-- config:begin -->" in capsys.readouterr().err


def test_text_outside_the_markers_stays():
    text = "before\n<!-- a:begin -->\nold\n<!-- a:end -->\nafter <!-- b:begin -->\n<!-- b:end -->\n"
    assert generate.replaced(text, "a", "new") == text.replace("old", "new")


def test_a_new_setting_makes_the_form_and_the_documents_stale(copy, monkeypatch, capsys):
    more = (*WORKER_SETTINGS, WORKER_SETTINGS[0]._replace(name="BRAND_NEW"))
    for module in (worker_settings, config_table, generate.hub_manifest):
        monkeypatch.setattr(module, "WORKER_SETTINGS", more)
    assert generate.main(["--check"], copy) == 1
    assert {line.split(":")[0] for line in capsys.readouterr().out.splitlines()} == {
        ".runpod/hub.json", "docs/configuration.md"}


def test_wrong_words_end_it(copy, monkeypatch, capsys):
    monkeypatch.setattr(curated, "problems", lambda form, snapshot: ["X: is nothing"])
    assert generate.main(["--check"], copy) == 1
    assert capsys.readouterr().err == "form.toml: X: is nothing\n"


def test_the_words_are_of_settings_that_are_there():
    assert curated.problems(FORM, SNAPSHOT) == []
    assert sum(field.shown for field in FORM.fields) >= 4


def with_field(**changes):
    field = Field(**{"key": "DTYPE", "name": "n", "description": "d", **changes})
    rest = tuple(other for other in FORM.fields if other.key != "DTYPE")
    return FORM._replace(groups=(("all", (*rest, field)),))


@pytest.mark.parametrize(("form", "problem"), [
    (with_field(key="DTYPES"), f"DTYPES: neither SGLang {SNAPSHOT['sglang']} nor the worker knows it"),
    (with_field(key="CONTEXT_LENGTH"), "CONTEXT_LENGTH stands there 2 times"),
    (with_field(key="ENABLE_SSL_REFRESH"), "ENABLE_SSL_REFRESH is refused by the worker"),
    (with_field(options=("auto", "fp12")), "DTYPE: fp12 is none of the flag's choices"),
    (with_field(options=("half",)), 'DTYPE: the default "auto" is none of the options'),
    (FORM._replace(platform={**FORM.platform, "X": "text"}), "[platform] X is no field"),
    (FORM._replace(hidden=("X",)), "[settings] hidden: the worker has no setting X"),
    (FORM._replace(names={"X": "Ex"}), "[settings] names: the worker has no setting X"),
    (FORM._replace(readme=("X",)), "[settings] readme: the worker has no setting X"),
])
def test_a_name_that_nobody_knows_is_a_problem(form, problem):
    assert curated.problems(form, SNAPSHOT) == [problem]


@pytest.mark.parametrize(("line", "wrong"), [('hint = "x"', "hint"), ("", "description")])
def test_a_field_with_unknown_or_missing_parts_is_refused(tmp_path, line, wrong):
    text = curated.FORM.read_text(encoding="utf-8").split("[[group]]")[0]
    described = 'description = "d"\n' if line else ""
    path = tmp_path / "form.toml"
    path.write_text(f'{text}[[group]]\nname = "g"\n[[group.field]]\nkey = "A"\nname = "a"\n{described}{line}\n',
                    encoding="utf-8")
    with pytest.raises(ValueError, match=f"A: {wrong} is unknown or missing"):
        curated.read(path)


@pytest.mark.parametrize(("key", "default"), [
    ("DTYPE", "auto"), ("FILE_STORAGE_PATH", "sglang_storage"), ("LOAD_BALANCE_METHOD", "round_robin"),
    ("CONTEXT_LENGTH", None), ("TRUST_REMOTE_CODE", False), ("ENABLE_FLASHINFER_MLA", False), ("ENABLE_LORA", None),
    ("JSON_MODEL_OVERRIDE_ARGS", None), ("SCHEDULE_CONSERVATIVENESS", 1.0)])
def test_a_default_is_what_the_worker_does_where_nothing_is_set(key, default):
    assert curated.default(key, SNAPSHOT) == default


def test_the_tables_hold_every_setting_and_every_flag():
    docs, readme = MADE[Path("docs/configuration.md")], MADE[Path("README.md")]
    assert all(f"| `{setting.name}` |" in docs for setting in WORKER_SETTINGS)
    assert all(f"\n| `{field.key}` |" in docs for field in FORM.fields)
    assert len(config_table.flags_table(SNAPSHOT)) == 2 + len(SNAPSHOT["flags"]) - 3   # HOST, PORT and CONFIG
    in_readme = [field.key for field in FORM.fields if field.readme] + list(FORM.readme)
    assert all(f"\n| `{key}` |" in readme for key in in_readme) and len(in_readme) < 30
    rows = config_table.readme_table(FORM, SNAPSHOT) + config_table.form_table(FORM, SNAPSHOT)
    assert all(len(line.replace("\\|", "").split("|")) == 6 for line in rows if line.startswith("|"))
    assert json.loads(MADE[generate.HUB])["title"] == FORM.hub["title"]
