"""The starts of a cold-start benchmark, one after another, and the folders that each of them finds."""

from __future__ import annotations

import os
import shutil
import site
from pathlib import Path
from typing import Any, NamedTuple

from bench import slow_volume
from start.weights.packed import packer

PROFILES = ("default", "fast")
NONE, RESTORED, IN_PLACE = "none", "restored", "in place"
COLD, WARM = "cold", "warm"


class Start(NamedTuple):
    """One start. kernels: NONE, RESTORED or IN_PLACE; alone: the server's command without a worker; weights: COLD, WARM
    (in the page cache), or "" where nobody looks; bytecode: whether SGLang has any when it begins; packed: whether the
    weights are unpacked from copies that were made before."""

    profile: str
    kernels: str
    head_start: str
    alone: bool = False
    weights: str = ""
    read_ahead: str = "auto"
    bytecode: bool = True
    packed: bool = False

    @property
    def name(self) -> str:
        ahead = "" if self.read_ahead == "auto" else ", not read ahead"
        ahead += ", packed" if self.packed else ""
        ahead += "" if self.bytecode else ", no bytecode of SGLang"
        return (f"{'server' if self.alone else 'worker'}, {self.profile}, kernels {self.kernels}"
                f"{f', weights {self.weights}{ahead}' if self.weights else ''}")


# What --rows names: how the kernels and the weights of a start come, whether these are read ahead, bytecode, and
# whether packed copies are there.
ROWS = {"none": (NONE, WARM, "auto", True, False), "bare": (RESTORED, COLD, "off", False, False),
        "off": (RESTORED, COLD, "off", True, False), "ahead": (RESTORED, COLD, "auto", True, False),
        "packed": (RESTORED, COLD, "auto", True, True), "warm-off": (RESTORED, WARM, "off", True, False),
        "warm": (RESTORED, WARM, "auto", True, False), "warm-packed": (RESTORED, WARM, "auto", True, True)}


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
            kernels, weights, *more = ROWS[name]
            starts.append(Start(own or profile, kernels, head_start, False, weights, *more))
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
        self.packed = (model or folder).with_name("packed")  # beside the model, on its volume
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
                "PACKED_WEIGHTS": "on" if start.packed else "off", "PACKED_WEIGHTS_DIR": str(self.packed),
                **({"MODEL_NAME": str(self._name)} if self._model else {})}

    def pack(self, processes: int) -> dict[str, Any]:
        """Make packed copies of the model's weights; what packer.pack_all says of them."""
        files = [os.path.realpath(path) for path in sorted(self._model.glob("*.safetensors"))] if self._model else []
        return packer.pack_all(files, str(self.packed), processes)

    def settle(self, start: Start, everything: bool, bare: Path | None) -> None:
        """Pages and bytecode as this start is to find them. everything: forget more than the weights; bare: the folder
        whose bytecode goes for a start without."""
        if not start.bytecode and bare:
            for folder in list(bare.rglob("__pycache__")):
                shutil.rmtree(folder)
        if self._model and start.weights:
            for folder in (self._model, self.packed):
                slow_volume.forget(folder, everything)
            if start.weights == WARM:
                slow_volume.remember(self._model)
