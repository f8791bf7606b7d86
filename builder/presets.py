"""builder/presets.toml, read and checked: what the Hub's form offers ready-made, and docs/presets.md in a table.

A preset of the Hub's format fills in fields of the form and nothing else: no GPU, no number of GPUs, no disk. So its
name says which card it is for, and the table the rest. Pure but for `read` and `configs`. Standard library only.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

PRESETS = Path(__file__).with_name("presets.toml")
CONFIGS = Path(__file__).with_name("configs.json")
CARDS = (24, 48, 80, 141)  # GB, which stand in the names of RunPod's pools


class Preset(NamedTuple):
    """One preset, as presets.toml describes it."""

    name: str
    card: int
    pools: tuple[str, ...]
    requests: int
    disk: int
    about: str
    settings: dict[str, str | int | bool]
    gpus: int = 1
    gated: bool = False

    @property
    def model(self) -> str:
        return str(self.settings["MODEL_NAME"])

    @property
    def context(self) -> int:
        return int(self.settings["CONTEXT_LENGTH"])

    @property
    def title(self) -> str:
        """Its name in the Hub's form."""
        many = f"{self.gpus} x " if self.gpus > 1 else ""
        return f"{self.name} ({many}{self.card} GB{', gated' if self.gated else ''})"


def read(path: Path = PRESETS) -> tuple[Preset, ...]:
    """The file as it stands. Raises TypeError or KeyError for what is no such file."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    return tuple(Preset(**{**preset, "pools": tuple(preset["pools"])}) for preset in data["preset"])


def configs(path: Path = CONFIGS) -> dict[str, dict[str, Any]]:
    """{model: {"config": its config.json as published, as far as its size depends on it; "parameters": as published}}
    """
    found: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def problems(presets: Collection[Preset], fields: Collection[str], models: Collection[str]) -> list[str]:
    """What is wrong with them, one line each. `fields`: variables of the form; `models`: those with a config.json."""
    titles = [preset.title for preset in presets]
    found = [f"{title} is there more than once" for title in sorted(set(titles)) if titles.count(title) > 1]
    for preset in presets:
        found += [f"{preset.title}: {key} is no field of the form" for key in preset.settings if key not in fields]
        found += [f"{preset.title}: {pool} is no pool of {preset.card} GB" for pool in preset.pools
                  if pool.split("_")[1:2] != [str(preset.card)]]
        if preset.model not in models:
            found.append(f"{preset.title}: {preset.model} is not in {CONFIGS.name}")
    return found


def hub(presets: Collection[Preset]) -> list[dict[str, Any]]:
    """hub.json's presets."""
    return [{"name": preset.title, "defaults": dict(preset.settings)} for preset in presets]


def table(presets: Collection[Preset], disk: int) -> str:
    """docs/presets.md's block. disk: GB of a container that the Hub gives by itself."""
    lines = []
    for card in CARDS:
        lines += [f"### {card} GB", "", "| Preset, model | For | GPUs | Context × requests at once | Weights on disk | "
                  "Set besides |", "|---|---|---|---|---|---|"]
        for preset in presets:
            if preset.card != card:
                continue
            rest = {key: value for key, value in preset.settings.items() if key not in ("MODEL_NAME", "CONTEXT_LENGTH")}
            besides = ", ".join(f"`{key}={_text(value)}`" for key, value in rest.items())
            lines.append("| " + " | ".join((
                f"**{preset.name}**{' (gated)' if preset.gated else ''}<br>`{preset.model}`", preset.about,
                f"{preset.gpus} × " + " or ".join(f"`{pool}`" for pool in preset.pools),
                f"{preset.context:,} × {preset.requests}",
                f"{preset.disk} GB" + (": more than the Hub gives" if preset.disk > disk else ""), besides)) + " |")
        lines.append("")
    return "\n".join(lines[:-1])


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
