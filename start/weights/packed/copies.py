"""Which files have a packed copy, and where. Reads and writes the folder of copies.

Every file of weights has a copy of its own, two files named after what it is: `<identity>.packed`, its windows one
after the other, and `<identity>.json`, where each lies, written last. A model of which some files changed keeps the
copies of the others; a file that was written anew, with the same name and size, has another identity.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from start.weights.packed import codec

ON_VOLUME = ".cache/worker-sglang/packed"
PACKED, INDEX, PART = ".packed", ".json", ".part"
FORMAT = 1
UNUSED = 30 * 86400  # seconds after which a copy that nobody used goes when another is made
ABANDONED = 3600  # seconds after which a part that nobody wrote to is one that a worker left when it ended
BUSY = 120  # seconds for which a part that was written to is taken to be in another worker's hand
_SAMPLE = 4096  # bytes of each part of a file that belongs to its identity
_SAMPLES = 5  # of these: at the beginning, where the names and places of its tensors are, to the end
_STREAMS = 8  # files that are looked at at once: each look waits for the volume


class Copy(NamedTuple):
    """One packed file. original: its path, links followed; packed: that of the copy; size: bytes of the original."""

    original: str
    packed: str
    size: int
    windows: list[codec.Window]

    @property
    def stored(self) -> int:
        """Bytes of the copy."""
        return sum(window.stored for window in self.windows)


def place(chosen: str | None, volume: str) -> str | None:
    """The folder of copies: the chosen one, one on the network volume, or None where there is no volume."""
    if chosen:
        return os.path.abspath(chosen)
    return os.path.join(volume, ON_VOLUME) if os.path.ismount(volume) else None


def identity(path: str) -> str:
    """32 hexadecimal digits for the file at `path` as it is now: name, size, time of its last change, samples.

    Two models of one family have files of the same names, sizes and beginnings, and of the same times where these are
    a whole second, or what an archive says: samples of the weights tell them apart. Not its folder: a volume lies
    elsewhere in a Pod. Raises OSError.
    """
    with open(path, "rb", buffering=0) as f:
        status, samples = os.fstat(f.fileno()), hashlib.sha256()
        for number in range(_SAMPLES):
            samples.update(os.pread(f.fileno(), _SAMPLE, max(0, status.st_size - _SAMPLE) * number // (_SAMPLES - 1)))
    told = [FORMAT, os.path.basename(path), status.st_size, status.st_mtime_ns, samples.hexdigest()]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


def of_safetensors(files: Iterable[str]) -> list[str]:
    """Those that begin as safetensors does: the length of a header, and JSON. A cache of the hub has no suffixes."""
    found = []
    for path in files:
        with contextlib.suppress(OSError), open(path, "rb") as f:
            head, size = f.read(9), os.fstat(f.fileno()).st_size
            if head[8:] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
                found.append(path)
    return found


def find(files: Iterable[str], folder: str) -> list[Copy]:
    """The copies that there are of `files` in `folder`, in their order."""
    with ThreadPoolExecutor(_STREAMS) as pool:
        return [copy for copy in pool.map(lambda path: _find(path, folder), files) if copy]


def _find(path: str, folder: str) -> Copy | None:
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        copy = read(path, os.path.join(folder, identity(path)))
        if os.stat(copy.packed).st_size == copy.stored:
            return copy
    return None


def read(original: str, base: str) -> Copy:
    """The copy whose index is at `base`. Raises OSError, or ValueError, TypeError or KeyError for no index."""
    with open(base + INDEX, encoding="utf-8") as f:
        told = json.load(f)
    windows, size = codec.windows(told["windows"]), os.stat(original).st_size
    if told["format"] != FORMAT or sum(window.length for window in windows) != size:
        raise ValueError("an index of something else")
    return Copy(original, base + PACKED, size, windows)


def used(copies: Iterable[Copy]) -> None:
    """Note that these are of use, which is what `expire` goes by."""
    for copy in copies:
        with contextlib.suppress(OSError):
            os.utime(copy.packed.removesuffix(PACKED) + INDEX)


def drop(copy: Copy) -> None:
    """It is damaged: without its index it is none, and is made anew where copies are made."""
    with contextlib.suppress(OSError):
        os.unlink(copy.packed.removesuffix(PACKED) + INDEX)


def in_hand(base: str, now: float) -> bool:
    """Whether somebody was making the copy at `base` a moment before `now` (time.time)."""
    folder, name = os.path.split(base)
    with contextlib.suppress(OSError):
        for other in os.listdir(folder):
            if other.startswith(name + PART):
                with contextlib.suppress(OSError):
                    if now - os.stat(os.path.join(folder, other)).st_mtime < BUSY:
                        return True
    return False


def expire(folder: str, now: float, kept: Iterable[str]) -> list[str]:
    """Remove copies that nobody used for UNUSED seconds before `now` (time.time), and parts left by others.

    kept: identities whose copies stay in any case; what is left of a part of them is of no more use than any other's.
    Gives the names of the files that went.
    """
    gone, stays = [], set(kept)
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(folder)):
            base, dot, _ = name.partition(".")
            path, index = os.path.join(folder, name), os.path.join(folder, base + INDEX)
            with contextlib.suppress(OSError):
                # A copy that is being made by another worker has no index yet: its own time counts.
                part = PART in name
                newest = os.stat(index if os.path.exists(index) and not part else path).st_mtime
                if dot and (part or base not in stays) and now - newest > (ABANDONED if part else UNUSED):
                    os.unlink(path)
                    gone.append(name)
    return gone
