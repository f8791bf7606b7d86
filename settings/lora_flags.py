"""The server's flags where adapters are loaded on first use: SGLang sizes its buffers before the first one is there.

Each is set only where the user sets none. Reads the configurations of adapters that are on this machine, and the
model's.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from settings import flags
from settings.flags.values import Notice, Snapshot
from settings.lora import LoraSettings
from settings.model_source import ADAPTERS, MODEL, adapter
from settings.resolved import Settings
from settings.whole import read_json

RANK, MODULES, LOADED, BATCH = "--max-lora-rank", "--lora-target-modules", "--max-loaded-loras", "--max-loras-per-batch"
_ATTENTION, _DENSE = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")
_UNSEEN_RANK = 32  # where adapters may come that are not on this machine yet
_LOWEST_RANK = 8   # which PEFT has for its default
_LOOKED_AT = 1000  # subfolders of one folder
# By which the configuration of a model tells that it has experts: an adapter's weights are held for each of them.
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


def prepared(settings: Settings, snapshot: Snapshot) -> Settings:
    """`settings` with the flags that LORA_SOURCES needs, and a notice that says which and why."""
    if not settings.lora.places:
        return settings
    given = flags.Given(list(settings.server_args), snapshot)
    added: dict[str, list[str]] = {"--enable-lora": []} if not given.on("--enable-lora") else {}
    notices: list[Notice] = []
    if given.value("--config"):
        notices.append(("info", "LORA_SOURCES: the sizes are left to the configuration file"))
    else:
        configs = list(_configs(settings.lora, given))
        named, told = _sizes(configs, settings.lora, given, snapshot)
        added |= named
        if told:
            notices.append(("info", f"LORA_SOURCES: {', '.join(told)}"))
    words = tuple(word for flag, values in added.items() for word in (flag, *values))
    return dataclasses.replace(settings, server_args=(*words, *settings.server_args), lora_enabled=True,
                               notices=(*settings.notices, *notices))


def _sizes(configs: list[dict[str, Any]], lora: LoraSettings, given: flags.Given, snapshot: Snapshot,
           ) -> tuple[dict[str, list[str]], list[str]]:
    """({flag: values}, the same in words)"""
    found: dict[str, list[str]] = {}
    told = []
    if RANK not in given:
        ranks = [config["r"] for config in configs if type(config.get("r")) is int and 0 < config["r"] <= 1024]
        unseen = any(place.repository for place in lora.places) or not ranks
        rank = max([_LOWEST_RANK, *ranks, *([_UNSEEN_RANK] if unseen else [])])
        found[RANK] = [str(rank)]
        largest = f" (the largest of {len(ranks)} adapters on this machine)" if rank in ranks else ""
        told.append(f"{flags.variable(RANK)} is {rank}{largest}")
    if MODULES not in given:
        model = read_json(Path(given.value(MODEL) or "", "config.json"))
        modules, why = _modules(configs, model, snapshot)
        found[MODULES] = modules
        told.append(f"{flags.variable(MODULES)} is {' '.join(modules)}{why}")
    if LOADED not in given:
        at_once = _number(given.value(BATCH), snapshot["flags"].get(BATCH, {}).get("default") or 8)
        # Not more than twice as many, which is what --enable-lora-overlap-loading allows (arg_groups/lora_hook.py).
        loaded = max(2 * at_once, len(given.values(ADAPTERS)))
        found[LOADED] = [str(loaded)]
        told.append(f"{flags.variable(LOADED)} is {loaded}")
    return found, told


def _modules(configs: list[dict[str, Any]], model: dict[str, Any] | None, snapshot: Snapshot) -> tuple[list[str], str]:
    """(the modules that adapters may change, why in words)"""
    known = [choice for choice in snapshot["flags"].get(MODULES, {}).get("choices") or () if choice != "all"]
    used = {str(name).rpartition(".")[2] for config in configs
            for name in (config["target_modules"] if isinstance(config.get("target_modules"), list) else ())}
    experts = any(_inner(model, name) for name in _EXPERTS)
    usual = {*_ATTENTION, *(() if experts else _DENSE)}
    chosen = usual | (used & set(known)) if known else usual
    order = known or [*_ATTENTION, *_DENSE]
    without = experts and not chosen & {*_DENSE}
    return [name for name in order if name in chosen], (
        " (not its experts, whose weights would be held for each of them)" if without else "")


def _inner(config: dict[str, Any] | None, name: str) -> Any:
    if config is None:
        return None
    inner = config.get("text_config")
    return config.get(name) or (inner.get(name) if isinstance(inner, dict) else None)


def _number(text: str | None, otherwise: int) -> int:
    try:
        return int(text) if text else otherwise
    except ValueError:  # told by whoever checks the flag
        return otherwise


def _configs(lora: LoraSettings, given: flags.Given) -> Iterator[dict[str, Any]]:
    """What the adapters on this machine say of themselves."""
    named = [path for _, path, _ in map(adapter, given.values(ADAPTERS))]
    for folder in dict.fromkeys([*(folder for place in lora.places if place.folder for folder in adapters_in(
            place.folder)), *named]):
        if (config := read_json(Path(folder, "adapter_config.json"))) is not None:
            yield config


def adapters_in(folder: str) -> list[str]:
    """The adapters that a folder of LORA_SOURCES holds: itself, or subfolders, by their names. None where it cannot be
    read: a volume may have it later."""
    try:
        if os.path.isfile(os.path.join(folder, "adapter_config.json")):
            return [folder]
        with os.scandir(folder) as entries:
            names = sorted(_first(entry.name for entry in entries if not entry.name.startswith(".")))
    except OSError:
        return []
    return [path for name in names if os.path.isfile(os.path.join(path := os.path.join(folder, name),
                                                                  "adapter_config.json"))]


def _first(names: Iterable[str]) -> list[str]:
    return [name for name, _ in zip(names, range(_LOOKED_AT), strict=False)]
