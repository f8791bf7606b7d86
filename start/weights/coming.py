"""How the weights of one worker's server come: read ahead or unpacked, at its first start and at those in place."""

from __future__ import annotations

from typing import Any

import utils
from settings.flags.values import Snapshot
from settings.resolved import Settings
from start.start_report import Timeline
from start.weights import files, room
from start.weights.packed import copies
from start.weights.packed.supply import Supply
from start.weights.read_ahead import Plan, ReadAhead


class Coming:
    """Its methods are called in the order in which they stand here; `again` before every start but the first, `hear`
    during each.

    settings, snapshot: the server's; volume: where a network volume is mounted.
    """

    def __init__(self, settings: Settings, snapshot: Snapshot, volume: str):
        self._settings, self._snapshot, self._volume = settings, snapshot, volume
        self._python_path = ""
        self._supply: Supply | None = None
        self._ahead: ReadAhead | None = None  # of the newest start for which anything was read
        self._hearing: ReadAhead | None = None  # the same, while that start is under way

    def environ(self, environ: dict[str, str]) -> dict[str, str]:
        """The server's environment, in which it asks for what is unpacked, where there may be any."""
        wanted = self._settings.start
        if not wanted.read_ahead:
            return environ
        self._python_path = environ.get("PYTHONPATH", "")
        place = copies.place(wanted.packed_dir, self._volume) if wanted.packed != "off" else None
        if place and files.opened_by_safetensors(self._settings.server_args, self._snapshot):
            stays = files.stay_in_memory(self._settings.server_args, self._snapshot)
            self._supply = Supply(place, wanted.packed, room.cores(), stays=stays)
            environ = self._supply.environ(environ)
        self._ahead = self._hearing = ReadAhead(self._plan, packed=self._supply)
        return environ

    def _plan(self) -> Plan:
        found = files.of(self._settings.server_args, self._snapshot)
        return Plan(found, files.beside_libraries(found, self._settings.launch_command, self._python_path))

    def begin(self) -> None:
        """The server was started, for the first time."""
        if self._ahead:
            self._ahead.begin()

    def again(self) -> None:
        """The server is about to be started in place: it finds in the page cache what the start before read into that,
        and nothing of what was unpacked for it.

        A start that ended before it had loaded may have ended of what was unpacked, by its memory or by waiting for it.
        """
        before, self._hearing = self._ahead, None
        if before and before.unpacked:
            loaded = before.over
            before.kill()
            if not loaded:
                utils.log("weights: the start before ended while packed copies were unpacked: this one reads the files "
                          "themselves", "warn")
            self._ahead = self._hearing = ReadAhead(self._plan, packed=self._supply if loaded else None)
            self._ahead.begin()

    def hear(self, timeline: Timeline) -> None:
        """The server has come further, as far as `timeline` says."""
        if self._hearing:
            self._hearing.hear(timeline)

    def ready(self) -> None:
        """The server has loaded. Returns at once."""
        if self._ahead:
            self._ahead.end()

    def keep(self) -> None:
        """Make what another start can unpack, if that is wanted, in the background."""
        if self._supply:
            found, beside_libraries = self._plan()
            self._supply.keep([] if beside_libraries else found)

    def close(self) -> None:
        """The worker ends, or has no server. Returns at once."""
        if self._ahead:
            self._ahead.kill()
        if self._supply:
            self._supply.close()

    @property
    def span(self) -> tuple[float, float] | None:
        """clock.awake at which the reading began and ended."""
        return self._ahead.span if self._ahead else None

    @property
    def facts(self) -> dict[str, Any]:
        """For the start report."""
        return self._ahead.facts if self._ahead else {}
