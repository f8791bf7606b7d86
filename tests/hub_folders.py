"""Repositories in the layout of Hugging Face's cache, made by hand for tests."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

COMMIT, OTHER = "0123456789abcdef0123456789abcdef01234567", "89abcdef0123456789abcdef0123456789abcdef"


def safetensors() -> bytes:
    """A whole file with one tensor of four bytes."""
    header = json.dumps({"__metadata__": {"format": "pt"},
                         "weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + b"\0" * 4


# A small model that is whole, though nothing that a server could load.
MODEL = {"config.json": b'{"vocab_size": 512}', "tokenizer.json": b"{}", "model.safetensors": safetensors(),
         "chat_template.jinja": b"{{ messages }}"}


def repository(cache: Path, name: str, files: Mapping[str, bytes | Path], commit: str = COMMIT,
               refs: tuple[str, ...] | None = None) -> Path:
    """The folder of a new snapshot in `cache`. refs: what names it, for COMMIT "main".

    A file's content is bytes, or a path to link to.
    """
    root = cache / f"models--{name.replace('/', '--')}"
    folder = root / "snapshots" / commit
    folder.mkdir(parents=True)
    (root / "blobs").mkdir(exist_ok=True)
    for file, content in files.items():
        if isinstance(content, Path):
            blob = content
        else:
            # One blob a file, so that a test can damage one alone.
            blob = root / "blobs" / hashlib.sha1(f"{commit} {file}".encode()).hexdigest()
            blob.write_bytes(content)
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).symlink_to(os.path.relpath(blob, (folder / file).parent))
    for ref in ("main",) * (commit == COMMIT) if refs is None else refs:
        (root / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
        (root / "refs" / ref).write_text(commit, encoding="utf-8")
    (root / "refs").mkdir(exist_ok=True)
    return folder
