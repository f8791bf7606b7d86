"""The one owner of the server: starts it, waits until it is ready, restarts it when it dies or hangs, stops it.

One thread makes every change of state, in the order of states.py; all others only ask for something or look. It runs
beside the event loop that carries the jobs, and begins long before there is one: a busy loop must not hide a dead
engine, and everything slow in the worker's own start happens while the server loads.

What it is at the moment stands in record.py; probe.py and parts.py find out that one which is up has to go.

Invariants:
- `state` changes only in `_enter`, by the owner's thread once that runs.
- UP means that the server of this very life answered: its port was free before it was started.
- No server is started once a stop was asked for.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence

import utils
from clock import awake
from server import parts, probe
from server.killing import Killing
from server.orders import Orders
from server.processes import port_is_free
from server.record import Record
from server.restarts import Patience, Restarts
from server.states import FINAL, Event, State
from server.tree import EngineError, Tree

_POLL_FIRST, _POLL_LAST, _POLL_GROWTH = 0.05, 0.5, 1.3  # seconds, seconds, factor


class Supervisor(Record):
    """Owns every life of one server; `start` it once.

    port: the one it listens on; is_ready() and is_alive(timeout in seconds) ask it; explain(headline, tree) makes a
    report; listen(): called once per start, gives what is called with each line and the seconds since the start, and
    says whether readiness is due; last_sign(): when any job last heard from it (clock.awake); on_restarted: called
    with the seconds that a restart took; on_give_up: called with the reason, once, when a server that was up will
    not be again; orders: of whoever says when a server is started or ended, where it is one of several nodes'.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], port: int, patience: Patience, *,
                 is_ready: Callable[[], bool], is_alive: Callable[[float], bool],
                 explain: Callable[[str, Tree], str], listen: Callable[[], Callable[[str, float], bool]],
                 orders: Orders | None = None):
        super().__init__()
        self.command, self.environ, self.port, self.patience = list(command), dict(environ), port, patience
        self.tree: Tree | None = None
        self.last_sign: Callable[[], float] = lambda: 0.0
        self.on_restarted: Callable[[float], None] = lambda after: utils.log(f"restarted: ready after {after:.1f} s")
        self.on_give_up: Callable[[str], None] = lambda reason: utils.log(reason, "error")
        self._is_ready, self._is_alive, self._explain, self._listen = is_ready, is_alive, explain, listen
        self._wake = threading.Event()
        self._stop_at: float | None = None  # clock.awake after which what is left is killed
        self._doomed = (0, "")              # the life that is to be killed, and the headline of the report on it
        self._headline = self._footer = ""  # of the report on the next death
        self.reason = ""                    # that report, or why there is no further start
        self._restarts = Restarts(patience.restarts, patience.window)
        self.orders = orders

    # ------------------------------------------------------------ what others ask for
    def start(self) -> None:
        """Start the first server, now or when the orders allow it; returns at once. Raises EngineError when that is
        impossible."""
        if self.state is not State.NEW:
            raise EngineError("The server was started already.")
        if self.orders is not None:
            self.orders.wake = self._wake.set
            self._enter(Event.EXPECT)
        else:
            self._spawn()
            self._enter(Event.START)
        threading.Thread(target=self._run, name="engine-owner", daemon=True).start()

    def wait_ready(self) -> float:
        """Block until the first server is ready. Returns the seconds since its start; raises EngineError when it is
        not going to be."""
        with self._changed:
            self._changed.wait_for(lambda: self.was_up or self.state in FINAL)
            if not self.was_up:
                raise EngineError(self.reason or "The worker is stopping.")
            assert self.tree is not None
            return awake() - self.tree.started_at

    def stop(self, grace: float) -> int | None:
        """End the server for good: an order to end, and after `grace` seconds a kill. Returns its exit status, None
        when there never was one. From any thread but the owner's, and more than once."""
        deadline = awake() + grace
        with self._changed:
            if self.state is State.NEW:
                return None
            first, self._stop_at = self._stop_at is None, min(deadline, self._stop_at or deadline)
            tree = self.tree
        if first and tree is not None and grace > 0:
            tree.terminate()
        elif tree is not None and grace <= 0:
            tree.kill()
        self._wake.set()
        self.over()
        return self.tree.returncode if self.tree else None

    # ------------------------------------------------------------ the owner's thread
    def _run(self) -> None:
        if self.patience.hang:
            probe.watch(self, self.patience.hang, self._is_alive, lambda: self.last_sign(), self._condemn)
        waits = {State.STARTING: self._until_ready, State.RESTARTING: self._until_ready, State.UP: self._while_up,
                 State.DYING: self._until_dead, State.WAITING: self._before_the_next, State.STOPPING: self._to_the_end}
        while self.state not in FINAL:
            self._enter(waits[self.state]())
        if self.state is State.GIVEN_UP and self.was_up:
            self.on_give_up(self.reason)

    def _enter(self, event: Event) -> None:
        before = self.state
        if event is Event.READY:
            self._restarts.succeeded()
        self.enter(event, (self.tree.ending or "") if event is Event.GONE and self.tree is not None else None)
        if self.orders is not None:
            self.orders.tell(event, self.reason)
        if before is State.RESTARTING and event is Event.READY and self.tree is not None:
            self.on_restarted(awake() - self.tree.started_at)

    def _spawn(self) -> None:
        if not port_is_free(self.port):
            # SGLang itself finds that out only after it has loaded the model.
            raise EngineError(f"Port {self.port} is taken by another process.\nSet SGLANG_PORT to a free port.")
        due = self._listen()

        def on_line(line: str, at: float) -> None:
            if due(line, at):
                self._wake.set()  # readiness is due now, not at the next poll

        with self._changed:
            if self._stop_at is not None:
                raise EngineError("The worker is stopping.")
            try:
                self.tree = Tree(self.command, self.environ, on_line=on_line, on_change=self._wake.set)
            except OSError as error:
                raise EngineError(f"The server cannot be started: {error}") from error
            self.life += 1

    def _until_ready(self) -> Event:
        tree, interval = self._tree, _POLL_FIRST
        while True:
            self._wake.clear()
            deadline = tree.started_at + self.patience.startup
            if self._stop_at is not None:
                return Event.STOP
            if tree.broken.is_set():
                self._headline = "The SGLang server ended before it was ready"
                return Event.BROKE
            if self._called():
                return Event.CALLED
            if self._is_ready() and not tree.broken.is_set():
                return Event.READY
            if awake() >= deadline:
                self._headline = f"The SGLang server was not ready after {self.patience.startup:.0f} s"
                self._footer = "\nA large model may need more: raise SGLANG_STARTUP_TIMEOUT (seconds)."
                return Event.LATE
            self._wake.wait(min(interval, max(0.0, deadline - awake())))
            interval = min(interval * _POLL_GROWTH, _POLL_LAST)

    def _while_up(self) -> Event:
        if not parts.spared(self.command):
            parts.watch(self._tree, functools.partial(self._condemn, self.life))
        while True:
            self._wake.clear()
            if self._stop_at is not None:
                return Event.STOP
            if self._tree.broken.is_set():
                self._headline = "The SGLang server ended"
                return Event.BROKE
            if self._doomed[0] == self.life:
                self._headline = self._doomed[1]
                return Event.HUNG
            if self._called():
                return Event.CALLED
            self._wake.wait()

    def _called(self) -> bool:
        why = self.orders.doomed() if self.orders is not None else ""
        if why:
            self._headline = f"The SGLang server was ended with those of the other nodes: {why}"
        return bool(why)

    def _until_dead(self) -> Event:
        tree, killing = self._tree, Killing(self._tree, self._wake)
        while not tree.gone.is_set():
            self._wake.clear()
            if self._stop_at is not None:
                return Event.STOP
            if killing.late:
                return self._stuck(killing)
            killing.order()
        ordered = self.orders is not None and self.orders.obeyed
        explained = self._headline if ordered else self._explain(self._headline, tree)
        self.reason, self._footer = explained + self._footer, ""
        return Event.GONE

    def _stuck(self, killing: Killing) -> Event:
        self._tree.abandon()
        self.reason = (f"The engine's processes did not end within {killing.limit:.0f} s of being killed (one may hang "
                       "in the GPU's driver): the worker ends.")
        return Event.STUCK

    def _before_the_next(self) -> Event:
        if self.orders is not None:
            return self._as_ordered(self.orders)
        if not self.was_up:
            return Event.SPENT
        utils.log(self.reason, "error")
        began, restarts = awake(), self._restarts
        pause = restarts.take(began)
        if pause is None:
            self.reason = (f"The engine died again after {restarts.recent} restarts within {restarts.window:.0f} s "
                           "(SGLANG_MAX_RESTARTS): the worker ends.")
            return Event.SPENT
        while (left := began + pause - awake()) > 0:
            self._wake.clear()
            if self._stop_at is not None:
                return Event.STOP
            self._wake.wait(left)
        utils.log(f"restarting the engine ({restarts.recent} of at most {restarts.most} within "
                  f"{restarts.window:.0f} s, {self.life} in all)", "warn")
        return self._next()

    def _as_ordered(self, orders: Orders) -> Event:
        while True:
            self._wake.clear()
            if self._stop_at is not None:
                return Event.STOP
            if orders.over:
                self.reason = orders.over
                return Event.SPENT
            if orders.begin():
                break
            self._wake.wait()
        return self._next()

    def _next(self) -> Event:
        try:
            self._spawn()
        except EngineError as error:
            if self._stop_at is not None:
                return Event.STOP
            self.reason = str(error)
            return Event.REFUSED
        return Event.AGAIN if self.was_up or self.orders is None else Event.START

    def _to_the_end(self) -> Event:
        if self.tree is None:  # told to stop before any was allowed
            return Event.GONE
        tree, killing = self._tree, None
        while not tree.gone.is_set():
            self._wake.clear()
            left = (self._stop_at or 0.0) - awake()
            if killing is None and left <= 0:
                killing = Killing(tree, self._wake)
            if killing is None:
                self._wake.wait(0 if tree.gone.is_set() else left)
            elif killing.late:
                return self._stuck(killing)
            else:
                killing.order()
        self.reason = self.reason or self._explain("The SGLang server was stopped", tree)
        return Event.GONE

    @property
    def _tree(self) -> Tree:
        assert self.tree is not None
        return self.tree

    # ------------------------------------------------------------ of the threads that watch one that is up
    def _condemn(self, life: int, headline: str) -> None:
        self._doomed = life, headline
        self._wake.set()
