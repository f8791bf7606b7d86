"""What the start will come to, told before the weights are loaded: whether the model fits the GPUs of this machine.

From the files that the server is going to read and its own arguments. It warns and never refuses: what it does not know
it does not judge.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import fit
from fit import serving, words
from settings import flags, model_source, tensors, whole
from settings.flags.values import Snapshot
from settings.gpus import Device

# GPUs of data centres, which are linked to each other: A100, H100, H200, B200.
_LINKED = ((8, 0), (9, 0), (10, 0))


class Outlook(NamedTuple):
    """warnings: one line each, none where all is well; facts: for the start report."""

    warnings: list[str]
    facts: dict[str, Any]


def look(server_args: Sequence[str], snapshot: Snapshot, devices: Sequence[Device]) -> Outlook | None:
    """None where there is nothing to judge: no GPU, a model that is not on this machine, a file of its own format.

    Raises FitError, OSError or ValueError for what is there and cannot be understood.
    """
    given = flags.Given(list(server_args), snapshot)
    folder = Path(given.value(model_source.MODEL) or "").expanduser()
    if not devices or (given.value("--device") or "cuda") != "cuda" or not (folder / "config.json").is_file():
        return None
    load_format = given.value("--load-format") or "auto"
    if load_format == "gguf":
        return None
    config = {**(whole.read_json(folder / "config.json") or {}),
              **json.loads(given.value("--json-model-override-args") or "{}")}
    asked = serving.from_flags({item.flag: item.values[0] if item.values else item.on
                                for item in given.items if item.flag and (item.values or item.on)})
    if (place := given.value(model_source.DRAFT)) and os.path.isdir(place) and Path(place) != folder:
        draft = whole.read_json(Path(place, "config.json"))
        asked = asked.drafting(draft, _weights(Path(place), draft, load_format) if draft else None)
    weight_bytes = _weights(folder, config, load_format, drafting=asked.speculative_algorithm is not None)
    found = fit.judge(config, _gpu(devices), len(devices), asked, weight_bytes)
    return Outlook(words.trouble(config, found, weight_bytes), {
        "weights_gib": round(found.weight_bytes / 2**30, 2), "cache_gib": round(max(0, found.cache_bytes) / 2**30, 2),
        "cache_tokens": found.tokens, "context": found.context, "requests_of_context": found.requests})


def _gpu(devices: Sequence[Device]) -> fit.Gpu:
    smallest = min(devices, key=lambda device: device.mib)
    return fit.Gpu(smallest.name, smallest.mib, min(device.capability for device in devices),
                   all(device.capability in _LINKED for device in devices))


def _weights(folder: Path, config: dict[str, Any], load_format: str, drafting: bool = False) -> int | None:
    model = fit.Model(config)
    return tensors.of_folder(folder, model_source.weight_patterns(load_format), len(model.layers), model.tied, drafting)
