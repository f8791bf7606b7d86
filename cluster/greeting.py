"""How two nodes meet: what they say to each other before either is one of all nodes to the other."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cluster import proof


class Place(NamedTuple):
    """Where this node is among all of them. nodes: how many; host, port: node 0's, for this alone; own: where node 0
    listens; wait, silence: seconds, see Lead; secret: of all nodes; about: see proof.py."""

    rank: int
    nodes: int
    host: str
    port: int
    own: str
    wait: float
    silence: float
    secret: bytes
    about: Mapping[str, str]


class Refused(Exception):
    """Node 0 does not let this node in, or is none: trying again would not help."""


class Link:
    """One connection, in messages."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader, self.writer = reader, writer

    def send(self, message: list[Any]) -> None:
        if not self.writer.is_closing():
            self.writer.write(json.dumps(message).encode() + b"\n")

    async def hear(self) -> list[Any]:
        """The next message. Raises ConnectionError at the end, ValueError for what is none."""
        line = await self.reader.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the connection was closed")
        try:
            message = json.loads(line)
        except RecursionError:
            raise ValueError("no message") from None
        if not isinstance(message, list) or not message or not isinstance(message[0], str):
            raise ValueError("no message")
        return message

    def close(self) -> None:
        self.writer.transport.abort()


async def admitted(link: Link, place: Place, refused: Callable[[str], None]) -> int | None:
    """On node 0's side: the rank of whoever shows that it is one of the nodes. None for anybody else, who is told why
    where it spoke as one, as `refused` is. Raises as Link.hear does."""
    ours = secrets.token_hex(16)
    link.send(["challenge", proof.PROTOCOL, ours])
    word, rank, theirs, shown, about = await link.hear()
    if word != "hello" or not isinstance(rank, int) or not isinstance(theirs, str):
        raise ValueError("no hello")
    refusal = ""
    if not proof.same(proof.proof(place.secret, "node", (ours, theirs), rank), shown):
        refusal = "it has another WORKER_API_KEY"
    elif names := proof.differing(place.about, about):
        refusal = f"node {rank} was started with other settings: {', '.join(names)}"
    elif not 0 < rank < place.nodes:
        refusal = f"there is no place for a node {rank} among {place.nodes} (NODE_RANK, NUM_NODES)"
    if refusal:
        refused(refusal)
        link.send(["refused", refusal])
        await link.writer.drain()
        link.writer.close()
        return None
    link.send(["welcome", proof.proof(place.secret, "lead", (ours, theirs), rank)])
    return rank


async def introduced(link: Link, place: Place) -> None:
    """On another node's side. Raises Refused where node 0 does not let it in, or is none, else as Link.hear does."""
    ours = secrets.token_hex(16)
    word, protocol, theirs = await link.hear()
    if word != "challenge" or protocol != proof.PROTOCOL:
        raise ValueError("another program, or another version of the worker")
    shown = proof.proof(place.secret, "node", (theirs, ours), place.rank)
    link.send(["hello", place.rank, ours, shown, dict(place.about)])
    word, text = await link.hear()
    if word == "refused":
        raise Refused(f"node 0 does not let this node in: {text}")
    if word != "welcome" or not proof.same(proof.proof(place.secret, "lead", (theirs, ours), place.rank), text):
        raise Refused("what answers in node 0's place has another WORKER_API_KEY")
