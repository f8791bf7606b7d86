"""Weights made smaller without loss, window by window. Pure.

A number in bfloat16 has eight bits of mantissa and sign that nothing can foretell, and eight bits of exponent of which
a trained model uses few values: its bytes of the one kind stay as they are, those of the other take a third of their
room. So a window of a file is split into planes, every second byte (every fourth for float32, all for eight bits), and
each plane that gets smaller by it is coded by Huffman's method, that of zlib without its search for repetitions, which
weights do not have. Reading it back takes a core 40 ms for 16 MB.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

WINDOW = 16 * 2**20  # bytes of the original
_STRIDES = (2, 1, 4)
_SAMPLE = 2**17  # bytes on which strides are tried
_WORTH = 0.97  # a plane that does not get below this share of its size stays as it is


class Damaged(Exception):
    """What was read back is not what was packed."""


class Window(NamedTuple):
    """How one window lies in a packed file.

    length: bytes of the original; crc: CRC-32 of them; sizes: bytes of each plane as it is stored, of as many planes
    as the stride is. A plane whose stored size is its own length stands there as it is.
    """

    length: int
    crc: int
    sizes: tuple[int, ...]

    @property
    def stored(self) -> int:
        return sum(self.sizes)


def planes_of(length: int, stride: int) -> list[int]:
    """The bytes of each plane of a window of `length` bytes."""
    return [len(range(first, length, stride)) for first in range(stride)]


def pack(data: bytes) -> tuple[Window, list[bytes]]:
    """The window that `data` makes, and its planes as they are to be stored, one after the other."""
    sample = data[:_SAMPLE]
    stride = min(_STRIDES, key=lambda stride: sum(map(len, _planes(sample, stride))))
    planes = _planes(data, stride)
    return Window(len(data), zlib.crc32(data), tuple(map(len, planes))), planes


def _planes(data: bytes, stride: int) -> list[bytes]:
    return [_coded(data[first::stride]) for first in range(stride)]


def _coded(plane: bytes) -> bytes:
    coder = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    coded = coder.compress(plane) + coder.flush()
    return coded if len(coded) < _WORTH * len(plane) else plane


def unpack(window: Window, stored: memoryview, into: Any, at: int) -> None:
    """Write the window's bytes to `into` (a bytearray or mmap), from `at` on. Raises Damaged."""
    stride, end, begin = len(window.sizes), at + window.length, 0
    if len(stored) != window.stored:
        raise Damaged("a packed file is shorter than it says")
    for first, (size, length) in enumerate(zip(window.sizes, planes_of(window.length, stride), strict=True)):
        plane: Any = stored[begin:begin + size]
        begin += size
        if size != length:
            try:
                plane = zlib.decompressobj(-15).decompress(plane, length + 1)  # a damaged one may have no end
            except zlib.error as error:
                raise Damaged(f"a packed file is damaged: {error}") from None
            if len(plane) != length:
                raise Damaged("a packed file is damaged: a plane has another length")
        into[at + first:end:stride] = plane
    with memoryview(into) as whole, whole[at:end] as written:
        if zlib.crc32(written) != window.crc:
            raise Damaged("a packed file is damaged: its checksum is another")


def listed(windows: Sequence[Window]) -> list[list[Any]]:
    """For JSON."""
    return [[window.length, window.crc, list(window.sizes)] for window in windows]


def windows(rows: Any) -> list[Window]:
    """Of what `listed` made. Raises ValueError or TypeError for anything else."""
    found = [Window(int(length), int(crc), tuple(map(int, sizes))) for length, crc, sizes in rows]
    if not all(len(one.sizes) in _STRIDES and 0 < one.length <= WINDOW and all(
            0 <= size <= length for size, length in zip(one.sizes, planes_of(one.length, len(one.sizes)), strict=True))
            for one in found):
        raise ValueError("no windows")
    return found
