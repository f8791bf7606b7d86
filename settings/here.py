"""The settings on this very machine: its environment, its GPUs, the flags of its SGLang, the models on its disks."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping

import utils
from settings import config, detection, gpus, interfaces, lora_flags, model_source, snapshots
from settings.flags.values import Snapshot
from settings.resolved import Settings


def resolved(environ: Mapping[str, str]) -> tuple[Settings, Snapshot]:
    """(what `environ` asks for, the flags of the SGLang at hand). Raises ConfigError with every problem at once.
    From here on the log masks the secrets, and has the level."""
    snapshot, lines = snapshots.at_hand(environ)
    asked = config.load(environ, snapshot, gpus.visible(), sys.executable)
    asked = dataclasses.replace(asked, notices=(*lines, *asked.notices))
    if asked.nodes.count > 1:
        leading = interfaces.between(asked.nodes.own)
        asked = dataclasses.replace(asked, nodes=dataclasses.replace(asked.nodes, interface=leading))
    utils.hide(asked.secrets)
    utils.set_log_level(asked.log_level)
    located = detection.checked(model_source.locate(asked, snapshot, environ), snapshot, environ)
    return lora_flags.prepared(located, snapshot), snapshot
