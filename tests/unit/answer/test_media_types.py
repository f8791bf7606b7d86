"""The media type of first bytes, and what is no medium. job/test_media.py has the playlists."""

import pytest

from answer.media_types import UNKNOWN, media_type, names_others


@pytest.mark.parametrize(("head", "kind"), [
    (b"\xff\xd8\xff\xe0..JFIF", "image/jpeg"), (b"\x89PNG\r\n\x1a\n..", "image/png"), (b"GIF89a", "image/gif"),
    (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"), (b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"), (b"ID3\x04", "audio/mpeg"),
    (b"\0\0\0\x20ftypisom", "video/mp4"), (b"\0\0\0\x20ftypM4A ", "audio/mp4"), (b"\0\0\0\x20ftypavif", "image/avif"),
    (b"\x1aE\xdf\xa3", "video/webm"), (b"OggS", "audio/ogg"), (b"fLaC", "audio/flac"), (b"MM\0*", "image/tiff")])
def test_the_bytes_tell_the_type_whatever_was_declared(head, kind):
    assert media_type(head, "text/html") == media_type(head, "image/x-other") == kind


@pytest.mark.parametrize(("declared", "kind"), [
    ("image/JXL", "image/jxl"), ("video/mp2t", "video/mp2t"), ("text/html", UNKNOWN), ("", UNKNOWN),
    ("image/png;base64,AAAA", UNKNOWN), ("image/a,b", UNKNOWN), ("image/" + "x" * 500, UNKNOWN)])
def test_otherwise_the_declared_one_if_it_is_one_of_media(declared, kind):
    assert media_type(b"\x01\x02\x03", declared) == kind


TAG = b"ID3\x04\0%c\0\0\0\x02xx"


@pytest.mark.parametrize("tags", [
    TAG % 0, TAG % 0 * 3, TAG % 0x10 + b"3DI" + bytes(7), TAG % 0x10 + bytes(10) + TAG % 0])
def test_a_playlist_behind_tags_is_none_the_less_one(tags):
    assert names_others(tags + b"#EXTM3U\n") and not names_others(tags + b"\xff\xfb\x90")


@pytest.mark.parametrize("head", [
    b"", b"\xff\xd8\xff\xe0", b"RIFF\0\0\0\0WAVE", b"\0\0\0\x20ftypisom<MPD", b"ID3\x04\0\0\0\0\0\x02xx\xff\xfb\x90",
    b"ID3\x04\0\0\x7f\x7f\x7f\x7f", b"ID3"])
def test_media_name_no_others(head):
    assert not names_others(head)
