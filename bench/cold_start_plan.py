"""The starts of a cold-start benchmark, one after another, and the folders that each of them finds."""

from __future__ import annotations

import os
import shutil
import site
from pathlib import Path
from typing import NamedTuple

from bench import slow_volume

PROFILES = ("default", "fast")
NONE, RESTORED, IN_PLACE = "none", "restored", "in place"
COLD, WARM = "cold", "warm"


class Start(NamedTuple):
    """One start. kernels: NONE, RESTORED or IN_PLACE; alone: the server's command without a worker; weights: COLD, WARM
    (in the page cache), or "" where nobody looks; bytecode: whether SGLang has any when it begins."""

    profile: str
    kernels: str
    head_start: str
    alone: bool = False
    weights: str = ""
    read_ahead: str = "auto"
    bytecode: bool = True

    @property
    def name(self) -> str:
        ahead = "" if self.read_ahead == "auto" else ", not read ahead"
        ahead += "" if self.bytecode else ", no bytecode of SGLang"
        return (f"{'server' if self.alone else 'worker'}, {self.profile}, kernels {self.kernels}"
                f"{f', weights {self.weights}{ahead}' if self.weights else ''}")


# What --rows names: how the kernels and the weights of a start come, whether these are read ahead, and bytecode.
ROWS = {"none": (NONE, WARM, "auto", True), "bare": (RESTORED, COLD, "off", False),
        "off": (RESTORED, COLD, "off", True), "ahead": (RESTORED, COLD, "auto", True),
        "warm-off": (RESTORED, WARM, "off", True), "warm": (RESTORED, WARM, "auto", True)}


def plan_of_weights(profiles: list[str], head_start: str, rows: list[str]) -> list[Start]:
    """Of each profile the rows of ROWS that are named, in their order; "fast:ahead" is a row of that profile alone.

    Raises ValueError for a row that there is none of.
    """
    starts = []
    for profile in profiles:
        for text in rows:
            own, colon, name = text.rpartition(":")
            if name not in ROWS or colon and own not in PROFILES:
                raise ValueError(f"no such row: {text}")
            kernels, weights, ahead, bytecode = ROWS[name]
            starts.append(Start(own or profile, kernels, head_start, False, weights, ahead, bytecode))
    return list(dict.fromkeys(starts))


def plan(profiles: list[str], head_start: str, alone: list[str]) -> list[Start]:
    """alone: the profiles for which the server is also started without a worker. Starts that are compared with each
    other are neighbours: first those with nothing compiled."""
    starts = [Start(profile, NONE, head_start) for profile in profiles]
    for profile in profiles:
        starts.append(Start(profile, RESTORED, head_start))
        if profile in alone:
            starts += [Start(profile, IN_PLACE, "off", alone=True), Start(profile, IN_PLACE, "off")]
    return starts


class Container:
    """The folders that starts see: a home that a new container would have, and a volume that outlives it.

    The home has the same path each time, as in containers of one image: compilers write paths into what they keep.
    """

    def __init__(self, folder: Path, model: Path | None = None):
        self._home, self._volumes, self._model = folder / "home", folder / "volumes", model
        self._name = folder / "model"
        if model:
            # One path for the model wherever it lies: it is a part of the key of the kernels.
            self._name.unlink(missing_ok=True)
            self._name.symlink_to(model)

    def environ(self, start: Start) -> dict[str, str]:
        # Where weights are compared, all profiles have one archive, as they have on an endpoint.
        volume = self._volumes / ("all" if self._model else start.profile)
        if start.kernels == NONE:
            shutil.rmtree(volume, ignore_errors=True)
        if start.kernels != IN_PLACE:
            shutil.rmtree(self._home, ignore_errors=True)
        for one in (self._home, volume):
            one.mkdir(parents=True, exist_ok=True)
        models = os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface")
        return {"HOME": str(self._home), "XDG_CACHE_HOME": str(self._home / ".cache"), "HF_HOME": models,
                "PYTHONUSERBASE": site.getuserbase(), "COMPILE_CACHE_DIR": str(volume),
                "START_PROFILE": start.profile, "HEAD_START": start.head_start, "READ_AHEAD": start.read_ahead,
                **({"MODEL_NAME": str(self._name)} if self._model else {})}

    def settle(self, start: Start, everything: bool, bare: Path | None) -> None:
        """Pages and bytecode as this start is to find them. everything: forget more than the weights; bare: the folder
        whose bytecode goes for a start without."""
        if not start.bytecode and bare:
            for folder in list(bare.rglob("__pycache__")):
                shutil.rmtree(folder)
        if self._model and start.weights:
            slow_volume.forget(self._model, everything)
            if start.weights == WARM:
                slow_volume.remember(self._model)
