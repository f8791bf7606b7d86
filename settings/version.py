"""Which worker this is, in words: its own version, and the SGLang whose flags it goes by."""

from __future__ import annotations

import os

import utils
from settings import snapshots
from settings.resolved import Settings


def version() -> str:
    """`worker-sglang 1.0.0 (SGLang 0.5.23)`, whatever the other settings are."""
    return sentence(snapshots.at_hand(os.environ)[0]["sglang"])


def sentence(sglang: str) -> str:
    """The same with the version of SGLang that the caller knows."""
    return f"worker-sglang {utils.VERSION} (SGLang {sglang})"


def tell(settings: Settings) -> None:
    """The log's first line, and behind it what is to be said of the settings."""
    utils.log(sentence(settings.telemetry.sglang))
    for level, line in settings.notices:
        utils.log(line, level)
