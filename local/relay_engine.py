"""An engine that is another one: hands every connection on to an SGLang that runs already.

    python local/relay_engine.py --to PORT --port PORT [SGLang's own arguments, which are not read]

So a second worker can stand before the engine of a first, its child, as if it were its own: two fronts, one engine.
Standard library only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shlex
import signal
import sys

_AT_ONCE = 2**16  # bytes


def launch_relay(to: int) -> str:
    """SGLANG_LAUNCH_COMMAND for a worker whose engine shall be the one that listens on port `to`."""
    return shlex.join([sys.executable, "-P", __file__, "--to", str(to)])


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_AT_ONCE):
            writer.write(data)
            await writer.drain()
    finally:  # one way has ended: the other shall too, as a client that goes away must be noticed at once
        writer.close()


async def relay(port: int, to: int) -> None:
    """Hand connections to 127.0.0.1:`port` on to 127.0.0.1:`to`, until SIGTERM or SIGINT."""
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", to)
            await asyncio.gather(_copy(reader, back), _copy(there, writer), return_exceptions=True)
        writer.close()

    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    server = await asyncio.start_server(connected, "127.0.0.1", port, backlog=1024)
    print(f"relaying 127.0.0.1:{port} to 127.0.0.1:{to}", flush=True)
    await stopped.wait()
    server.close()  # what is still open ends with the loop


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--to", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    options, _ = parser.parse_known_args(argv)
    asyncio.run(relay(options.port, options.to))


if __name__ == "__main__":
    main()
