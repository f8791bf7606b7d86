"""What the head of a file of safetensors says: 8 bytes of length, then JSON with each tensor's type, shape and place.

Reads files only: no library of Hugging Face's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_HEADER_LIMIT = 100_000_000  # bytes; the format's own


class Tensor(NamedTuple):
    dtype: str
    shape: tuple[int, ...]


def header(file: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """(bytes before the first tensor, {name: what the file says of it}). Raises ValueError for what is no such file,
    OSError where it cannot be read."""
    with open(file, "rb") as f:
        length = int.from_bytes(f.read(8), "little")
        head = f.read(length) if length <= _HEADER_LIMIT else b""
    try:
        return 8 + length, {name: about for name, about in json.loads(head).items() if name != "__metadata__"}
    except (ValueError, AttributeError, RecursionError):
        raise ValueError(f"{file.name} is no safetensors file") from None


def tensors(file: Path) -> dict[str, Tensor]:
    """{name: type and shape}. Raises as `header`."""
    try:
        return {name: Tensor(str(about["dtype"]), tuple(int(size) for size in about["shape"]))
                for name, about in header(file)[1].items()}
    except (LookupError, TypeError):
        raise ValueError(f"{file.name} is no safetensors file") from None


def of_folder(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the files at the top of a folder, as SGLang reads them. Raises as `header`."""
    for file in sorted(folder.glob("*.safetensors")):
        yield from tensors(file).items()
