"""A plugin of SGLang's: weights of which the worker has an unpacked copy in memory are opened there.

Found by its entry point in `sglang.srt.plugins` (sglang/srt/plugins/__init__.py), in every process of the server;
those that load weights open them by `safetensors.safe_open`. Each file is asked for at the worker's socket, which waits
until it is whole. Whatever goes wrong, the file itself is opened. Needs nothing but the standard library, and imports
nothing of the worker.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
from typing import Any

ADDRESS = "WORKER_SGLANG_WEIGHTS"  # the path of the socket
_SILENT = 5.0  # seconds without a word, so many times on end, after which nobody is taken to be there: a process that
_TIMES = 6     # was frozen finds its time over at once, and once only


def activate() -> None:
    """What SGLang calls."""
    address = os.environ.get(ADDRESS)
    if not address:
        return
    safetensors = importlib.import_module("safetensors")

    opened = safetensors.safe_open

    def safe_open(filename: str, *arguments: Any, **more: Any) -> Any:
        descriptor = unpacked(address, filename)
        if descriptor is None:
            return opened(filename, *arguments, **more)
        try:  # what is opened maps the file, or opens it again by this name, before this returns
            return opened(f"/proc/self/fd/{descriptor}", *arguments, **more)
        except Exception:  # whatever it is, it may not be so of the file itself
            return opened(filename, *arguments, **more)
        finally:
            os.close(descriptor)

    vars(safetensors)["safe_open"] = safe_open


def unpacked(address: str, filename: str) -> int | None:
    """A descriptor of the file's bytes in memory, or None where the file itself is to be read."""
    with contextlib.suppress(OSError, ValueError, TypeError), socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(_SILENT)
        channel.connect(address)
        channel.sendall(os.fsencode(os.path.realpath(filename)))
        silent = 0
        while silent < _TIMES:
            try:
                word, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
            except TimeoutError:
                silent += 1
                continue
            silent = 0
            if word == b"y" and descriptors:
                os.set_inheritable(descriptors[0], False)  # recv_fds hands no flags on (socket.py of Python 3.11)
                return descriptors[0]
            if word != b".":
                return None
    return None
