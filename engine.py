"""The SGLang server as one object: what it is asked, and whether it can be asked.

`Engine` is driven from plain threads as well as from event loops, because the server starts long before there is a
loop. Its processes and their life belong to server/supervisor.py; what is said to it over HTTP by jobs, to answer/.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from clock import awake, thaws
from server.diagnosis import SCANNED, diagnose, last_resort  # noqa: TID251 - the one package that stands below this module
from server.discretion import NO_TOKEN  # noqa: TID251
from server.orders import Orders  # noqa: TID251
from server.processes import port_is_free  # noqa: TID251
from server.restarts import Patience, Restarts  # noqa: TID251
from server.states import FINAL, State  # noqa: TID251
from server.supervisor import Supervisor  # noqa: TID251
from server.tree import TAIL_LINES, EngineError, Tree  # noqa: TID251
from utils import JobError, emit

IN_ORDER = 15.0  # seconds that the server gets to end in order, once no job is left (1 to 8 were seen)
_LOOK_EVERY = 0.05  # seconds between two looks at what became of a server
_UNDECIDED = 10.0   # seconds after which what became of it does not matter any more
# Seconds that the server gets, after the process was frozen, to answer before a job is sent to it. One that does not
# is left to the usual search for hangs: a long prefill keeps it from answering, too.
_PROOF, _PROOF_AGAIN = 30.0, 0.2


def _nothing_is_due(_line: str, _at: float) -> bool:
    return False


class Standing(Protocol):
    """How the server stands, by whoever knows: its owner (server/supervisor.py), or what that owner told of it."""

    @property
    def state(self) -> State: ...

    @property
    def up(self) -> bool: ...

    @property
    def life(self) -> int: ...

    def ending_of(self, life: int) -> str | None:
        """How a server ended, in words; None while it lives, or is dying."""

    def listening(self, listener: Callable[[], None]) -> AbstractContextManager[None]:
        """Meanwhile `listener` is called after every change."""


class Served:
    """The server on 127.0.0.1:`port` as everybody sees it who asks it something, in this process or in another.

    api_key: what it was told to require, or None.
    """

    def __init__(self, port: int, api_key: str | None, standing: Standing):
        self.port = port
        self._standing = standing
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._proven = thaws()  # of these is known that the server came through
        self._proving: asyncio.Task[None] | None = None

    @property
    def state(self) -> State:
        return self._standing.state

    @property
    def up(self) -> bool:
        """Whether it takes requests at the moment."""
        return self._standing.up

    @property
    def life(self) -> int:
        """The number of the newest server: 1 for the first, 2 after one restart; 0 before the first."""
        return self._standing.life

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def changes(self) -> Iterator[asyncio.Event]:
        """An event of the running loop that is set after each change of `state`, for whoever waits to clear."""
        changed, loop = asyncio.Event(), asyncio.get_running_loop()

        def tell() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(changed.set)

        with self._standing.listening(tell):
            yield changed

    async def available(self, timeout: float) -> int:
        """Wait until the server can take a request, at most `timeout` seconds; at once when it is up. Returns its
        `life`. Raises JobError 503 when it cannot. The first to ask after a thaw finds out whether it came through."""
        owner, loop = self._standing, asyncio.get_running_loop()
        if owner.up and self._proven == thaws():
            return owner.life
        deadline = loop.time() + timeout
        with self.changes() as changed:
            while not (owner.up and await self._came_through()):
                left = deadline - loop.time()
                if owner.state in FINAL or owner.state is State.STOPPING:
                    raise JobError("The engine has ended and will not be restarted by this worker; send the job again.",
                                   type="overloaded_error", code=503)
                try:
                    await asyncio.wait_for(changed.wait(), max(0.0, left))
                except TimeoutError:
                    raise JobError(f"The engine is being restarted and was not back within {timeout:g} s "
                                   "(ENGINE_WAIT_TIMEOUT); try again.", type="overloaded_error", code=503) from None
                changed.clear()
            return owner.life

    async def _came_through(self) -> bool:
        """Whether the server is up still, once it has shown that it lives or has had the time to. Asked once a thaw,
        whoever waits for it."""
        if self._proven != thaws():
            if self._proving is None or self._proving.done():
                self._proving = asyncio.get_running_loop().create_task(self._prove(thaws(), self.life))
            await asyncio.shield(self._proving)
        return self.up

    async def _prove(self, thaw: int, life: int) -> None:
        # Not /health_generate, which takes at least a second (sglang: entrypoints/http_server.py).
        deadline = awake() + _PROOF
        while self.up and self.life == life and awake() < deadline:
            if await asyncio.to_thread(self.get, "/server_info", _PROOF / 6) != (None, b""):
                break
            await asyncio.sleep(_PROOF_AGAIN)
        self._proven = thaw

    async def fate(self, life: int) -> str | None:
        """What became of the server of that `life`, for a connection to it that broke; None while it serves."""
        # The connection breaks before the last process is gone: with much memory to give back, seconds before.
        began = awake()
        while (passed := awake() - began) < _UNDECIDED:
            if ending := self._standing.ending_of(life):
                return f"The engine ended while this job was running: {ending}."
            # Half a second, because the connection of a server that dies also breaks before its guard has ended.
            if passed >= 0.5 and self._standing.up and self.life == life and not port_is_free(self.port):
                return None
            await asyncio.sleep(_LOOK_EVERY)
        return "The engine ended while this job was running: its processes are being ended."

    # ------------------------------------------------------------ what it is asked
    def get(self, path: str, timeout: float = 5.0, body: bytes | None = None) -> tuple[int | None, bytes]:
        """Status and body of a GET (of a POST, with a JSON `body`); (None, b"") without an answer in `timeout` seconds.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
            connection.request("GET" if body is None else "POST", path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return None, b""
        finally:
            connection.close()


class Engine(Served):
    """One SGLang server on 127.0.0.1:`port`, restarted in place as `patience` allows.

    command: the whole command line; environ: the server's whole environment; api_key: what the server was told to
    require, or None; on_line: gets each line of its output, secrets masked; listen: called once per start, gives a
    function of (line, seconds since that start) that says whether readiness is due; orders: by which it is started and
    ended where it is a part of one on several machines, in place of `patience`'s restarts.
    """

    def __init__(self, command: Sequence[str], environ: dict[str, str], *, port: int, api_key: str | None = None,
                 patience: Patience | None = None, on_line: Callable[[str], None] = emit,
                 listen: Callable[[], Callable[[str, float], bool]] = lambda: _nothing_is_due,
                 orders: Orders | None = None):
        self._ready_path = "/ready"

        def hear() -> Callable[[str, float], bool]:
            due = listen()

            def line_of(line: str, at: float) -> bool:
                try:
                    return due(line, at)
                finally:
                    on_line(line)
            return line_of

        self._supervisor = Supervisor(command, environ, port, patience or Patience(), is_ready=self._is_ready,
                                      is_alive=self._is_alive, explain=self._report, listen=hear,
                                      orders=orders)
        super().__init__(port, api_key, self._supervisor)

    # ------------------------------------------------------------ its life
    @property
    def endings(self) -> dict[int, str]:
        """How the newest of its lives ended, in words, by their numbers."""
        return self._supervisor.endings

    @property
    def started_at(self) -> float:
        """clock.awake of the newest start."""
        return self._supervisor.tree.started_at if self._supervisor.tree else 0.0

    @property
    def returncode(self) -> int | None:
        """None while a process of the newest server is left, otherwise its exit status (negative: a signal)."""
        return self._supervisor.tree.returncode if self._supervisor.tree else None

    def tail(self, count: int = TAIL_LINES) -> list[str]:
        """The newest lines of the newest server's output, at most 200, secrets masked."""
        return self._supervisor.tree.tail(count) if self._supervisor.tree else []

    @property
    def trouble(self) -> str:
        """How the server ended last and what to do about it, in one line without its own; "" when it never did."""
        lines = [line for line in self._supervisor.reason.splitlines() if not line.startswith("    ")]
        return " ".join(lines).replace(". Its last lines: ", ". ").removesuffix(" Its last lines:")

    def start(self) -> None:
        """Start the server; returns at once. Raises EngineError when the port is taken or the system refuses."""
        self._supervisor.start()

    def wait_ready(self) -> float:
        """Block until the server can take requests. Returns the seconds since the start.

        Raises EngineError, with the last lines and what to do, when it ended first or was not ready in time; nothing
        of it is left then.
        """
        return self._supervisor.wait_ready()

    def watch(self, *, last_sign: Callable[[], float], on_give_up: Callable[[str], None]) -> None:
        """last_sign: when any job last heard from the server (clock.awake), so that a busy one is not taken for
        hung. on_give_up: called once, in a thread, with the reason, when it will not be up again. Raises EngineError
        when that is so already."""
        self._supervisor.last_sign, self._supervisor.on_give_up = last_sign, on_give_up
        if self.state in FINAL:
            raise EngineError(self._supervisor.reason or "The worker is stopping.")

    def on_restarted(self, told: Callable[[float], None]) -> None:
        """Have `told` called with the seconds that each restart took, in place of a plain line in the log."""
        self._supervisor.on_restarted = told

    def stop(self, grace: float = IN_ORDER) -> int | None:
        """End the server for good: SIGTERM, and after `grace` seconds SIGKILL for whatever is left of its tree.

        SGLang finishes its running requests on SIGTERM, without a limit of its own. Returns its exit status, None
        when it was never started. Safe to call at any time, from any thread, and more than once.
        """
        return self._supervisor.stop(grace)

    def capacity(self) -> int | None:
        """How many requests the server runs at once, over all its data-parallel replicas; None if it won't say.

        From /server_info (sglang: scheduler_components/internal_state.py), which knows what the KV cache holds.
        """
        try:
            states = json.loads(self.get("/server_info")[1])["internal_states"]
            return sum(state["effective_max_running_requests_per_dp"] for state in states) or None
        except (ValueError, KeyError, TypeError):
            return None

    def _is_ready(self) -> bool:
        # /ready answers in milliseconds and runs no generation; servers from before it answer 404 there.
        status, _ = self.get(self._ready_path)
        if status == 404 and self._ready_path == "/ready":
            self._ready_path = "/health"
            status, _ = self.get(self._ready_path)
        return status == 200

    def _is_alive(self, timeout: float) -> bool:
        # /server_info asks the scheduler, which answers between two batches: unlike /health it needs no free slot in
        # the queue and no generation, so neither a deep queue nor a long prefill looks like a hang.
        return self.get("/server_info", timeout)[0] is not None

    def _report(self, headline: str, tree: Tree) -> str:
        """`headline`, how the server ended, its last lines, and what to do when the cause is known."""
        ending = f" ({tree.ending})" if tree.ending else ""
        lines = tree.tail()
        advice = diagnose(lines) or last_resort(lines)
        shown = "\n".join(f"    {line[:SCANNED]}" for line in lines[-30:]) or "    (no output)"
        return f"{headline}{ending}. Its last lines:\n{shown}" + (f"\nWhat to do: {advice}" if advice else "")


__all__ = ["FINAL", "NO_TOKEN", "Engine", "EngineError", "Orders", "Patience", "Restarts", "Served", "State"]
