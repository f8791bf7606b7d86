"""How many bytes of weights the server will load from a folder: the headers of its files, no weights.

Reads files only: no network, no library of Hugging Face's.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from settings import safetensors, whole

_READERS = 16  # files at once: on a network volume each takes a round trip
_LAYER = re.compile(r"(?:model\.|language_model\.)*layers\.(\d+)\.")  # of the language model, from the beginning
# What lies in files and is not loaded: layers for multi-token prediction, tables that are computed.
_UNUSED = re.compile(r"^mtp\.|\.mtp\.|rotary_emb\.inv_freq$")


def loaded_bytes(files: list[Path], layers: int, tied: bool, drafting: bool = False) -> int | None:
    """Of these files of one model; None where one of them cannot be read.

    layers: of the model; further ones are for multi-token prediction and count only with `drafting`. tied: the output
    head is the embedding, whose copy is not loaded.
    """
    def size(path: Path) -> int:
        if path.suffix != ".safetensors":
            return path.stat().st_size
        return sum(count for name, count in _tensors(path) if drafting or not _further(name, layers)
                   if not (tied and name == "lm_head.weight"))

    try:
        with ThreadPoolExecutor(_READERS) as pool:
            return sum(pool.map(size, files)) if files else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _further(name: str, layers: int) -> bool:
    layer = _LAYER.match(name)
    return bool(_UNUSED.search(name)) or layer is not None and int(layer[1]) >= layers


def _tensors(path: Path) -> list[tuple[str, int]]:
    """(name, bytes) of each tensor of a safetensors file."""
    return [(name, tensor["data_offsets"][1] - tensor["data_offsets"][0])
            for name, tensor in safetensors.header(path)[1].items()]


def of_folder(folder: Path, patterns: tuple[str, ...], layers: int, tied: bool, drafting: bool = False) -> int | None:
    """The same of the files that the server takes from `folder` (settings/whole.py); None where it has none."""
    return loaded_bytes(whole.weight_files(folder, patterns), layers, tied, drafting)
