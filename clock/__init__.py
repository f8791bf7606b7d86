"""Time that leaves out what the worker was frozen. In: the machine's clocks. Out: `awake`, seconds by which whoever
waits waits; `thaws` and `listen`, by which a thaw is heard of. May import: utils."""

from clock.reading import BEAT, LONGEST, Clock, awake, listen, thaws

__all__ = ["BEAT", "LONGEST", "Clock", "awake", "listen", "thaws"]
