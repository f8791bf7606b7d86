"""A picture in a chat, as a data URL; an https address goes as well, and the worker fetches it.

Settings: none, but a model that sees
Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL, which ends in /v1. MODEL, where it is not the only one.
"""

import base64
import os
import struct
import sys
import zlib

import openai

endpoint, key = os.environ.get("ENDPOINT_ID"), os.environ.get("RUNPOD_API_KEY", "none")
url = os.environ.get("BASE_URL") or endpoint and f"https://api.runpod.ai/v2/{endpoint}/openai/v1"
if not url:
    sys.exit("Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL, which ends in /v1.")
client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
model = os.environ.get("MODEL", "default")  # "default" is whatever the endpoint serves


def red_square(side: int = 64) -> bytes:
    """A PNG; of a file of yours: pathlib.Path("photo.png").read_bytes()."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\xff\0\0" * side) * side
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def main() -> None:
    picture = "data:image/png;base64," + base64.b64encode(red_square()).decode()
    reply = client.chat.completions.create(model=model, temperature=0, max_tokens=100, messages=[
        {"role": "user", "content": [{"type": "text", "text": "Which colour is this?"},
                                     {"type": "image_url", "image_url": {"url": picture}}]}])
    print(reply.choices[0].message.content)


try:
    main()
except openai.OpenAIError as error:
    sys.exit(f"It was not answered: {getattr(error, 'body', None) or error}")
