"""The pings of the SDK: that the platform takes them, and that they go on.

The SDK's Heartbeat (runpod/serverless/modules/rp_ping.py) sends them from a process of its own, every ten seconds, and
each names all running jobs in its address. It says nothing when the platform refuses one, and nothing looks after its
process. A worker that is not heard of is taken for dead, with all its jobs.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any
from urllib.parse import quote_plus

from runpod.serverless.modules.rp_logger import RunPodLogger

from clock import awake, thaws
from front.queue.serve import NAMED_IN_A_PING
from utils import log

FITS = 7_000  # bytes of an address that all of them take
_TOO_LONG, _PERHAPS = (414, 431), (400, 413)  # what is answered to a long address: for certain, and among others
_ELSE = 120  # bytes of an address that are no ids: more than the SDK adds to RUNPOD_WEBHOOK_PING
# A process of pings that gets nothing done in so many intervals and seconds hangs. The SDK gives each ping eight
# intervals in four attempts, with pauses of 14 s.
_HUNG_INTERVALS, _HUNG_SECONDS = 12, 20.0

_log = RunPodLogger()


class _Named:
    """In place of the SDK's mirror: the jobs that one ping names, separated by commas, or None."""

    def __init__(self, ids: str | None):
        self._ids = ids

    def get(self) -> str | None:
        return self._ids


class Pings:
    """The pings of one Heartbeat: what `send`, the SDK's own, sends, as long as the platform takes it.

    An address with all jobs in it is what RunPod's SDK sends, so it is sent, however long, until the platform refuses
    one for its length: a worker without pings would be taken for dead. From then on several pings name all jobs
    between them, one right after the other. What RunPod makes of a ping that names some is not documented. Each job is
    named once an interval, as ever, but the last ping does not name all.
    """

    def __init__(self, heartbeat: Any, send: Callable[[Any], None]):
        self._of, self._send = heartbeat, send
        self._thaws = thaws()
        self._longest: int | None = None  # bytes of an address; None while none was too long
        self._doubts = 0  # long ones in a row that failed otherwise, where short ones did not
        self._said: set[int] = set()
        self._status = 0
        heartbeat._session.hooks["response"].append(self._answered)

    def __call__(self) -> None:
        """Name what runs."""
        if self._thaws != (now := thaws()):
            # On a connection that has vanished it would wait for twice its interval before it makes another. This only
            # drops what is open; the next request opens another.
            self._of._session.close()
        self._thaws = now
        mirror = self._of._mirror
        ids = mirror.get() if mirror is not None else None
        try:
            for part in self._parts(ids, self._longest):
                self._name(part)
        finally:
            self._of._mirror = mirror

    def _answered(self, response: Any, **_: Any) -> None:
        self._status = response.status_code

    def _name(self, ids: str | None) -> bool:
        """Whether the platform took a ping with these, or those that took its place."""
        self._status, self._of._mirror = 0, _Named(ids)
        self._send(self._of)
        status, size = self._status, self._size(ids)  # the status is 0 when there was no answer; the SDK logs that
        if 0 < status < 400:
            if size > FITS:
                self._doubts = 0
            return True
        certain = status in _TOO_LONG
        if "," not in (ids or "") or not (certain or size > FITS and status in (0, *_PERHAPS)):
            if status and status not in self._said:
                self._said.add(status)
                _log.error(f"The platform refused a ping with status {status}: while it takes none it may take the "
                           "worker for dead, and give its jobs to others. Said once; the pings go on.")
            return False
        limit = FITS if size > FITS else size // 2
        taken = all([self._name(part) for part in self._parts(ids, limit)])
        self._doubts += taken
        if certain or taken and (status or self._doubts > 1):
            self._learn(size, status, limit)
        return taken

    def _learn(self, size: int, status: int, limit: int) -> None:
        if self._longest is not None and self._longest <= limit:
            return
        self._longest = limit
        answer = f"with status {status}" if status else "without an answer, twice"
        _log.warn(f"The platform refused a ping with an address of {size} bytes {answer}. From now on several pings of "
                  f"at most {limit} bytes name the running jobs, one right after the other. Whether RunPod counts a "
                  "job as running that a ping does not name is not documented: when jobs come back or are done twice, "
                  f"set MAX_CONCURRENCY={NAMED_IN_A_PING} or less.")

    def _size(self, ids: str | None) -> int:
        """Bytes of the address, or a few less than this."""
        return len(self._of.PING_URL) + _ELSE + len(quote_plus(ids or ""))

    def _parts(self, ids: str | None, longest: int | None) -> Iterator[str | None]:
        """`ids` in as few parts as have addresses of at most `longest` bytes, none of which is empty."""
        if ids is None or longest is None:
            yield ids
            return
        part: list[str] = []
        size = empty = self._size(None)
        for one in ids.split(","):
            more = len(quote_plus(f",{one}"))
            if part and size + more > longest:
                yield ",".join(part)
                part, size = [], empty
            part.append(one)
            size += more
        yield ",".join(part)


class Keeper:
    """Has the pings go on, from a thread of the worker's own process, when the SDK's process of them ends or hangs.

    sent: a counter that moves with each ping. Threads of this one are daemons; `over` ends its watch.
    """

    def __init__(self, sent: Any):
        self._sent, self.over = sent, threading.Event()

    def watch(self, process: BaseProcess, interval: float, otherwise: Callable[[], None]) -> None:
        """Return when `over` is set; `otherwise` sends pings, for ever, once `process` does not."""
        reason = self._end(process, interval)
        while not self.over.is_set():
            log(f"the process of the SDK's pings {reason}: a thread of the worker sends them from now on", "error")
            try:
                otherwise()
                return
            except Exception as error:  # whatever it was, the platform has to hear of the worker
                reason = f"is gone, and its successor failed ({type(error).__name__})"
                self.over.wait(interval)

    def _end(self, process: BaseProcess, interval: float) -> str:
        seen, since = self._sent.value, awake()
        while not self.over.is_set():
            if wait([process.sentinel], interval):
                process.join(interval)
                return f"ended with status {process.exitcode}"
            if seen != self._sent.value:
                seen, since = self._sent.value, awake()
            elif awake() - since > _HUNG_INTERVALS * interval + _HUNG_SECONDS:
                process.kill()
                process.join(interval)
                return f"hung for {awake() - since:.0f} s and was killed"
        return "is no longer needed"


def mend(heartbeat: Any) -> Keeper:
    """Have the SDK's class of pings, `heartbeat`, send and keep them as above. Before its start."""
    begin, send = heartbeat.start_ping, heartbeat._send_ping
    sent = multiprocessing.Value("Q", 0, lock=False)  # or a killed process would keep the lock
    keeper = Keeper(sent)

    def counted(self: Any) -> None:
        send(self)
        sent.value += 1

    def send_ping(self: Any) -> None:
        if "_pings" not in vars(self):
            self._pings = Pings(self, counted)
        self._pings()

    def start_ping(self: Any, mirror: Any = None, test: bool = False) -> None:
        before = set(multiprocessing.active_children())
        begin(self, mirror, test)
        for process in set(multiprocessing.active_children()) - before:
            threading.Thread(target=keeper.watch, name="pings", daemon=True, args=(
                process, max(1, self.PING_INTERVAL), lambda: heartbeat.process_loop(mirror, test))).start()

    heartbeat._send_ping, heartbeat.start_ping = send_ping, start_ping
    return keeper
