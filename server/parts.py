"""The parts of a running server without which it does not serve, however long it goes on.

SGLang's server looks after the processes that it spawned itself. With data parallelism its schedulers are the children
of the data parallel controller, which looks after nothing (managers/data_parallel_controller.py): when one is killed
(the kernel's out-of-memory killer), the others go on, half of the health checks pass, and each request that the
controller gives to the lost one waits for ever.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable, Sequence

from server.guard import descendants
from server.tree import Tree

_NAME = "sglang::scheduler"  # as they call themselves (setproctitle)
_ELASTIC = "--elastic-ep-backend"
_LOOK_EVERY = 1.0  # seconds
_OWN_END = 3.0  # seconds that a server gets to end by itself, with its own last words, when it has lost a part


def spared(command: Sequence[str]) -> bool:
    """Whether that server goes on without one of its schedulers, and gives it no more requests: it was told to
    (sglang: managers/data_parallel_controller.py, update_active_ranks)."""
    backend = "none"  # the last that is named counts
    for word, following in zip(command, [*command[1:], ""], strict=True):
        flag, equals, value = word.partition("=")
        if flag == _ELASTIC:
            backend = value if equals else following
    return backend != "none"


def watch(tree: Tree, condemn: Callable[[str], None]) -> None:
    """Call `condemn`, with a headline, in a thread, when a server that is up goes on without a part that it has now."""
    # Looked at here, not in the thread: what is lost before that had its turn would be missed by nobody.
    threading.Thread(target=_watch, args=(Parts(tree.pid), tree, condemn), name="engine-parts", daemon=True).start()


def _watch(parts: Parts, tree: Tree, condemn: Callable[[str], None]) -> None:
    try:
        if name := parts.lost(tree.broken.wait, _OWN_END):
            condemn(f"The SGLang server lost its {name} and was killed")
    finally:
        parts.close()


class Parts:
    """Those of a server at one moment that it does not look after itself. They are held by descriptors, as a process id
    may be used again.

    root: the guard, whose child the server is.
    """

    def __init__(self, root: int):
        self._poller = select.poll()
        self._names: dict[int, str] = {}  # by descriptor
        parents = {pid: _parent(pid) for pid in descendants(root)}
        for pid, parent in parents.items():
            if parents.get(parent, root) == root:
                continue  # the server, or its child
            with contextlib.suppress(OSError, AttributeError):
                name = _name(pid)
                # A scheduler's own helpers have its name while they are its forks, and may end.
                if name.startswith(_NAME) and not _name(parent).startswith(_NAME):
                    descriptor = os.pidfd_open(pid)
                    self._names[descriptor] = f"{name.removeprefix('sglang::')} (process {pid})"
                    self._poller.register(descriptor, select.POLLIN)

    @property
    def names(self) -> list[str]:
        return sorted(self._names.values())

    def close(self) -> None:
        while self._names:
            os.close(self._names.popitem()[0])

    def lost(self, over: Callable[[float], bool], grace: float) -> str | None:
        """Wait until one ends and the server has not ended within `grace` seconds of it: that one's name.

        over(seconds): waits so long for the server's end, and returns whether it has ended. None when it has; at once
        where nothing can be watched.
        """
        if not self._names:
            return None
        while True:
            if ended := self._poller.poll(_LOOK_EVERY * 1000):
                return None if over(grace) else self._names[ended[0][0]]
            if over(0):
                return None


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/stat", "rb") as f:
        return int(f.read().rpartition(b")")[2].split()[1])
    return 0


def _name(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline", "rb") as f:
        return f.read().decode(errors="replace").split("\0")[0].strip()
