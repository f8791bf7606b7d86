"""docs/robustness.md says what there is."""

from pathlib import Path

from bench import trials

ROOT = Path(__file__).resolve().parents[3]


def test_the_table_of_trials_is_what_they_say_of_themselves():
    told = (ROOT / "docs" / "robustness.md").read_text(encoding="utf-8")
    for name in trials.TRIALS:
        assert f"| `{name}` | {trials.about(name)} |" in told


def test_the_number_of_recorded_jobs_is_right():
    told = (ROOT / "docs" / "robustness.md").read_text(encoding="utf-8")
    jobs = [file for file in (ROOT / "tests" / "recorded").glob("*/*.json") if file.name != "group.json"]
    assert f"{len(jobs)} jobs in `tests/recorded/`" in told
