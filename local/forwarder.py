"""A forwarder between a worker and the platform's stand-in, whose connections vanish with a word or without one."""

from __future__ import annotations

import asyncio
import contextlib

_PIECE = 2**16  # bytes


class _Pair:
    """One connection: `near` to the worker, `far` to the platform."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter):
        self.near, self.far, self.swallows = near, far, False


class Forwarder:
    """`async with Forwarder(port) as f:` carries what comes in at f.port to `port`, both on loopback.

    swallow(): from now on the connections that exist carry nothing any more, and the worker is not told; close(): it
    is. Those that are made later are as good as any.
    """

    def __init__(self, port: int):
        self._target, self.port = port, 0
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Forwarder:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def environ(self, environ: dict[str, str]) -> dict[str, str]:
        """A worker's variables, with its addresses of the platform leading through here."""
        return {name: value.replace(f"127.0.0.1:{self._target}", f"127.0.0.1:{self.port}")
                for name, value in environ.items()}

    @property
    def open(self) -> int:
        """How many connections carry something."""
        return sum(not pair.swallows for pair in self._pairs)

    def swallow(self, *, told: bool = True) -> None:
        """Carry nothing more over what is open now. told: the platform learns that its side is closed, as by a router
        that drops the worker's alone; otherwise it goes on handing out to nobody."""
        for pair in self._pairs:
            pair.swallows = True
            if told:
                pair.far.transport.abort()

    def close(self) -> None:
        """Close what is open now, on both sides."""
        for pair in self._pairs:
            pair.far.transport.abort()
            pair.near.close()

    async def _serve(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self._target)
            pair = _Pair(near, far)
            self._pairs.add(pair)
            try:
                await asyncio.gather(self._carry(pair, reader, far), self._carry(pair, far_reader, near))
            finally:
                self._pairs.discard(pair)
                far.close()
        except OSError:
            pass
        finally:
            near.close()
            self._tasks.discard(task)

    async def _carry(self, pair: _Pair, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(_PIECE):
                if not pair.swallows:
                    sink.write(data)
                    await sink.drain()
        if pair.swallows and sink is pair.near:
            return  # the worker's side stays as it is
        with contextlib.suppress(OSError):
            sink.close()
