"""Arbitrary JSON into the handler, in front of a scripted engine; and what the fuzz itself must notice."""

import json

import pytest

from bench import fuzz, fuzz_corpus
from bench.fuzz_checks import wrong_with


@pytest.mark.timeout(600)
def test_no_input_breaks_the_handler():
    report = fuzz.run(inputs=500, seed=2)
    assert report.clean, report.markdown() + "\n" + "\n".join(report.problems)
    assert sum(report.endings.values()) == 500 + len(fuzz_corpus.read())
    # The inputs were not all refused at the door.
    assert report.endings["value"] > 20 and report.endings["stream"] > 10 and report.endings["failed 400"] > 50


def test_what_fails_is_kept_once(monkeypatch, tmp_path):
    monkeypatch.setattr(fuzz_corpus, "FILE", tmp_path / "corpus")
    fuzz_corpus.FILE.touch()
    failing = ['{"text": "\\ud800"}', '{"a": NaN}']
    fuzz_corpus.keep(failing, "why")
    fuzz_corpus.keep(failing, "again")
    assert fuzz_corpus.read() == failing


ERROR = json.dumps({"message": "no", "type": "t", "param": None, "code": 400, "job_id": "j"})


@pytest.mark.parametrize("outputs", [
    [{"answer": 1}], [[{"answer": 1}]], ["data: 1\n\n", "data: [DONE]\n\n"], [{"error": ERROR}],
    ["data: 1\n\n", {"error": ERROR}], ['{"a": 1}\n{"b": 2}\n', '{"done": true}\n']])
def test_good_outputs(outputs):
    assert wrong_with(outputs) is None


@pytest.mark.parametrize("outputs", [
    [], ["\ud800\n\n"],
    [{"answer": {1}}], [{"a": 1}, {"b": 2}], ["data: 1"], ['{"a": 1}\n{"b"'], ['{"a": 1}\n1\n'], ["\n"],
    ["data: 1\n\n", {"a": 1}], [None],
    [{"error": ERROR}, "data: 1\n\n"], [{"error": ERROR, "more": 1}], [{"error": {"message": "no"}}],
    [{"error": "no JSON"}], [{"error": ERROR.replace("400", '"400"')}],
    [{"error": ERROR.replace('"no"', '"Internal error of the worker (KeyError)."')}]])
def test_bad_outputs(outputs):
    assert wrong_with(outputs)
