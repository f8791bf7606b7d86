"""LoRA adapters for the tiny demo model, as PEFT saves them: random numbers, whose effect can be told from the base.

    python -m local.tiny_adapters FOLDER NAME[:RANK] …

Standard library only: a file of safetensors is a length, a header of JSON, and the numbers.
"""

from __future__ import annotations

import argparse
import array
import json
import random
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# The tiny model's own sizes (local/tiny_model.py).
LAYERS, HIDDEN, INNER, QUERIES, KEYS = 2, 64, 192, 64, 32
_SHAPES = {"q_proj": (HIDDEN, QUERIES), "k_proj": (HIDDEN, KEYS), "v_proj": (HIDDEN, KEYS), "o_proj": (QUERIES, HIDDEN),
           "gate_proj": (HIDDEN, INNER), "up_proj": (HIDDEN, INNER), "down_proj": (INNER, HIDDEN)}


def config(rank: int, base: str, modules: Sequence[str] = ALL, **more: Any) -> dict[str, Any]:
    """What PEFT writes beside the weights; `more` takes the place of it."""
    return {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": rank,
            "lora_alpha": 4 * rank, "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": False,
            "inference_mode": True, "modules_to_save": None, "target_modules": list(modules), **more}


def tensors(rank: int, modules: Sequence[str] = ALL, *, layers: int = LAYERS, hidden: int = HIDDEN,
            ) -> dict[str, tuple[int, int]]:
    """{name of a weight: its shape}, for a model of that many layers and that width."""
    found = {}
    for layer in range(layers):
        for module in modules:
            wide, out = (hidden if size == HIDDEN else size for size in _SHAPES[module])
            part = "self_attn" if module in ("q_proj", "k_proj", "v_proj", "o_proj") else "mlp"
            name = f"base_model.model.model.layers.{layer}.{part}.{module}"
            found[f"{name}.lora_A.weight"], found[f"{name}.lora_B.weight"] = (rank, wide), (out, rank)
    return found


def make(folder: Path, seed: int, rank: int = 4, base: str = "tiny", modules: Sequence[str] = ALL, *,
         shapes: Mapping[str, tuple[int, ...]] | None = None, **more: Any) -> Path:
    """An adapter in `folder`, which is made. The same seed and rank give the same numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = random.Random(seed)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = bytearray()
    for name, shape in (tensors(rank, modules) if shapes is None else shapes).items():
        count = 1
        for size in shape:
            count *= size
        values = array.array("f", (numbers.gauss(0, 0.2) for _ in range(count)))
        if sys.byteorder == "big":
            values.byteswap()
        start = len(data)
        data += values.tobytes()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, len(data)]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(head)) + head + data)
    (folder / CONFIG).write_text(json.dumps(config(rank, base, modules, **more), indent=2))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m local.tiny_adapters", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("adapters", nargs="+", metavar="NAME[:RANK]", help="the rank is 4 unless given")
    chosen = parser.parse_args()
    for seed, text in enumerate(chosen.adapters, 1):
        name, _, rank = text.partition(":")
        print(make(chosen.folder / name, seed, int(rank or 4)))


if __name__ == "__main__":
    main()
