"""Signs of life: a server that is up and gives none for too long is condemned, as one that hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable

import utils
from clock import awake
from server.record import Record
from server.restarts import Silence

_EVERY, _TIMEOUT = 10.0, 20.0  # seconds


def watch(record: Record, hang: float, is_alive: Callable[[float], bool], last_sign: Callable[[], float],
          condemn: Callable[[int, str], None]) -> None:
    """From now on, in a thread, until there is no further server: call `condemn`, with a life and a headline, when that
    one gave no sign for `hang` seconds. is_alive(timeout in seconds) asks it; last_sign(): see supervisor.py."""
    threading.Thread(target=_watch, args=(record, hang, is_alive, last_sign, condemn), name="engine-probe",
                     daemon=True).start()


def _watch(record: Record, hang: float, is_alive: Callable[[float], bool], last_sign: Callable[[], float],
           condemn: Callable[[int, str], None]) -> None:
    silence = Silence(hang)
    while not record.over(min(_EVERY, hang / 4)):
        life, asked = record.life, awake()
        if not record.up or is_alive(min(_TIMEOUT, hang / 2)) or not record.up or record.life != life:
            silence.broken()
        elif silence.lasts(asked, last_sign(), awake()):
            utils.log(f"the engine gave no sign of life for {hang:.0f} s (SGLANG_HANG_TIMEOUT): it is killed", "error")
            silence.broken()
            condemn(life, "The SGLang server hung and was killed")
