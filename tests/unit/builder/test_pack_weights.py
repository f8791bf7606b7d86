"""The command that packs weights where there is time for it."""

import pytest

from builder import pack_weights
from start.weights.packed import copies
from tests.hub_folders import MODEL


@pytest.fixture
def model(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    for name, content in MODEL.items():
        (folder / name).write_bytes(content)
    monkeypatch.setenv("MODEL_NAME", str(folder))
    monkeypatch.setenv("DEVICE", "cpu")
    return folder


def test_every_file_of_weights_gets_a_copy(model, tmp_path, capsys, monkeypatch):
    files = sorted(str(path) for path in model.glob("*.safetensors"))
    assert pack_weights.main(["--to", str(tmp_path / "p")]) == 0
    assert f"{len(files)} of {len(files)} files packed" in capsys.readouterr().out
    assert [copy.original for copy in copies.find(files, str(tmp_path / "p"))] == files
    monkeypatch.setenv("PACKED_WEIGHTS_DIR", str(tmp_path / "p"))
    assert pack_weights.main([]) == 0 and f"0 of {len(files)} files packed" in capsys.readouterr().out


def test_what_cannot_be_done_is_said(model, tmp_path, capsys, monkeypatch):
    assert pack_weights.main([]) == 2 and "name a folder with --to" in capsys.readouterr().err
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert pack_weights.main(["--to", str(blocked / "below")]) == 1 and capsys.readouterr().err
    monkeypatch.setenv("MODEL_NAME", "nobody/has-this")
    assert pack_weights.main(["--to", str(tmp_path / "p")]) == 2 and "no weights of" in capsys.readouterr().err
    monkeypatch.setenv("CONTEXT_LENGTH", "many")
    assert pack_weights.main(["--to", str(tmp_path / "p")]) == 2
