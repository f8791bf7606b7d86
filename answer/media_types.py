"""What the first bytes of a medium say of it. Pure."""

from __future__ import annotations

import re

HEAD = 2**20  # bytes; as many as FFmpeg looks at before it decides what a file is (PROBE_BUF_MAX)
UNKNOWN = "application/octet-stream"
_TYPE = re.compile(r"(image|video|audio|application)/[\w.+-]{1,80}", re.ASCII)
_BEGINNINGS = (
    (b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"GIF8", "image/gif"), (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"), (b"MM\0*", "image/tiff"), (b"\0\0\1\0", "image/x-icon"), (b"\x1aE\xdf\xa3", "video/webm"),
    (b"fLaC", "audio/flac"), (b"OggS", "audio/ogg"), (b"ID3", "audio/mpeg"), (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"), (b"\xff\xf2", "audio/mpeg"), (b"%PDF-", "application/pdf"))
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_BRANDS = {b"avif": "image/avif", b"avis": "image/avif", b"heic": "image/heic", b"heix": "image/heic",
           b"mif1": "image/heif", b"M4A ": "audio/mp4", b"M4B ": "audio/mp4", b"qt  ": "video/quicktime"}


def media_type(head: bytes, declared: str = "") -> str:
    """The media type that the bytes show; else the declared one, if it is one of media; else UNKNOWN."""
    if head[:4] == b"RIFF" and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    shown = next((kind for beginning, kind in _BEGINNINGS if head.startswith(beginning)), None)
    return shown or (declared.lower() if _TYPE.fullmatch(declared.lower()) else UNKNOWN)


def names_others(head: bytes) -> bool:
    """Whether a medium is no medium but a text that names further addresses or files, or a program.

    FFmpeg, with which the engine reads video and audio, follows playlists (HLS, DASH, concat, SDP, IMF) wherever they
    point, whatever a caller calls them; Pillow has PostScript run by an interpreter. The tests here are FFmpeg's own
    (libavformat: hls.c, dashdec.c, concatdec.c, sdp.c, imfdec.c), a little wider.
    """
    while head[:3] == b"ID3" and len(head) > 10:  # FFmpeg skips such tags before it looks
        size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        head = head[10 + size + (10 if head[5] & 0x10 else 0):]
    text = head[:HEAD]
    if (end := text.find(b"\0")) >= 0:
        text = text[:end]
    start = text.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"#extm3u", b"ffconcat", b"%!ps", b"\xc5\xd0\xd3\xc6", b"v=0")):
        return True
    lower = text.lower()
    return any(mark in lower for mark in (b"<mpd", b"<compositionplaylist", b"<smoothstreamingmedia")) or (
        re.search(rb"(^|\n)c=in ip", lower) is not None)
