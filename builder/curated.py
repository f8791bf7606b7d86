"""builder/form.toml, read and checked: the words for settings that no program knows.

Pure but for `read`. Standard library and settings/ only.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from settings import flags
from settings.config import DEFAULTS, known_variables
from settings.flags.values import Snapshot
from settings.worker_settings import WORKER_SETTINGS

FORM = Path(__file__).with_name("form.toml")
_WANTED = {"key", "name", "description"}


class Field(NamedTuple):
    """One field of the form, as form.toml describes it."""

    key: str
    name: str
    description: str
    default: str | None = None
    options: tuple[str, ...] | None = None
    empty: str = "automatic"
    off: str = ""
    unset: str = ""
    shown: bool = False
    readme: bool = False


class Form(NamedTuple):
    """groups: (name, its fields), in the form's order; platform: {variable: "text" or "number"}; hidden, names and
    readme are of the worker's own settings."""

    hub: dict[str, Any]
    groups: tuple[tuple[str, tuple[Field, ...]], ...]
    platform: dict[str, str]
    hidden: tuple[str, ...]
    names: dict[str, str]
    readme: tuple[str, ...]

    @property
    def fields(self) -> tuple[Field, ...]:
        return tuple(field for _, fields in self.groups for field in fields)


def read(path: Path = FORM) -> Form:
    """The file as it stands. Raises ValueError for what is no such file."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    for group in data["group"]:
        for field in group["field"]:
            if wrong := (field.keys() - set(Field._fields)) | (_WANTED - field.keys()):
                raise ValueError(f"{path.name}: {field.get('key')}: {', '.join(sorted(wrong))} is unknown or missing")
    groups = tuple((group["name"], tuple(Field(**{**field, "options": tuple(field["options"]) if "options" in field
                                                  else None}) for field in group["field"]))
                   for group in data["group"])
    settings = data["settings"]
    return Form(data["hub"], groups, data["platform"], tuple(settings["hidden"]), settings["names"],
                tuple(settings["readme"]))


def default(key: str, snapshot: Snapshot) -> Any:
    """What the worker and SGLang do where the variable `key`, a flag, is unset; None for a choice of theirs."""
    flag = flags.variables(snapshot).get(key)
    if flag is None:  # a flag that SGLang dropped and the worker translates
        return False
    value = DEFAULTS.get(flag, snapshot["flags"][flag]["default"])
    return None if value in ("", "{}", [], {}) else value


def problems(form: Form, snapshot: Snapshot) -> list[str]:
    """What the file says that the snapshot and the settings' table do not know, one line each."""
    own = {setting.name for setting in WORKER_SETTINGS}
    keys = [field.key for field in form.fields]
    known = known_variables(snapshot)
    found = [f"{key}: neither SGLang {snapshot['sglang']} nor the worker knows it"
             for key in keys if key not in known and key not in form.platform]
    found += [f"{key} stands there {keys.count(key)} times" for key in sorted(set(keys)) if keys.count(key) > 1]
    found += [f"[platform] {key} is no field" for key in form.platform if key not in keys]
    found += [f"[settings] {part}: the worker has no setting {name}" for part, names in (
        ("hidden", form.hidden), ("names", form.names), ("readme", form.readme)) for name in names if name not in own]
    for field in form.fields:
        flag = flags.variables(snapshot).get(field.key)
        if flag in flags.REFUSED:
            found.append(f"{field.key} is refused by the worker")
        found += _of_options(field, snapshot["flags"].get(flag, {}).get("choices"), default(field.key, snapshot)
                             if field.key not in form.platform else None)
    return found


def _of_options(field: Field, choices: Collection[Any] | None, unset: Any) -> list[str]:
    if field.options is None:
        return []
    wrong = [option for option in field.options if choices and option not in map(str, choices)]
    found = [f"{field.key}: {option} is none of the flag's choices" for option in wrong]
    if isinstance(unset, str) and unset not in field.options:
        found.append(f"{field.key}: the default {json.dumps(unset)} is none of the options")
    return found
