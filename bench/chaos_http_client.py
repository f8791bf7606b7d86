"""The clients of a chaos run over HTTP: each sends one request over a connection of its own, and keeps what came."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from dataclasses import dataclass, field

from bench.chaos_http_plan import Asked
from bench.sse_reading import Broken, Dechunker

_RECEIVE = 2**14  # bytes that the socket of a client takes which does not read


@dataclass
class Answer:
    """What one client saw; times of time.monotonic. status 0: no head came; whole: the answer had its end; left: when
    the client went away itself; name: the request's id."""

    name: str
    sent: float
    ended: float = 0.0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False
    left: float | None = None
    crowd: int = 0  # the most requests that were under way at once while this one was


def name_of(seed: int, index: int) -> str:
    """The X-Request-Id of a request, by which the engine's record of it is found."""
    return f"chaos-{seed}-{index}"


async def ask(port: int, asked: Asked, name: str) -> Answer:
    """Send it, and read until its end, the connection's end, or the moment at which its client goes away."""
    answer = Answer(name, time.monotonic())
    connection = socket.socket()
    connection.setblocking(False)
    if asked.stalls:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE)
    writer = None
    try:
        async with asyncio.timeout(asked.leaves):
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
            reader, writer = await asyncio.open_connection(sock=connection, limit=2**14)
            writer.write(_request(asked, name))
            if asked.stalls:
                writer.transport.pause_reading()
                await asyncio.sleep(asked.stalls)
                writer.transport.resume_reading()
            await _read(reader, asked, answer)
    except TimeoutError:
        answer.left = time.monotonic()
    except (OSError, Broken, ValueError):
        pass  # what came until then says it all
    finally:
        answer.ended = time.monotonic()
        if writer is not None:
            writer.transport.abort()
        connection.close()
    return answer


def _request(asked: Asked, name: str) -> bytes:
    head = [f"{asked.method} {asked.path} HTTP/1.1", "Host: worker", f"X-Request-Id: {name}", "Connection: close"]
    if asked.body is not None:
        head += ["Content-Type: application/json", f"Content-Length: {len(asked.body)}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + (asked.body or b"")


async def _read(reader: asyncio.StreamReader, asked: Asked, answer: Answer) -> None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return
    status, *lines = head.split("\r\n")
    answer.status = int(status.split(" ")[1])
    answer.headers = {key.strip().lower(): value.strip() for key, _, value in (
        line.partition(":") for line in lines if line)}
    chunks, pieces = Dechunker(), []
    chunked = answer.headers.get("transfer-encoding") == "chunked"
    try:
        while data := await reader.read(2**16):
            pieces.append(chunks.feed(data) if chunked else data)
    finally:
        answer.body = b"".join(pieces)
        length = answer.headers.get("content-length")
        answer.whole = chunks.ended if chunked else length is None or len(answer.body) == int(length)


def error_of(answer: Answer) -> dict | None:
    """The error of a refusal, None where its body is none."""
    with contextlib.suppress(ValueError):
        value = json.loads(answer.body)
        error = value.get("error") if isinstance(value, dict) else None
        if isinstance(error, dict):
            return error
    return None
