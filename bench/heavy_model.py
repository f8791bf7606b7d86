"""The tiny model with as many bytes of weights as you like, which answers as the tiny one does.

    python -m bench.heavy_model FOLDER --gigabytes 0.6

Its layers get inner neurons that do nothing: rows and columns of zeros. For starts that have to read something, on a
machine where no large model can run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from local import environments

_WIDE = ("mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight")
_FLOAT = 4  # bytes


def read(path: Path) -> dict[str, tuple[dict[str, Any], bytes]]:
    """{name: (dtype and shape, content)} of a safetensors file."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, content = json.loads(data[8:8 + length]), data[8 + length:]
    return {name: (entry, content[slice(*entry["data_offsets"])]) for name, entry in header.items()
            if name != "__metadata__"}


def widened(name: str, entry: dict[str, Any], content: bytes, inner: int) -> tuple[list[int], Iterator[bytes]]:
    """(shape, content in pieces) of a tensor whose layer has `inner` neurons."""
    rows, columns = (entry["shape"] + [1])[:2]
    if not name.endswith(_WIDE):
        return entry["shape"], iter([content])
    if name.endswith(_WIDE[2]):
        width = columns * _FLOAT
        return [rows, inner], (content[row * width:(row + 1) * width] + bytes((inner - columns) * _FLOAT)
                               for row in range(rows))
    return [inner, columns], iter([content, bytes((inner - rows) * columns * _FLOAT)])


def write(tiny: Path, folder: Path, size: int) -> None:
    """A model of about `size` bytes in the new folder, made of the tiny one, in one file a layer."""
    shutil.copytree(tiny, folder)
    (folder / "model.safetensors").unlink()
    config = json.loads((tiny / "config.json").read_text(encoding="utf-8"))
    layers, hidden = config["num_hidden_layers"], config["hidden_size"]
    inner = max(config["intermediate_size"], size // (layers * len(_WIDE) * hidden * _FLOAT) // 64 * 64)
    config["intermediate_size"] = inner
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    tensors = read(tiny / "model.safetensors")
    weight_map = {}
    for layer in range(layers):
        mine = [name for name in tensors if f".layers.{layer}." in name or not layer and ".layers." not in name]
        file = f"model-{layer + 1:05d}-of-{layers:05d}.safetensors"
        weight_map |= dict.fromkeys(mine, file)
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        at, pieces = 0, []
        for name in mine:
            entry, content = tensors[name]
            shape, parts = widened(name, entry, content, inner)
            length = _FLOAT
            for side in shape:
                length *= side
            header[name] = {"dtype": entry["dtype"], "shape": shape, "data_offsets": [at, at + length]}
            at += length
            pieces.append(parts)
        text = json.dumps(header).encode()
        with (folder / file).open("wb") as f:
            f.write(len(text).to_bytes(8, "little") + text)
            for parts in pieces:
                f.writelines(parts)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m bench.heavy_model", description=__doc__.split("\n")[0])
    p.add_argument("folder", type=Path)
    p.add_argument("--gigabytes", type=float, default=0.6, help="default: %(default)s")
    options = p.parse_args(argv)
    write(environments.tiny_model(), options.folder, round(options.gigabytes * 1e9))
    return 0


if __name__ == "__main__":
    sys.exit(main())
