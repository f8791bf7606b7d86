"""Models before which SGLang's detection of parsers ends the server: those with several chat templates, each of a name.

SGLang 0.5.19 and 0.5.23 look for marks in the tokenizer's chat template, and take a table of templates for a text
(sglang: parser/template_detection.py, resolve_auto_parsers; TypeError). Reads files of the model; asks no network.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from settings import flags, hub_cache
from settings.flags.parsers import DETECT, REASONING, TOOLS
from settings.flags.values import Snapshot
from settings.resolved import Settings

# Known for it, where the model is not on this machine yet. Who tunes one of them keeps its name, mostly.
_KNOWN = re.compile(r"hermes|command-(r|a)|c4ai", re.IGNORECASE)


def checked(settings: Settings, snapshot: Snapshot, environ: Mapping[str, str]) -> Settings:
    """`settings` without a detection that would end the server, and with a notice of what is left out."""
    given = flags.Given(list(settings.server_args), snapshot)
    asked = [flag for flag in (TOOLS, REASONING) if given.value(flag) == DETECT]
    if not asked or (given.value("--chat-template") or "").endswith(".jinja"):
        return settings
    # 0.5.19 looks at the model's tokenizer even where another is set.
    names = dict.fromkeys(name for name in (given.value("--tokenizer-path"), given.value("--model-path"),
                                            settings.model) if name)
    here = [folder for name in names for folder in itertools.islice(_folders(name, settings.revision, environ), 1)]
    if not (any(map(several, here)) if here else any(map(_KNOWN.search, names))):
        return settings
    variables = " and ".join(map(flags.variable, asked))
    why = "has" if here else "is of a family that has"
    notice = ("warn", f"{variables}: no parser is detected, for the model {why} several chat templates, over which "
                      "SGLang's detection ends the server; set a parser by name (docs/tools.md)")
    return dataclasses.replace(settings, server_args=tuple(_without(settings.server_args, asked)),
                               notices=(*settings.notices, notice))


def several(folder: Path) -> bool:
    """Whether the tokenizer in `folder` has a table of chat templates, as transformers reads them."""
    if (folder / "chat_template.jinja").exists():
        return (folder / "additional_chat_templates").is_dir()
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and isinstance(config.get("chat_template"), (list, dict))


def _folders(name: str, revision: str | None, environ: Mapping[str, str]) -> Iterator[Path]:
    """Where the tokenizer's files are, the place that counts first."""
    places = [Path(name), *(found.folder for found in hub_cache.snapshots(name, revision, hub_cache.caches(environ))
                            if found.folder)]
    for place in places:
        try:
            if (place / "tokenizer_config.json").exists():
                yield place
        except OSError:  # a name that no file system takes
            continue


def _without(words: Sequence[str], asked: Sequence[str]) -> Iterator[str]:
    skip = False
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if skip:
            skip = False
        elif word in asked and after == DETECT:
            skip = True
        elif word not in [f"{flag}={DETECT}" for flag in asked]:
            yield word
