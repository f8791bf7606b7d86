"""Server flags that a start profile adds, each only where the user decided nothing of the kind himself. Pure."""

from __future__ import annotations

from typing import NamedTuple

from settings.flags import Given
from settings.flags.values import Notice, Snapshot


class Choice(NamedTuple):
    """words: the arguments, the flag first; unless: other flags by which a user may have decided the same."""

    words: tuple[str, ...]
    unless: tuple[str, ...] = ()


# The last five are those of 0.5.19.
_GRAPHS = ("--disable-cuda-graph", "--cuda-graph-config", "--disable-piecewise-cuda-graph",
           "--enforce-piecewise-cuda-graph", "--piecewise-cuda-graph-tokens", "--piecewise-cuda-graph-max-tokens",
           "--enable-breakable-cuda-graph")
# A quick first token for steady speed.
FAST = (
    # The worker's own warm-up follows, on the paths that jobs take; the server's waits a second before it asks.
    Choice(("--skip-server-warmup",), ("--warmups",)),
    Choice(("--disable-prefill-cuda-graph",),
           (*_GRAPHS, "--cuda-graph-backend-prefill", "--cuda-graph-bs-prefill", "--cuda-graph-max-bs-prefill",
            "--cuda-graph-max-seq-len-prefill", "--cuda-graph-prefill-max-context")),
    Choice(("--disable-flashinfer-autotune",), ("--flashinfer-autotune-skip-ops",)),
)
PROFILES: dict[str, tuple[Choice, ...]] = {"default": (), "fast": FAST}


def arguments(profile: str, given: Given, snapshot: Snapshot, config_file: bool) -> tuple[list[str], list[Notice]]:
    """(arguments, notices) that `profile` adds to what is `given`."""
    if not PROFILES[profile]:
        return [], []
    if config_file:
        # Arguments win over the file, where the user may have decided.
        return [], [("warn", f"START_PROFILE={profile} adds nothing beside SGLANG_CONFIG_FILE")]
    chosen = [choice.words for choice in PROFILES[profile] if choice.words[0] in snapshot["flags"]
              and not any(flag in given for flag in (choice.words[0], *choice.unless))]
    words = [word for words in chosen for word in words]
    return words, [("info", f"START_PROFILE={profile}: " + (f"added {' '.join(words)}" if words else
                    "nothing to add, all of it was decided by other settings"))]
