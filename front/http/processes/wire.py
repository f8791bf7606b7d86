"""Messages between the owner and a front process as bytes: a length in four bytes, then JSON. Pure."""

from __future__ import annotations

import json
from typing import Any

Message = list[Any]  # a word, and what belongs to it

_HEAD = 4
_LARGEST = 2**26  # bytes; what is larger is no message of ours


class Garbled(Exception):
    """What came is no message."""


def packed(message: Message) -> bytes:
    """A message as it is sent."""
    data = json.dumps(message, separators=(",", ":")).encode()
    return len(data).to_bytes(_HEAD) + data


class Unpacker:
    """Messages from bytes as they come, cut anywhere."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are whole by now. Raises Garbled."""
        kept, found, at = self._kept, [], 0
        kept += data
        while len(kept) - at >= _HEAD:
            size = int.from_bytes(kept[at:at + _HEAD])
            if size > _LARGEST:
                raise Garbled
            if len(kept) - at - _HEAD < size:
                break
            at += _HEAD
            try:
                message = json.loads(kept[at:at + size])
            except ValueError:
                raise Garbled from None
            if not isinstance(message, list) or not message or not isinstance(message[0], str):
                raise Garbled
            found.append(message)
            at += size
        del kept[:at]
        return found
