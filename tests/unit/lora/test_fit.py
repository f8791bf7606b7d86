"""Adapters that cannot be served, each with what a caller is told; tests/e2e/test_lora.py tries the same on the engine.
"""

import json
import struct
from pathlib import Path

import pytest

from local import tiny_adapters
from lora import base, fit
from lora.fit import Server
from utils import JobError

SEVEN = tiny_adapters.ALL
MODEL = {name.replace("base_model.model.", "").replace(".lora_A.weight", ".weight"): (
    tiny_adapters.tensors(1)[name.replace("lora_A", "lora_B")][0], shape[1])
    for name, shape in tiny_adapters.tensors(1).items() if "lora_A" in name}


def weights(folder: Path, shapes: dict, dtype: str = "F32") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    header, at = {}, 0
    for name, shape in shapes.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at]}
    head = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)


@pytest.fixture
def model(tmp_path):
    weights(tmp_path / "model", MODEL)
    (tmp_path / "model" / "config.json").write_text(json.dumps(
        {"num_hidden_layers": 2, "hidden_size": 64, "vocab_size": 512}))
    return base.of(tmp_path / "model", ("org/tiny", "tiny"))


def said(tmp_path, model, server=None, **how) -> str | None:
    folder = tiny_adapters.make(tmp_path / "x", 1, **{"rank": 4, **how})
    return judged(folder, model, server)


def judged(folder, model, server=None) -> str | None:
    try:
        fit.check("x", folder, server or Server(16, SEVEN), model)
    except JobError as error:
        assert (error.code, error.param) == (400, "model")
        assert error.message.startswith("The adapter 'x' cannot be loaded: ")
        return error.message
    return None


def test_what_fits(tmp_path, model):
    for how in ({}, {"modules": ("q_proj", "v_proj")}, {"rank": 16}, {"target_modules": "all-linear"},
                {"modules": ("gate_proj",)}, {"modules": ("o_proj", "down_proj")}, {"base": "/training/other-name"},
                {"modules": ("q_proj", "v_proj"), "target_modules": ["model.layers.0.self_attn.q_proj", "v_proj"]}):
        assert said(tmp_path, model, **how) is None, how
    assert said(tmp_path, base.Base()) is None  # of a model whose files are not at hand nothing is compared
    assert said(tmp_path, model, Server(), rank=256) is None


@pytest.mark.parametrize("how, words", [
    ({"rank": 32}, ["32", "up to 16", "MAX_LORA_RANK=32"]),
    ({"r": 0}, ["`r`"]), ({"r": "4"}, ["`r`"]), ({"r": True}, ["`r`"]),
    ({"lora_alpha": None}, ["`lora_alpha`"]),
    ({"peft_type": "IA3"}, ["`peft_type`", "IA3"]),
    ({"use_dora": True}, ["`use_dora`"]), ({"use_rslora": True}, ["`use_rslora`"]),
    ({"rank_pattern": {"q_proj": 8}}, ["`rank_pattern`"]), ({"alpha_pattern": {"q_proj": 8}}, ["`alpha_pattern`"]),
    ({"modules_to_save": ["lm_head"]}, ["`modules_to_save`"]), ({"bias": "all"}, ["`bias`"]),
    ({"target_modules": ".*proj"}, ["`target_modules`", "pattern"]), ({"target_modules": []}, ["`target_modules`"]),
    ({"modules": ("k_proj",)}, ["without q_proj"]), ({"modules": ("q_proj", "k_proj")}, ["without v_proj"]),
    ({"modules": ("up_proj",)}, ["without gate_proj"]),
    ({"shapes": {}}, ["empty"]),
    ({"shapes": tiny_adapters.tensors(8)}, ["not of the rank 4"]),
    ({"shapes": tiny_adapters.tensors(4, layers=3)}, ["layer 2", "has 2"]),
    ({"shapes": tiny_adapters.tensors(4, hidden=128), "base": "org/big"}, ["128", "64", "org/big", "org/tiny"]),
    ({"shapes": {"base_model.model.model.layers.0.mlp.down_proj.weight": (64, 192)}}, ["no low rank"]),
    ({"shapes": {"base_model.model.model.layers.0.mlp.down_proj.lora_A.weight": (4, 192)}}, ["other of its pair"]),
    ({"shapes": {"base_model.model.x.lora_A.weight": (), "base_model.model.x.lora_B.weight": ()}}, ["single number"]),
    ({"shapes": {f"base_model.model.lm_head.lora_{part}.weight": shape
                 for part, shape in (("A", (4, 64)), ("B", (600, 4)))}}, ["lm_head", "LORA_TARGET_MODULES"]),
    ({"shapes": {f"base_model.model.x.lora_{part}.weight": (4, 4) for part in "AB"}}, ["no layer"]),
    ({"shapes": {f"base_model.model.model.layers.0.ffn.down_proj.lora_{part}.weight": shape
                 for part, shape in (("A", (4, 192)), ("B", (64, 4)))}}, ["does not have"]),
])
def test_what_does_not(tmp_path, model, how, words):
    message = said(tmp_path, model, **how)
    assert message and all(word in message for word in words), message


def test_modules_that_are_not_served(tmp_path, model):
    attention = Server(16, ("q_proj", "k_proj", "v_proj", "o_proj"))
    message = said(tmp_path, model, attention)
    assert "LORA_TARGET_MODULES to down_proj gate_proj k_proj o_proj q_proj up_proj v_proj" in message
    assert "LORA_TARGET_MODULES" in said(tmp_path, model, attention, target_modules=["q_proj", "v_proj"])
    assert said(tmp_path, model, attention, modules=("q_proj", "v_proj")) is None
    assert said(tmp_path, model, Server(16, ("qkv_proj",)), modules=("q_proj", "v_proj")) is None


@pytest.mark.parametrize("leaf, kind, shapes, words", [
    ("lm_head", "lora", ((4, 64), (512, 4)), None), ("lm_head", "lora", ((4, 64), (600, 4)), "600"),
    ("lm_head", "lora", ((4, 32), (512, 4)), "32"), ("embed_tokens", "lora_embedding", ((4, 512), (64, 4)), None),
    ("embed_tokens", "lora_embedding", ((4, 600), (64, 4)), "600")])
def test_embeddings_where_they_are_served(tmp_path, model, leaf, kind, shapes, words):
    end = ".weight" if kind == "lora" else ""
    name = f"base_model.model.model.{leaf}.{kind}_"
    named = {f"{name}{part}{end}": shape for part, shape in zip("AB", shapes, strict=True)}
    message = said(tmp_path, model, Server(16, (*SEVEN, leaf)), modules=(leaf,), shapes=named)
    assert (message is None) if words is None else (words in message), message


def test_files_that_are_missing_or_torn(tmp_path, model):
    folder = tiny_adapters.make(tmp_path / "x", 1)
    file = folder / tiny_adapters.WEIGHTS
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    assert "bytes" in judged(folder, model)
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "Git LFS" in judged(folder, model)
    file.write_bytes(b"\xff" * 40)
    assert "safetensors" in judged(folder, model)
    file.unlink()
    (folder / "adapter_model.bin").write_bytes(b"pickle")
    assert "safetensors" in judged(folder, model)
    file.write_bytes(content)
    assert judged(folder, model) is None
    (folder / "added_tokens.json").write_text('{"<new>": 512}')
    assert "vocabulary" in judged(folder, model)
    (folder / "added_tokens.json").write_text('{"<old>": 511}')
    assert judged(folder, model) is None
    for text in ("[]", "no JSON", ""):
        (folder / tiny_adapters.CONFIG).write_text(text)
        assert tiny_adapters.CONFIG in judged(folder, model)


def test_a_model_with_other_names_for_its_parts_is_not_taken_for_another(tmp_path):
    def of(name, shapes, dtype="BF16", **config):
        weights(tmp_path / name, shapes, dtype)
        (tmp_path / name / "config.json").write_text(json.dumps(config))
        return base.of(tmp_path / name, ("org/x",))

    packed = of("packed", {name.replace(".weight", ".qweight"): (8, 8) for name in MODEL}, "I32", hidden_size=64)
    assert said(tmp_path, packed) is None
    assert "width 128" in said(tmp_path, packed, shapes=tiny_adapters.tensors(4, hidden=128))
    inner = of("inner", {f"model.language_{name}": shape for name, shape in MODEL.items()},
               text_config={"hidden_size": 64, "num_hidden_layers": 2})
    assert said(tmp_path, inner) is None and inner.layers == 2
    fused = of("fused", {name.replace("q_proj", "qkv_proj").replace("gate_proj", "gate_up_proj"): (9, 64)
                         for name in MODEL if not any(part in name for part in ("k_proj", "v_proj", "up_proj", "o_proj",
                                                                                "down_proj"))})
    assert said(tmp_path, fused, modules=("q_proj", "v_proj", "gate_proj", "up_proj")) is None
    # a model without gates has its up_proj alone
    plain = of("plain", {name: shape for name, shape in MODEL.items() if "gate" not in name})
    assert said(tmp_path, plain, modules=("up_proj",)) is None


def test_a_model_that_is_not_at_hand_has_no_sizes(tmp_path):
    assert base.of(None, ("x",)) == base.of(tmp_path / "absent", ("x",)) == base.Base(("x",))
