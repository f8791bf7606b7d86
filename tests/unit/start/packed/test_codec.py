"""Windows that get smaller without loss: every byte comes back, whatever it was."""

import os
import random
import struct

import pytest

from start.weights.packed import codec
from start.weights.packed.codec import Damaged, Window


def there_and_back(data: bytes, at: int = 0) -> Window:
    window, planes = codec.pack(data)
    into = bytearray(b"\xaa" * (at + len(data) + 3))
    codec.unpack(window, memoryview(b"".join(planes)), into, at)
    assert into[at:at + len(data)] == data and into[:at] == b"\xaa" * at and into[-3:] == b"\xaa" * 3
    return window


def test_numbers_in_bfloat16_take_two_thirds(bfloat16):
    window = there_and_back(bfloat16)
    assert len(window.sizes) == 2 and 0.6 < window.stored / window.length < 0.7
    assert window.sizes[0] == window.length // 2  # mantissas: nothing to gain


def test_numbers_in_float32_are_split_in_four():
    chance = random.Random(1)
    data = b"".join(struct.pack("<f", chance.gauss(0, 0.02)) for _ in range(30_000))
    window = there_and_back(data)
    assert len(window.sizes) == 4 and window.stored < 0.9 * window.length


def test_noise_stays_as_it_is_and_zeros_nearly_vanish():
    noise = os.urandom(100_001)
    assert there_and_back(noise).stored == len(noise)
    assert there_and_back(bytes(100_001)).stored < 13_000


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 255, 4097, 131_073, 200_003])
@pytest.mark.parametrize("kind", ["noise", "text", "steps"])
def test_every_length_comes_back(length, kind):
    header = b'{"dtype":"BF16","shape":[4096,4096]}'
    data = {"noise": os.urandom(length), "text": (header * (length // len(header) + 1))[:length],
            "steps": bytes(number % 7 for number in range(length))}[kind]
    there_and_back(data, at=length % 5)


def test_what_is_damaged_is_never_taken_for_whole(bfloat16):
    window, planes = codec.pack(bfloat16)
    stored = b"".join(planes)
    chance = random.Random(2)
    for _ in range(200):
        bad = bytearray(stored)
        bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        with pytest.raises(Damaged):
            codec.unpack(window, memoryview(bad), bytearray(len(bfloat16)), 0)
    for cut in (0, 1, len(stored) // 2, len(stored) - 1):
        with pytest.raises(Damaged, match="shorter"):
            codec.unpack(window, memoryview(stored)[:cut], bytearray(len(bfloat16)), 0)
    with pytest.raises(Damaged):
        codec.unpack(window._replace(crc=window.crc ^ 1), memoryview(stored), bytearray(len(bfloat16)), 0)


def test_a_plane_that_unpacks_to_more_is_refused(bfloat16):
    """Whatever a damaged copy says, no more memory is taken than the window has."""
    window, planes = codec.pack(bytes(1000))
    smaller = Window(10, window.crc, window.sizes)
    with pytest.raises(Damaged):
        codec.unpack(smaller, memoryview(b"".join(planes)), bytearray(1000), 0)


def test_a_damaged_plane_takes_no_more_memory_than_it_has():
    import tracemalloc

    coder = codec.zlib.compressobj(9, codec.zlib.DEFLATED, -15)
    bomb = coder.compress(bytes(64 * 2**20)) + coder.flush()
    tracemalloc.start()
    with pytest.raises(Damaged):
        codec.unpack(Window(100_000, 0, (len(bomb),)), memoryview(bomb), bytearray(100_000), 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**21


def test_an_index_that_is_none_is_refused(bfloat16):
    window, _ = codec.pack(bfloat16)
    assert codec.windows(codec.listed([window])) == [window]
    for wrong in ([[0, 1, [0, 0]]], [[5, 1, [1, 2, 3]]], [[5, 1, []]], [[5, 1, [-1, 6]]], [[codec.WINDOW + 1, 1, [1]]],
                  [[5, 1]], [5], "ab", [[5, 1, [6]]], [[5, 1, [3, 3]]]):
        with pytest.raises((ValueError, TypeError)):
            codec.windows(wrong)
