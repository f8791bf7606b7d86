"""A model with as many bytes as one likes, and the starts that compare how weights come."""

import json
from pathlib import Path

import pytest

from bench import cold_start_plan, cold_start_report, heavy_model
from bench.cold_start_plan import Container, Start, plan_of_weights
from settings import whole
from tests.hub_folders import MODEL

HIDDEN, INNER = 2, 4


@pytest.fixture
def tiny(tmp_path):
    """Two layers of a model of two, with four inner neurons, every number of it another."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name, content in MODEL.items():
        (folder / name).write_bytes(content)
    shapes = {"model.embed_tokens.weight": [3, HIDDEN], "model.norm.weight": [HIDDEN]}
    for layer in range(2):
        head = f"model.layers.{layer}.mlp"
        shapes |= {f"{head}.gate_proj.weight": [INNER, HIDDEN], f"{head}.up_proj.weight": [INNER, HIDDEN],
                   f"{head}.down_proj.weight": [HIDDEN, INNER]}
    header, content = {}, b""
    for number, (name, shape) in enumerate(shapes.items()):
        data = bytes([number + 1]) * (4 * shape[0] * (shape + [1])[1])
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(content), len(content) + len(data)]}
        content += data
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + content)
    (folder / "config.json").write_text(json.dumps({"num_hidden_layers": 2, "hidden_size": HIDDEN,
                                                    "intermediate_size": INNER}))
    return folder


def test_a_heavy_model_is_the_tiny_one_and_zeros(tiny, tmp_path):
    heavy = tmp_path / "heavy"
    heavy_model.write(tiny, heavy, 100_000)
    assert whole.problem(heavy, whole.Needs(tokenizer=True)) is None
    files = whole.weight_files(heavy, ("*.safetensors",))
    assert len(files) == 2 and 95_000 < sum(file.stat().st_size for file in files) < 110_000
    inner = json.loads((heavy / "config.json").read_text())["intermediate_size"]
    before = heavy_model.read(tiny / "model.safetensors")
    after = {name: found for file in files for name, found in heavy_model.read(file).items()}
    assert set(after) == set(before)
    for name, (entry, content) in after.items():
        old = before[name][1]
        if "down_proj" in name:
            assert entry["shape"] == [HIDDEN, inner]
            for row in range(HIDDEN):
                line = content[row * inner * 4:(row + 1) * inner * 4]
                assert line == old[row * INNER * 4:(row + 1) * INNER * 4] + bytes((inner - INNER) * 4)
        elif "_proj" in name:
            assert entry["shape"] == [inner, HIDDEN] and content == old + bytes(len(content) - len(old))
        else:
            assert content == old and entry["shape"] == before[name][0]["shape"]


def test_the_rows_are_made_in_their_order_for_each_profile():
    starts = plan_of_weights(["default", "fast"], "on", ["none", "ahead", "bare"])
    assert [(one.profile, one.kernels, one.weights, one.read_ahead, one.bytecode) for one in starts] == [
        (profile, *rest) for profile in ("default", "fast") for rest in (
            ("none", "warm", "auto", True), ("restored", "cold", "auto", True), ("restored", "cold", "off", False))]
    assert plan_of_weights(["default"], "auto", ["off", "fast:ahead"])[1] == Start(
        "fast", "restored", "auto", weights="cold")
    for wrong in ("nonsense", "slow:ahead", "fast:"):
        with pytest.raises(ValueError, match="no such row"):
            plan_of_weights(["default"], "auto", [wrong])


def test_a_start_without_bytecode_finds_none_and_the_others_keep_it(tmp_path):
    cache = tmp_path / "sglang" / "srt" / "__pycache__"
    cache.mkdir(parents=True)
    container = Container(tmp_path, None)
    container.settle(Start("default", "restored", "auto"), False, tmp_path / "sglang")
    assert cache.exists()
    container.settle(Start("default", "restored", "auto", bytecode=False), False, tmp_path / "sglang")
    assert not cache.exists() and cache.parent.exists()


def test_profiles_share_the_kernels_where_weights_are_compared(tmp_path):
    container = Container(tmp_path, tmp_path / "weights")
    first, second = (container.environ(Start(profile, "restored", "auto", weights="cold", read_ahead="off"))
                     for profile in ("default", "fast"))
    assert first["COMPILE_CACHE_DIR"] == second["COMPILE_CACHE_DIR"] and first["READ_AHEAD"] == "off"
    assert second["START_PROFILE"] == "fast"


def test_the_model_has_one_name_wherever_it_lies(tmp_path):
    start, named = Start("default", "restored", "auto", weights="cold"), []
    for place in ("disk", "volume"):
        (tmp_path / place).mkdir()
        named.append(Container(tmp_path, tmp_path / place).environ(start)["MODEL_NAME"])
        assert Path(named[-1]).resolve() == tmp_path / place
    assert named[0] == named[1]  # it is a part of the key of the kernels


def test_the_table_says_how_the_weights_came(tmp_path):
    def record(seconds, line="", **more):
        start = Start("default", "restored", "auto", **{"weights": "cold", **more})
        return start._asdict() | {"repeat": 0, "volume_rate": 0.3, "seconds": seconds, "worker_s": 1.0, "load": [],
                                  "line": line, "phases": [{"name": "weights", "start": 1.0, "end": 3.5,
                                                            "meanwhile": False}]}
    found = {"machine": {}, "command": "x", "starts": [
        record(84.6, read_ahead="off"), record(92.1, read_ahead="off", bytecode=False),
        record(60.0, line="weights: 14.5 GB"), record(45.0, weights="warm")]}
    text = cold_start_report.markdown(found)
    assert "| default | restored | on the disk at 0.3 GB/s, not read ahead | 84.6 | 0.0 | 0.0 | 2.5 |" in text
    assert "not read ahead, SGLang without bytecode | 92.1 |" in text and "in memory, read ahead | 45.0 |" in text
    assert "- default, on the disk at 0.3 GB/s, read ahead: `weights: 14.5 GB`" in text
    cold_start_report.write(found, tmp_path)
    assert {path.stem for path in tmp_path.glob("*.svg")} == {
        f"default-restored-{kind}" for kind in ("cold-off", "cold-off-bare", "cold-ahead", "warm-ahead")}
    assert "on the disk at 0.3 GB/s, not read ahead" in Path(tmp_path / "default-restored-cold-off.svg").read_text()


def test_every_row_names_a_start_of_its_own():
    assert len(set(cold_start_plan.ROWS.values())) == len(cold_start_plan.ROWS)
