"""The front processes, kept by the worker's own process: started, told, heard, started again, ended."""

from __future__ import annotations

import asyncio
import base64
import pickle
import socket
import traceback
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import utils
from answer.holding import Room
from clock import awake
from engine import Restarts
from front.http.processes import rooms
from front.http.processes.channel import Channel
from front.http.processes.child import Child, begun, ended
from front.http.processes.ledger import Ledger, Order
from front.http.processes.wire import Message
from front.http.serve import CLOSING
from meter.requests import Meter

if TYPE_CHECKING:
    from engine import Engine
    from job.worker import Worker
    from settings.config import Settings

_FALLS, _WINDOW = 5, 60.0  # that a worker bears of its front processes, and the seconds within which they count
_SILENT = 30.0   # seconds without a word after which one is taken for stuck: each speaks once a second
_LOADING = 120.0  # seconds until its first, beside an engine that loads
_LOOK_EVERY = 5.0  # seconds
_PARTING = 6.0   # seconds from the order to end until one is killed: it has last spans to send

Answer = Callable[[Any], Awaitable[str]]


class Fronts:
    """settings.http.processes of them, on `listener`. meter: of the worker; answers: to their questions, by what they
    ask about; give_up: called with the reason when they do not stay alive."""

    def __init__(self, settings: Settings, listener: socket.socket, meter: Meter, engine: Engine,
                 answers: dict[str, Answer], give_up: Callable[[str], None]):
        self._settings, self._listener, self._meter, self._engine = settings, listener, meter, engine
        self._answers, self._give_up = {**answers, "death": self._death}, give_up
        self.ledger = Ledger(1, settings.http.queue_seconds > 0)
        self._rooms = {rooms.BODIES: Room(settings.http.held_bytes), rooms.MEDIA: Room(settings.media.memory_bytes)}
        self._fronts: set[Child] = set()
        self._restarts = Restarts(_FALLS, _WINDOW)
        self.falls = 0  # front processes that ended by themselves
        self._worker: Worker | None = None
        self._leaving = self._ending = False
        self._news = asyncio.Event()  # one is up, or gone, or all are to leave
        self._tasks: set[asyncio.Task[Any]] = set()

    # ------------------------------------------------------------ their life
    async def start(self) -> None:
        """Start all of them; they are not waited for."""
        for number in range(1, self._settings.http.processes + 1):
            await self._start(number)
        self._spawn(self._watch())
        self._spawn(self._mirrored())

    async def _start(self, number: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = begun(theirs.fileno(), self._listener.fileno())
            except OSError:
                ours.close()
                raise
        front = Child(number, process, self._meter, self._rooms)
        front.channel = Channel(lambda message: self._heard(front, message), lambda: self._lost(front))
        front.send(["hello", base64.b64encode(pickle.dumps(self._settings)).decode()])
        front.send(self._standing())
        self._fronts.add(front)  # from now on it hears what all hear
        await front.channel.open(ours)

    def _lost(self, front: Child) -> None:
        front.channel = None
        front.over.set()
        self._fronts.discard(front)
        front.accounts.close()
        front.reports.lost()
        if front in self.ledger.held:
            self._tell(self.ledger.leave(front))
        front.up.set()
        front.drained.set()
        self._news.set()
        self._spawn(self._after(front))

    async def _after(self, front: Child) -> None:
        status = await asyncio.to_thread(ended, front.process)
        if self._ending:
            return
        self.falls += 1
        how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        utils.log(f"front process {front.number} ended ({how}): what it carried is lost", "error")
        self._restarts.succeeded()  # no longer pauses: if they do not help soon, another worker does
        while (pause := self._restarts.take(awake())) is not None:
            if not self._leaving:
                await asyncio.sleep(pause)
            if self._leaving:
                return
            try:
                return await self._start(front.number)
            except OSError as error:  # no memory, or no process more
                utils.log(f"front process {front.number} cannot be started: {error.strerror}; again later", "error")
        self._give_up(f"Front processes ended {_FALLS + 1} times within {_WINDOW:.0f} s: the worker ends.")

    async def _watch(self) -> None:
        while True:
            before = awake()
            await asyncio.sleep(_LOOK_EVERY)
            if awake() - before > 2 * _LOOK_EVERY:  # it was held up itself, and what they said lies unread
                continue
            for front in list(self._fronts):
                patience = _SILENT if front.up.is_set() else _LOADING
                if awake() - front.heard_at > patience:
                    utils.log(f"front process {front.number} gave no sign of life for {patience:.0f} s: it is killed",
                              "error")
                    front.process.kill()

    async def _mirrored(self) -> None:
        with self._engine.changes() as changed:
            while True:
                self._all(self._standing())
                await changed.wait()
                changed.clear()

    def _standing(self) -> Message:
        engine = self._engine
        return ["stand", engine.state.name, engine.life, {str(life): how for life, how in engine.endings.items()}]

    async def serve(self, worker: Worker, limit: int) -> bool:
        """Have them accept connections, with what `worker` knows, as soon as all of them can, with `limit` requests at
        once. False when the worker ends instead."""
        while not self._fronts or not all(front.up.is_set() for front in self._fronts):
            if self._leaving:
                return False
            self._news.clear()
            await self._news.wait()
        self._worker, self.ledger = worker, Ledger(limit, self._settings.http.queue_seconds > 0)
        for front in self._fronts:
            self._open(front)
        return True

    def _open(self, front: Child) -> None:
        assert self._worker is not None
        front.send(["serve", base64.b64encode(pickle.dumps(self._worker.learned)).decode(), self.ledger.limit])
        front.send(["deaths", self._worker.quarantine.ends])
        self._tell(self.ledger.join(front))

    def leave(self) -> None:
        """No front takes requests any more."""
        self._leaving = True
        self._news.set()
        self._all(["leave"])

    async def drain(self, deadline: float) -> None:
        """Until nothing runs in them; what still does at `deadline` (clock.awake) is failed. After `leave`."""
        await self._drained(deadline - awake())
        for front in self.serving:
            if not front.drained.is_set():
                front.send(["fail"])
        await self._drained(CLOSING + 1.0)

    @property
    def serving(self) -> list[Child]:
        """Those that were told to; what has just been started carries nothing."""
        return [front for front in self._fronts if front in self.ledger.held]

    async def _drained(self, patience: float) -> None:
        if waits := [self._spawn(front.drained.wait()) for front in self.serving]:
            await asyncio.wait(waits, timeout=max(0.0, patience))

    async def close(self) -> None:
        """End all of them."""
        self._leaving = self._ending = True
        self._all(["end"])
        fronts = list(self._fronts)
        for front in fronts:
            if not front.up.is_set():  # it loads, or is stuck: there is nothing to finish
                front.process.kill()
        if waits := [self._spawn(front.over.wait()) for front in fronts]:
            await asyncio.wait(waits, timeout=_PARTING)
        for front in fronts:
            if not front.over.is_set():
                front.process.kill()
        await asyncio.to_thread(lambda: [ended(front.process) for front in fronts])
        for task in self._tasks:
            task.cancel()

    # ------------------------------------------------------------ what is said
    def _all(self, message: Message) -> None:
        for front in self._fronts:
            front.send(message)

    def _tell(self, orders: list[Order]) -> None:
        for front, message in orders:
            assert isinstance(front, Child)
            front.send(message)

    def _heard(self, front: Child, message: Message) -> None:
        word, *about = message
        front.heard_at = awake()
        if word in ("begun", "ended"):
            getattr(front.reports, word)(*about)
        elif word in ("ask", "give", "withdraw", "look"):
            self._tell(getattr(self.ledger, word)(front, *about))
        elif word in ("take", "untake", "put"):
            getattr(front.accounts, word)(*about)
        elif word == "figures":
            events, ttfts, age = about
            front.reports.figures(events, ttfts)
            if self._worker is not None:
                self._worker.upstream.last_sign = max(self._worker.upstream.last_sign, awake() - age)
        elif word == "question":
            self._spawn(self._answered(front, *about))
        elif word == "up":
            front.up.set()
            self._news.set()
            if self._worker is not None and not self._leaving:
                self._open(front)
        elif word == "drained":
            front.drained.set()

    async def _answered(self, front: Child, number: int, what: str, about: Any) -> None:
        try:
            front.send(["reply", number, await self._answers[what](about)])
        except Exception:  # a fault of this worker: who asked is told that there is no answer
            utils.log("internal error\n" + traceback.format_exc(), "error")
            front.send(["reply", number, None])

    async def _death(self, about: Any) -> str:
        """The engine died, perhaps of a request: all have heard of it when its front has."""
        if self._worker is not None:
            self._worker.quarantine.note(*about)
            self._all(["deaths", self._worker.quarantine.ends])
        return ""

    def _spawn(self, what: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
