"""Media from folders of this machine that the operator opened by name. Blocking: run it in a thread."""

from __future__ import annotations

import os
import stat

CLOSED = "names a file, and files are read from the folders in ALLOWED_MEDIA_FOLDERS only"
_UNREADABLE = "names a file that cannot be read"


class Closed(Exception):
    """The file is not to be read; the text says why, and nothing of what lies outside the opened folders."""


def read(path: str, folders: tuple[str, ...], limit: int) -> bytes:
    """The bytes of the regular file at `path` (absolute), which must lie in one of `folders`, links resolved.

    Raises Closed. What is read is what was checked: the file is judged by its open descriptor.
    """
    opened = [os.path.realpath(folder) for folder in folders]
    try:
        real = os.path.realpath(path)
        if not _inside(real, opened):
            raise Closed(CLOSED)
        descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not _inside(os.readlink(f"/proc/self/fd/{descriptor}"), opened):
                raise Closed(CLOSED)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Closed(_UNREADABLE)
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(limit + 1)
        finally:
            os.close(descriptor)
    except (OSError, ValueError):
        raise Closed(_UNREADABLE) from None
    if len(data) > limit:
        raise Closed(f"names a file of more than {limit / 1e6:g} MB")
    return data


def _inside(path: str, folders: list[str]) -> bool:
    return any(path.startswith(folder.rstrip("/") + "/") for folder in folders)
