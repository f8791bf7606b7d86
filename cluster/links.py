"""The connections between the nodes, and the clock by which their sides go: all I/O of this package, but for
how two of them meet (greeting.py).

One thread with an event loop of its own, beside the worker's: it begins before there is one, and a busy one must not
keep a node from saying that it is there. Node 0's own side has no connection: what is said there is handed over.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import threading
import traceback
from collections.abc import Callable
from typing import Any

import utils
from clock import awake
from cluster.greeting import Link, Place, Refused, admitted, introduced
from cluster.lead import Lead
from cluster.member import Member
from engine import EngineError, Orders, Restarts

_LONGEST = 2**18   # bytes of a line
_STRANGERS = 64    # connections at once that have not shown yet whose they are
_MANNERS = 10.0    # seconds in which each has to, and in which a connection has to be there
_AGAIN = 0.5       # seconds between two tries to connect
_PARTING = 2.0     # seconds for the last word to the others


class Nodes:
    """This worker as one of them, from `begin` to `part`. orders: to the engine's owner; in_order: called, in a thread
    of its own, when the worker has to end though nothing is wrong."""

    def __init__(self, place: Place, restarts: Restarts, orders: Orders, in_order: Callable[[], None]):
        self.place, self._orders, self._in_order = place, orders, in_order
        now = awake()
        self._member = Member(place.rank, place.wait, place.silence, now)
        self._lead = Lead(place.nodes, restarts, place.wait, place.silence, now) if place.rank == 0 else None
        self._links: dict[int, Link] = {}  # by rank; a node's own by 0
        self._strangers: dict[Link, None] = {}  # the oldest first
        self._leaving = False
        self._todo: collections.deque[tuple[str, Any]] = collections.deque()
        self._busy = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._begun = threading.Event()
        self.over: concurrent.futures.Future[None] = concurrent.futures.Future()  # done when all nodes end
        self._failure = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="nodes", daemon=True)

    # ------------------------------------------------------------ from other threads
    def begin(self) -> None:
        """Raises EngineError where node 0 cannot listen for the others."""
        self._orders.heard = self._became
        self._thread.start()
        self._begun.wait()
        if self._failure:
            raise EngineError(self._failure)

    def part(self, status: int, error: BaseException | None) -> None:
        """This worker ends with that status, on account of `error`; the others hear of it."""
        why = f"node {self.place.rank} has ended" + (f": {str(error).partition(chr(10))[0]}" if error else "")
        self._call(self._part, int(status != 0 or error is not None), why)
        self._thread.join(_PARTING * 2)

    def leave(self) -> None:
        """This node was told to stop: node 0 has all of them end in order. `over` follows, at once where there is no
        node 0."""
        self._call(self._leave)

    def _became(self, what: str, number: int, text: str) -> None:
        self._call(lambda: self._do(self._member.became(what, number, text)))

    def _call(self, what: Callable[..., None], *about: Any) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(what, *about)

    # ------------------------------------------------------------ the thread
    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception:  # a fault of this worker: without this thread the engine would be nobody's
            utils.log("internal error\n" + traceback.format_exc(), "error")
            self._orders.finish("The connection between the nodes failed (internal error).")
        finally:
            self._all_end()
            self._begun.set()

    async def _main(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        place = self.place
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._close)
            if self._lead is not None:
                try:
                    server = await asyncio.start_server(self._visited, place.own, place.port, limit=_LONGEST)
                except OSError as error:
                    self._failure = (f"Node 0 cannot listen for the others on {place.own}:{place.port}: "
                                     f"{error.strerror or error}.\nThat is the port below MASTER_PORT, on NODE_ADDR.")
                    return
                stack.callback(server.close)
                self._do_lead(self._lead.joined(0, awake()))
                self._do(self._member.linked(awake()))
            else:
                self._spawn(self._joining())
            self._begun.set()
            while not self._ended.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), min(0.25, place.silence / 8))
                if self._lead is not None:
                    self._do_lead(self._lead.tick(awake()))
                self._do(self._member.tick(awake()))
            await self._flushed()

    async def _flushed(self) -> None:
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(_PARTING):
                for link in list(self._links.values()):
                    await link.writer.drain()
                    link.writer.close()
                    await link.writer.wait_closed()

    def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for link in self._links.values():
            link.close()

    def _spawn(self, what: Any) -> None:
        task = asyncio.get_running_loop().create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _leave(self) -> None:
        self._leaving = True
        if self._lead is None and 0 not in self._links:
            self._all_end()
        self._said(["leaving"])

    def _part(self, status: int, why: str) -> None:
        if self._lead is not None and not self._lead.over:
            self._do_lead(self._lead.end(status, why))
        elif status == 0:  # told to stop before its front was there to say so
            self._said(["leaving"])
        self._member.over = self._member.over or (status, why)
        self._ended.set()

    # ------------------------------------------------------------ what the two sides want done
    def _do(self, orders: list[list[Any]]) -> None:
        self._todo.extend(("member", order) for order in orders)
        self._work()

    def _do_lead(self, orders: list[tuple[int, list[Any]]]) -> None:
        self._todo.extend(("lead", order) for order in orders)
        self._work()

    def _work(self) -> None:
        """One after the other: what is done for one side may have the other want something."""
        if self._busy:
            return
        self._busy = True
        try:
            while self._todo:
                side, order = self._todo.popleft()
                if side == "member":
                    self._of_member(order)
                else:
                    self._of_lead(*order)
        finally:
            self._busy = False

    def _of_lead(self, rank: int, message: list[Any]) -> None:
        if rank == 0:
            self._do(self._member.told(message, awake()))
        elif link := self._links.get(rank):
            if message == ["close"]:
                del self._links[rank]
                link.close()
            else:
                link.send(message)

    def _of_member(self, order: list[Any]) -> None:
        word, *about = order
        if word == "send":
            self._said(*about)
        elif word == "allow":
            self._orders.allow(*about)
        elif word == "doom":
            if not self._orders.doom(*about):
                self._do(self._member.became("gone", about[0], ""))
        elif word == "finish":
            self._orders.finish(*about)
        elif word == "close" and 0 in self._links:
            self._links.pop(0).close()
            if self._leaving:  # there is nobody to wait for
                self._all_end()
        elif word in ("end", "leave"):
            if word == "end":
                self._all_end()
            if word == "end" and about[0] == 0 and self.place.rank:
                utils.log(f"all nodes end: {about[1]}")
            if word == "leave" or about[0] == 0 and self.place.rank:
                threading.Thread(target=self._in_order, name="in-order", daemon=True).start()

    def _all_end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def _said(self, message: list[Any]) -> None:
        """To node 0."""
        if self._lead is not None:
            self._do_lead(self._lead.heard(0, message, awake()))
        elif 0 in self._links:
            self._links[0].send(message)

    # ------------------------------------------------------------ node 0's connections
    async def _visited(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(reader, writer)
        assert self._lead is not None
        rank = None
        try:
            if len(self._strangers) >= _STRANGERS:  # a node is through in no time: it is not who waits longest
                next(iter(self._strangers)).close()
            self._strangers[link] = None
            try:
                async with asyncio.timeout(_MANNERS):
                    rank = await admitted(link, self.place, self._lead.refused)
            finally:
                del self._strangers[link]
            if rank is None:
                return
            if old := self._links.pop(rank, None):
                old.close()
            self._links[rank] = link
            self._do_lead(self._lead.joined(rank, awake()))
            while True:
                message = await link.hear()
                if self._links.get(rank) is not link:
                    return
                self._do_lead(self._lead.heard(rank, message, awake()))
        except (OSError, ValueError, TypeError, TimeoutError) as error:
            if rank is not None and self._links.get(rank) is link:
                del self._links[rank]
                self._do_lead(self._lead.lost(rank, _said_of(error), awake()))
        finally:
            if not self._ended.is_set():
                link.close()

    # ------------------------------------------------------------ another node's connection
    async def _joining(self) -> None:
        """The connection to node 0, as often as it has to be made."""
        told = ""
        while not self._ended.is_set() and not self._member.over:
            link = None
            try:
                async with asyncio.timeout(_MANNERS):
                    link = Link(*await asyncio.open_connection(self.place.host, self.place.port, limit=_LONGEST))
                    await introduced(link, self.place)
                self._links[0] = link
                utils.log(f"node {self.place.rank} is connected to node 0")
                self._do(self._member.linked(awake()))
                while self._links.get(0) is link:
                    self._do(self._member.told(await link.hear(), awake()))
            except Refused as refused:
                self._do(self._member.ended(1, str(refused)))
            except (OSError, ValueError, TypeError, TimeoutError) as error:
                if self._member.over:
                    return
                why = _said_of(error)
                if link is not None and self._links.get(0) is link:
                    del self._links[0]
                    if self._leaving:
                        self._all_end()
                elif why != told:
                    utils.log(f"node 0 is not reached ({self.place.host}:{self.place.port}): {why}")
                    told = why
                self._do(self._member.unlinked(why, awake()))
            finally:
                if link is not None:
                    link.close()
            await asyncio.sleep(_AGAIN)

def _said_of(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {_MANNERS:g} s"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
