import random
import struct

import pytest


def numbers(count: int, seed: int = 0) -> bytes:
    """So many bfloat16 as a trained model has them: the upper halves of float32 around zero."""
    chance = random.Random(seed)
    return b"".join(struct.pack("<f", chance.gauss(0, 0.02))[2:] for _ in range(count))


HEADER = (2).to_bytes(8, "little") + b"{}"  # what a file of safetensors begins with


@pytest.fixture(scope="session")
def bfloat16() -> bytes:
    return numbers(50_000)
