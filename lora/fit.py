"""Whether an adapter fits the model and the server: looked at before it is loaded.

What SGLang refuses at load becomes a clear message here, and so does what it takes and ends at, or applies wrongly
(sglang: lora/lora.py, lora/lora_config.py, lora/mem_pool.py).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lora.base import Base, place
from settings import safetensors, whole
from settings.safetensors import Tensor
from utils import JobError

CONFIG = "adapter_config.json"
_NEEDS = whole.Needs(CONFIG, ("*.safetensors",), own=True)
_TENSOR = re.compile(r"(.+)\.(lora_A|lora_B|lora_embedding_A|lora_embedding_B)(?:\.weight)?")
# By which SGLang knows several modules as one (lora/utils.py, get_normalized_target_modules).
_FUSED = {"q_proj": "qkv_proj", "k_proj": "qkv_proj", "v_proj": "qkv_proj", "gate_proj": "gate_up_proj",
          "up_proj": "gate_up_proj", "q_a_proj": "fused_qkv_a_proj_with_mqa",
          "kv_a_proj_with_mqa": "fused_qkv_a_proj_with_mqa"}


@dataclasses.dataclass(frozen=True)
class Server:
    """What the server was started with. rank: the highest, None when unknown; modules: that adapters may change, as it
    was given them, empty for all or when unknown."""

    rank: int | None = None
    modules: tuple[str, ...] = ()


def check(name: str, folder: Path, server: Server, base: Base) -> None:
    """Raises JobError 400, with field and remedy, when the adapter `name` in `folder` cannot be served. Reads the
    configuration and the heads of the weights."""
    def wrong(text: str) -> JobError:
        return JobError(f"The adapter {name[:60]!r} cannot be loaded: {text}", param="model")

    if reason := whole.problem(folder, _NEEDS):
        raise wrong(f"{reason}. It must be a folder with {CONFIG} and its weights as safetensors, as PEFT saves it.")
    config = whole.read_json(folder / CONFIG) or {}
    try:
        weights = dict(safetensors.of_folder(folder))
    except (OSError, ValueError) as error:
        raise wrong(f"{error}.") from None
    for text in (*_config(config, server), *_tokens(folder, base), *_weights(config, weights, server, base)):
        raise wrong(text)


def _config(config: Mapping[str, Any], server: Server) -> Iterator[str]:
    """What is wrong with adapter_config.json."""
    if str(config.get("peft_type")).lower() != "lora":
        yield f"`peft_type` in its {CONFIG} is {config.get('peft_type')!r}, and only LORA can be served."
    rank = config.get("r")
    if type(rank) is not int or rank < 1:
        yield f"`r` in its {CONFIG} must be a rank of at least 1."
    elif server.rank is not None and rank > server.rank:
        yield (f"its rank `r` is {rank}, and this endpoint takes up to {server.rank}: set MAX_LORA_RANK={rank}, or "
               "train it with a lower one.")
    if not isinstance(config.get("lora_alpha"), (int, float)):
        yield f"`lora_alpha` is missing in its {CONFIG}."
    for field, what in (("use_dora", "DoRA"), ("use_rslora", "rank-stabilised LoRA, for which SGLang has no scale"),
                        ("rank_pattern", "ranks that differ between modules"),
                        ("alpha_pattern", "scales that differ between modules"),
                        ("modules_to_save", "whole modules beside its low ranks"),
                        ("trainable_token_indices", "tokens that were trained anew")):
        if config.get(field):
            yield f"`{field}` in its {CONFIG} asks for {what}, which cannot be served; merge it into the model instead."
    if config.get("bias") not in (None, "none"):
        yield f"`bias` in its {CONFIG} is {config['bias']!r}, and biases are not served: train it with \"none\"."
    targets = config.get("target_modules")
    if isinstance(targets, str) and targets not in ("all-linear", "all"):
        yield f"`target_modules` in its {CONFIG} is a pattern, which SGLang does not read: write a list of names."
    elif not isinstance(targets, (str, list)) or not targets:
        yield f"`target_modules` is missing in its {CONFIG}."
    elif isinstance(targets, list) and (
            others := _others({str(target).rpartition(".")[2] for target in targets}, server)):
        yield (f"its `target_modules` {', '.join(others)} are not served here: set LORA_TARGET_MODULES to "
               f"{' '.join(sorted({*server.modules, *others}))}.")


def _others(modules: set[str], server: Server) -> list[str]:
    served = {_FUSED.get(module, module) for module in server.modules}
    return sorted(module for module in modules if served and _FUSED.get(module, module) not in served)


def _tokens(folder: Path, base: Base) -> Iterator[str]:
    added = whole.read_json(folder / "added_tokens.json") or {}
    if base.vocabulary is not None and any(type(at) is int and at >= base.vocabulary for at in added.values()):
        yield "it adds tokens to the vocabulary (added_tokens.json), which SGLang does not serve."


def _weights(config: Mapping[str, Any], weights: Mapping[str, Tensor], server: Server, base: Base) -> Iterator[str]:
    """What is wrong with the tensors."""
    rank, modules = config.get("r"), set()
    made_for = f" (it was made for {str(config['base_model_name_or_path'])[:80]!r}, and this is {base.names[0]!r})" if (
        base.names and config.get("base_model_name_or_path")) else ""
    if not weights:
        yield "its weights are empty."
    for name, tensor in weights.items():
        match = _TENSOR.fullmatch(name)
        if not match:
            yield f"its weight {name[:120]} is no low rank: merge the adapter into the model instead."
            return
        module, first = match[1], match[2].endswith("A")
        if not tensor.shape:
            yield f"its weight {name[:120]} is a single number."
            return
        leaf = module.rpartition(".")[2]
        pair = name.replace(match[2], match[2][:-1] + ("B" if first else "A"))
        if pair not in weights:
            yield f"its weight {name[:120]} lacks the other of its pair."
        if len(tensor.shape) == 2 and tensor.shape[0 if first else 1] != rank:
            yield (f"its weight {name[:120]} is of shape {list(tensor.shape)}, which is not of the rank {rank} in "
                   f"{CONFIG}.")
        where = place(module)
        if where is None and leaf not in ("embed_tokens", "lm_head"):
            yield f"its weight {name[:120]} belongs to no layer of a model."
            return
        if others := _others({leaf}, server):
            yield (f"its weights change {others[0]}, which is not served here: set LORA_TARGET_MODULES to "
                   f"{' '.join(sorted({*server.modules, *others}))}.")
        if where is not None:
            modules.add(where)
            yield from _against(name, where, tensor, first, base, made_for)
        else:
            into, out = (base.width, base.vocabulary) if leaf == "lm_head" else (base.vocabulary, base.width)
            size, there = (tensor.shape[-1], into) if first else (tensor.shape[0], out)
            if there is not None and size != there:
                yield f"its weight {name[:120]} is for {size}, and the model that is served has {there}{made_for}."
    yield from _together(modules, base)


def _against(name: str, where: str, tensor: Tensor, first: bool, base: Base, made_for: str) -> Iterator[str]:
    """Whether one low rank fits the module of the model that it changes."""
    layer, leaf = int(where.split(".")[1]), where.rpartition(".")[2]
    if base.layers is not None and layer >= base.layers:
        yield f"it has a layer {layer}, and the model that is served has {base.layers}{made_for}."
    elif shapes := base.shapes.get(where):
        size = tensor.shape[-1] if first else tensor.shape[-2] if len(tensor.shape) > 1 else 0
        fitting = {shape[1 if first else 0] for shape in shapes if len(shape) == 2}
        if fitting and size not in fitting:
            yield (f"its weight {name[:120]} is for a module of {size} {'inputs' if first else 'outputs'}, and the "
                   f"model that is served has {' or '.join(map(str, sorted(fitting)))}{made_for}.")
    elif base.modules and where not in base.modules and not _rewritten(where, base):
        yield f"it changes {where}, which the model that is served does not have{made_for}."
    elif base.width is not None and first and leaf in ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj") and (
            "expert" not in where and tensor.shape[-1] != base.width):
        yield (f"its weight {name[:120]} is for a model of width {tensor.shape[-1]}, and the one that is served has "
               f"{base.width}{made_for}.")


def _rewritten(where: str, base: Base) -> bool:
    """Whether the model's files may have the module under another name: experts, and parts that are one there."""
    layer = ".".join(where.split(".")[:2]) + "."
    leaf = where.rpartition(".")[2]
    fused = _FUSED.get(leaf)
    return "expert" in where or any(
        module.startswith(layer) and (other == fused or _FUSED.get(other) == leaf)
        for module in base.modules for other in [module.rpartition(".")[2]])


def _together(modules: set[str], base: Base) -> Iterator[str]:
    """SGLang makes one of modules that belong together, and needs the ones below where it has the others (lora/lora.py,
    normalize_qkv_proj and normalize_gate_up_proj)."""
    for where in sorted(modules):
        head, _, leaf = where.rpartition(".")
        for needed in {"q_proj": ("v_proj",), "k_proj": ("q_proj", "v_proj"), "v_proj": ("q_proj",),
                       "up_proj": ("gate_proj",)}.get(leaf, ()):
            if f"{head}.{needed}" not in modules and (not base.modules or f"{head}.{needed}" in base.modules):
                yield (f"it changes {where} without {needed}, which SGLang cannot serve: train it with {needed} among "
                       "its `target_modules`, too.")
