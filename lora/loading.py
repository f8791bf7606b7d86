"""Adapters in the engine: loaded where a request needs them, one load at a time, and held while a request uses them.

SGLang evicts by itself too, but then it waits, in the middle of a load, for the requests of what it evicts
(managers/tokenizer_control_mixin.py). So the worker makes room first, of what nobody uses.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from lora import calls
from lora.calls import Post, Unloadable
from lora.sources import Wanted
from lora.table import Table
from utils import JobError, log

_DEATHS = 2  # of the engine, with an adapter that never gave an answer
_LEFT = 8    # preparations that go on although nobody waits for them any more


@dataclasses.dataclass(eq=False)
class _Waiter:
    wanted: Mapping[str, Wanted]
    life: int
    granted: asyncio.Future[bool]  # True: all its adapters are held; False: the life ended


class Loader:
    """post: to the engine; alive: whether the life of this number serves; fate: what became of it, for a connection
    that broke, None while it serves; prepare: gives the folder of an adapter that was looked at, or raises JobError;
    limit: adapters that the engine has at most; present: those that each of its lives begins with, and whether each is
    pinned; seconds: that a request waits."""

    def __init__(self, post: Post, alive: Callable[[int], bool], fate: Callable[[int], Awaitable[str | None]],
                 prepare: Callable[[Wanted], Coroutine[Any, Any, str]], *,
                 limit: int | None, present: Mapping[str, bool], seconds: float) -> None:
        self._post, self._alive, self._fate, self._prepare = post, alive, fate, prepare
        self._limit, self._present, self._seconds = limit, dict(present), seconds
        self._life = 0
        self._table = Table(limit, present)
        self._waiting: list[_Waiter] = []
        self._preparing: dict[str, asyncio.Task[str]] = {}
        self._ending: set[asyncio.Task[str]] = set()  # preparations that were cancelled
        self._running: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._proven: set[str] = set(present)
        self._deaths: dict[str, set[int]] = {}

    @property
    def loaded(self) -> tuple[str, ...]:
        """The names of all that are loaded."""
        return self._table.names

    async def take(self, wanted: Sequence[Wanted], life: int) -> bool:
        """Have all of `wanted` loaded and hold them, in the engine's life of that number; to be given back. False when
        that life ended first. Raises JobError."""
        self._come(life)
        names = {each.name: each for each in wanted}
        for name in names:
            self._refuse_deadly(name)
        if self._table.take(names):
            return True
        room = self._table.room(names)
        if room is not None and len(names) > room:
            raise JobError(f"The request names {len(names)} adapters, and at most {room} are loaded at once "
                           "(MAX_LOADED_LORAS): send it in parts.", param="lora_path")
        waiter = _Waiter(names, life, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._stir()
        try:
            async with asyncio.timeout(self._seconds):
                return await waiter.granted
        except TimeoutError:
            self._let_go(waiter)
            raise JobError(f"The adapter {self._missing(names)[:60]!r} was not loaded within {self._seconds:g} s "
                           "(LORA_LOAD_TIMEOUT); it may be by the next try.", type="overloaded_error", code=503
                           ) from None
        except asyncio.CancelledError:
            self._let_go(waiter)
            raise
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(waiter)
            self._news.set()

    def give(self, wanted: Sequence[Wanted], life: int) -> None:
        """What `take` held is no longer used."""
        if life == self._life:
            self._table.give({each.name for each in wanted})
        self._news.set()

    def answered(self, wanted: Sequence[Wanted]) -> None:
        """A request that used these was answered: the engine does not die of them."""
        self._proven.update(each.name for each in wanted)

    def died(self, wanted: Sequence[Wanted], life: int) -> None:
        """The engine's life of that number ended while a request used these."""
        for each in wanted:
            if each.name not in self._proven:
                self._deaths.setdefault(each.name, set()).add(life)

    async def close(self) -> None:
        """End what is under way."""
        tasks = [*self._preparing.values(), *self._ending, *([self._running] if self._running else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------ requests that wait
    def _come(self, life: int) -> None:
        """A new life of the engine has what it is started with, and nothing that was loaded later."""
        if life != self._life:
            self._life, self._table = life, Table(self._limit, self._present)
            self._gone()

    def _gone(self) -> None:
        """The requests that wait for another life than this, or for one that has ended, have to wait for the next."""
        for waiter in list(self._waiting):
            if waiter.life != self._life or not self._alive(waiter.life):
                self._settle(waiter, False)

    def _settle(self, waiter: _Waiter, outcome: bool | JobError) -> None:
        self._waiting.remove(waiter)
        if waiter.granted.done():
            return
        if isinstance(outcome, JobError):
            waiter.granted.set_exception(outcome)
        else:
            waiter.granted.set_result(outcome)

    def _let_go(self, waiter: _Waiter) -> None:
        """A request that leaves may have been granted what it waited for in the same moment."""
        granted = waiter.granted
        if granted.done() and not granted.cancelled() and granted.exception() is None and granted.result():
            self.give(tuple(waiter.wanted.values()), waiter.life)

    def _grant(self) -> None:
        """Let those go on whose adapters are all loaded."""
        for waiter in list(self._waiting):
            if not waiter.granted.done() and self._table.take(waiter.wanted):
                self._settle(waiter, True)

    def _fail(self, name: str, error: JobError) -> None:
        for waiter in list(self._waiting):
            if name in waiter.wanted:
                self._settle(waiter, error)

    def _missing(self, names: Mapping[str, Wanted]) -> str:
        return next(iter(self._table.missing(names) or names))

    def _refuse_deadly(self, name: str) -> None:
        if len(self._deaths.get(name, ())) >= _DEATHS:
            raise Unloadable(f"The adapter {name[:60]!r} is not loaded any more: the engine died twice with it, before "
                             "it gave an answer.", param="model")

    # ------------------------------------------------------------ loading
    def _stir(self) -> None:
        self._news.set()
        if self._running is None or self._running.done():
            self._running = asyncio.get_running_loop().create_task(self._run())
            self._running.add_done_callback(_told)

    async def _run(self) -> None:
        """Serve those who wait, as long as anybody does."""
        while True:
            self._news.clear()
            self._gone()
            self._grant()
            self._begin()
            chosen = self._next()
            if chosen is None and self._table.reopen():  # who needed room has left
                continue
            if not self._waiting:
                return
            if chosen is None or not await self._serve(*chosen):
                await self._news.wait()

    def _begin(self) -> None:
        """Have prepared whatever somebody waits for, and forget what nobody does."""
        missing = {name: waiter.wanted[name] for waiter in self._waiting
                   for name in self._table.missing(waiter.wanted) if name not in self._table.names}
        for name in [name for name, task in self._preparing.items() if task.done() and name not in missing]:
            _told(self._preparing.pop(name))
        # The others would grow with every name that somebody asks for and gives up: the oldest are the nearest to done.
        for name in [name for name in self._preparing if name not in missing][_LEFT:]:
            task = self._preparing.pop(name)
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            task.cancel()
        for name, wanted in missing.items():
            if name not in self._preparing:
                task = asyncio.get_running_loop().create_task(self._prepare(wanted))
                task.add_done_callback(self._prepared)
                self._preparing[name] = task

    def _prepared(self, _task: asyncio.Task[str]) -> None:
        self._stir()

    def _next(self) -> tuple[_Waiter, str] | None:
        """What to load next, and the first who waits for it: of those for whom nothing is still to be prepared, or
        something cannot be."""
        for waiter in self._waiting:
            missing = [name for name in self._table.missing(waiter.wanted) if name not in self._table.names]
            done = [name for name in missing if self._preparing[name].done()]
            wrong = next((name for name in done if self._preparing[name].exception()), None)
            if wrong or missing and len(done) == len(missing):
                return waiter, wrong or missing[0]
        return None

    async def _serve(self, waiter: _Waiter, name: str) -> bool:
        """Load one adapter. False when there is no room yet."""
        life, error = self._life, self._preparing[name].exception()
        if error is not None:
            del self._preparing[name]  # the next request looks again
            if not isinstance(error, JobError):
                log(f"adapter {name}: {type(error).__name__}: {error}", "error")
                error = JobError(f"The adapter {name[:60]!r} cannot be loaded ({type(error).__name__}).",
                                 type="server_error", param="model", code=500)
            self._fail(name, error)
            return True
        unloading = self._table.full
        try:
            if unloading:
                if (victim := self._table.victim(waiter.wanted)) is None:
                    return False
                self._table.remove(victim)  # from now on nobody gets it
                await calls.unload(self._post, victim)
            else:
                folder = self._preparing.pop(name).result()
                await self._load(name, folder, life)
        except JobError as failed:
            self._fail(name, failed)
        except Exception as broke:  # the engine's end, or one that does not answer: whatever the client calls it
            if isinstance(broke, TimeoutError) or await self._fate(life) is None:
                log(f"adapter {name}: the engine did not answer ({type(broke).__name__})", "warn")
                self._fail(name, JobError(f"The engine did not load the adapter {name[:60]!r} in time; try again.",
                                          type="overloaded_error", code=503))
            elif not unloading:  # else this one was not even there
                self.died([waiter.wanted[name]], life)
        return True

    async def _load(self, name: str, folder: str, life: int) -> None:
        seconds = await calls.load(self._post, name, folder)
        if life == self._life:
            self._table.add(name)
            log(f"adapter {name}: loaded in {seconds:.2f} s ({len(self._table.names)} loaded)")


def _told(task: asyncio.Task[Any]) -> None:
    """Nobody waits for its outcome: a fault of the worker's own is for the log."""
    if not task.cancelled() and (error := task.exception()) and not isinstance(error, JobError):
        log(f"adapters: {type(error).__name__}: {error}", "error")
