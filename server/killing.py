"""The end of a tree of processes by force, and how long that may take."""

from __future__ import annotations

import threading

from clock import awake
from server.tree import Tree

# From the order to kill to the last process's end. Giving back a large GPU's memory takes seconds; what is still there
# after this hangs in the driver, and only a new container helps.
_DEATH = 15.0
_ORDER_EVERY = 0.5  # seconds between two orders to kill


class Killing:
    """Of one tree, from now on. changed: set when something happened to it or somebody wants something of its owner."""

    def __init__(self, tree: Tree, changed: threading.Event):
        self._tree, self._changed, self.limit = tree, changed, _DEATH
        self._until = awake() + _DEATH

    @property
    def late(self) -> bool:
        """It has had `limit` seconds to die."""
        return awake() >= self._until

    def order(self) -> None:
        """The order to kill, and a while to obey it. More than once: a guard that has only begun does not hear it where
        the worker was started with that signal ignored, as a shell starts what runs in the background."""
        self._tree.kill()
        left = 0.0 if self._tree.gone.is_set() else min(_ORDER_EVERY, self._until - awake())
        self._changed.wait(max(0.0, left))
