"""Curves of several benchmarks in one picture."""

import json

import pytest

from bench import curves


@pytest.fixture
def folder(tmp_path):
    rows = [{"design": "engine", "streams": 128, "tok_s": 9000.0}, {"design": "engine", "streams": 64, "tok_s": 5000.0},
            {"design": "http-2", "streams": 64, "tok_s": 4900.0}]
    (tmp_path / "results.json").write_text(json.dumps({"medians": rows}))
    return tmp_path


def test_each_line_is_a_design_of_a_folder(folder):
    assert curves.curve(f"one GPU={folder}") == ("one GPU", [(64, 5000.0), (128, 9000.0)])
    assert curves.curve(f"STREAM_INTERVAL=4={folder}:http-2") == ("STREAM_INTERVAL=4", [(64, 4900.0)])


@pytest.mark.parametrize("text", ["{}", "={}", "x={}:queue", "x={}/none"])
def test_what_names_none_is_an_error(folder, text, capsys):
    assert curves.main([str(folder / "out.svg"), text.format(folder)]) == 2 and capsys.readouterr().err


def test_the_picture_has_every_name(folder):
    assert curves.main([str(folder / "out.svg"), f"one GPU={folder}", f"two={folder}:http-2"]) == 0
    picture = (folder / "out.svg").read_text()
    assert "one GPU" in picture and "two" in picture and "tokens a second" in picture
