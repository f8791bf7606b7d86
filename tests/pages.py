"""Files whose pages are in memory or not, for the tests of what is read ahead."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from start.weights.page_reader import Pages


def resident(path: Path) -> float:
    """The share of a file's bytes that is in memory."""
    pages = Pages(str(path))
    try:
        return pages.there(0, pages.size) / pages.size
    finally:
        pages.close()


def forget(*paths: Path) -> None:
    """Let the pages of these files go; skips the test where the file system keeps them (tmpfs)."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)
        if resident(path) > 0.5:
            pytest.skip(f"pages of {path} do not leave the memory here")


def weights(path: Path, size: int) -> Path:
    """A safetensors file of `size` bytes, all of them one tensor's, of which nothing but the header is in memory.

    It takes no room on the disk; what is read of it takes as much memory as of any other file.
    """
    length = size - 256
    header = json.dumps({"w": {"dtype": "U8", "shape": [length], "data_offsets": [0, length]}}).encode().ljust(248)
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, size)
    forget(path)
    return path


def read_from_disk(path: Path) -> int:
    """Bytes that were read so far from the device on which `path` lies, by anybody; what came from memory apart."""
    device = os.stat(path).st_dev
    fields = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
    return int(fields[2]) * 512  # sectors; Documentation/block/stat.rst of Linux
