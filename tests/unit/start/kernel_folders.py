"""Compiled kernels of tests: a folder that a server compiled into, and ways to damage an archive of it."""

import gzip
import os
import shutil
from pathlib import Path

from start.kernels import compile_key

FACTS = {"gpus": ["NVIDIA H200 9.0"], "driver": "580.1", "model": "a/b", "revision": None, "flags": {}}
BASE = compile_key.base_key(FACTS)


def write(root, **files):
    """Files by their paths, with __ for / and DOT for a dot."""
    for name, text in files.items():
        path = Path(root) / name.replace("__", "/").replace("DOT", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def emptied(root):
    shutil.rmtree(root, ignore_errors=True)
    return root


def damaged(archive, how):
    content = Path(archive).read_bytes()
    if how == "cut":
        content = content[:len(content) // 2]
    elif how == "cut at the end":
        content = content[:-4]
    elif how == "empty":
        content = b""
    elif how == "one byte":
        content = content[:60] + bytes([content[60] ^ 0xFF]) + content[61:]
    elif how == "no archive":
        content = b"hello" * 100
    elif how == "gzip of nothing":
        content = gzip.compress(b"")
    elif how == "gzip of noise":
        content = gzip.compress(os.urandom(2000))
    Path(archive).write_bytes(content)
