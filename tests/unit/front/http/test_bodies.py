"""Bodies of requests: what unpacks, and into how much."""

import gzip
import zlib

import pytest

from front.http.bodies import json_of, unpacked
from utils import JobError

TEXT = b"how the river bends " * 50
BARE = zlib.compressobj(wbits=-15)


@pytest.mark.parametrize(("raw", "packed"), [
    (gzip.compress(TEXT), "gzip"), (gzip.compress(TEXT), "x-gzip"), (zlib.compress(TEXT), "deflate"),
    (BARE.compress(TEXT) + BARE.flush(), "deflate")])
def test_what_was_packed_comes_out(raw, packed):
    assert unpacked(raw, packed, len(TEXT)) == TEXT


@pytest.mark.parametrize("packed", ["gzip", "deflate"])
def test_nothing_is_unpacked_beyond_the_limit(packed):
    raw = gzip.compress(TEXT) if packed == "gzip" else zlib.compress(TEXT)
    with pytest.raises(JobError) as raised:
        unpacked(raw, packed, len(TEXT) - 1)
    assert raised.value.code == 413 and "unpacked" in raised.value.message


@pytest.mark.parametrize("raw", [b"", b"x", gzip.compress(TEXT)[:-1], gzip.compress(TEXT) + b"x",
                                 gzip.compress(TEXT) * 2, TEXT])
@pytest.mark.parametrize("packed", ["gzip", "deflate"])
def test_what_is_not_packed_so_is_refused(raw, packed):
    with pytest.raises(JobError) as raised:
        unpacked(raw, packed, 10_000)
    assert raised.value.code == 400 and "Content-Encoding" in raised.value.message


@pytest.mark.parametrize(("raw", "value"), [(b"", None), (b" \n", None), (b"[1]", [1]), (b'"x"', "x")])
async def test_a_body_is_json_or_nothing(raw, value):
    assert await json_of(raw) == value


@pytest.mark.parametrize("raw", [b"{", b"\xff", b"[" * 100_000, b"nothing"])
async def test_what_is_no_json_is_refused(raw):
    with pytest.raises(JobError, match="not JSON"):
        await json_of(raw)
