"""The tables of settings in README.md and docs/configuration.md, from what the worker really reads. Pure.

`python -m builder.generate` writes them.
"""

from __future__ import annotations

import json
from typing import Any

from builder import curated
from builder.curated import Field, Form
from settings import listeners
from settings.config import DEFAULT_MODEL, DEFAULTS
from settings.flags import NOT_READ, REFUSED, modes, parsers, variable, variables
from settings.flags.values import Snapshot
from settings.foreign import FOREIGN, Same
from settings.worker_settings import WORKER_SETTINGS, Setting, bounds

_KINDS = {"str": "text", "int": "whole number", "float": "number", "size": "number, or 16k, 16Ki", "json": "JSON",
          "json_list": "JSON list"}
_FEW = 8
_HEAD = ["| Variable | What it does | Values | Default |", "|---|---|---|---|"]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _row(*cells: str) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _allowed(entry: dict[str, Any]) -> str:
    if entry["kind"] in ("switch", "paired"):
        return "true or false"
    choices = entry.get("choices")
    one = ", ".join(map(str, choices)) if choices else _KINDS[entry["type"]]
    return f"list of: {one}" if entry["kind"] == "list" else one


def _some(entry: dict[str, Any]) -> str:
    """The same, of many choices the first; the table of every flag has them all."""
    choices = entry.get("choices") or []
    if len(choices) <= _FEW:
        return _allowed(entry)
    return f"{_allowed({**entry, 'choices': choices[:_FEW - 1]})} … ({len(choices)} in all)"


def _default(flag: str, entry: dict[str, Any]) -> str:
    value = DEFAULTS.get(flag, entry["default"])
    if entry["kind"] == "switch":
        return "false" if not value else "true"
    if value is None or value in ("", [], False) and not isinstance(value, (int, float)):
        return ""
    return json.dumps(value) if isinstance(value, (bool, list, dict)) else str(value)


def _setting(setting: Setting) -> str:
    kinds = {"str": "text", "int": "whole number", "float": "seconds", "megabytes": "megabytes",
             "words": "words, split like a shell", "paths": "paths", "path": "path", "list": "list",
             "listeners": "names of variables", "choice": ", ".join(setting.choices)}
    default = "" if setting.default in (None, ()) else f"{setting.default:g}" if (
        isinstance(setting.default, float)) else str(setting.default)
    return _row(_code(setting.name), setting.help, kinds[setting.type] + bounds(setting), _code(default))


def settings_table() -> list[str]:
    """The worker's own settings."""
    return _HEAD + [_setting(setting) for setting in WORKER_SETTINGS]


def _form_row(field: Field, form: Form, snapshot: Snapshot) -> str:
    if field.key in form.platform:
        return _row(_code(field.key), field.description, form.platform[field.key], _code(field.unset))
    entry = snapshot["flags"].get(variables(snapshot).get(field.key, ""), {"kind": "switch"})
    value = DEFAULT_MODEL if field.key in ("MODEL_NAME", "MODEL_PATH") else curated.default(field.key, snapshot)
    shown = field.unset or _code("" if value is None else json.dumps(value) if isinstance(value, bool) else str(value))
    return _row(_code(field.key), field.description, _some({**entry, "choices": field.options or entry.get("choices")}),
                shown)


def form_table(form: Form, snapshot: Snapshot) -> list[str]:
    """What the Hub's form offers beside the worker's own settings, group by group."""
    lines = []
    for name, fields in form.groups:
        lines += [f"**{name}**", "", *_HEAD, *(_form_row(field, form, snapshot) for field in fields), ""]
    return lines[:-1]


def readme_table(form: Form, snapshot: Snapshot) -> list[str]:
    """What most endpoints use."""
    own = {setting.name: setting for setting in WORKER_SETTINGS}
    return _HEAD + [_form_row(field, form, snapshot) for field in form.fields if field.readme] + [
        _setting(own[name]) for name in form.readme]


def flags_table(snapshot: Snapshot) -> list[str]:
    """Every flag of SGLang, by its variable; the refused ones with the reason."""
    lines = ["| Variable | What SGLang says | Values | Default |", "|---|---|---|---|"]
    for flag, entry in sorted(snapshot["flags"].items()):
        if variable(flag) in NOT_READ:
            continue
        names = ", ".join(_code(variable(name)) for name in entry["names"])
        if flag in REFUSED:
            lines.append(_row(names, f"Refused: {REFUSED[flag]}.", "", ""))
            continue
        says = " ".join(filter(None, [entry["help"], entry.get("deprecated")])) or "(undocumented)"
        if rule := modes.CANNOT.get(flag):
            says = f"{says.rstrip('.')}. {modes.told(rule)}."
        if flag in listeners.LISTENERS:
            says = f"{says.rstrip('.')}. The engine {listeners.LISTENERS[flag][0]}: only with `ALLOWED_LISTENERS`."
        lines.append(_row(names, says, _allowed(parsers.with_none(flag, entry)), _code(_default(flag, entry))))
    return lines


def listeners_table() -> list[str]:
    """What opens the engine beyond loopback, or connects it to other machines."""
    lines = ["| Variable | The engine | Without `ALLOWED_LISTENERS` only |", "|---|---|---|"]
    rows = {variable(flag): row for flag, row in listeners.LISTENERS.items()} | listeners.VARIABLES
    for name, (why, harmless) in sorted(rows.items()):
        lines.append(_row(_code(name), why, ", ".join(map(_code, harmless))))
    return lines


def foreign_table() -> list[str]:
    """The variables of other workers and servers."""
    same: dict[str, list[str]] = {}
    for name, means in FOREIGN.items():
        same.setdefault(f"read as `{means.name}`" if isinstance(means, Same) else means.advice, []).append(name)
    return ["| Variable | Here |", "|---|---|",
            *(_row(", ".join(map(_code, names)), here) for here, names in same.items())]


def readme(form: Form, snapshot: Snapshot) -> str:
    """README.md's block."""
    return "\n".join(readme_table(form, snapshot))


def configuration(form: Form, snapshot: Snapshot) -> str:
    """docs/configuration.md's block."""
    return "\n".join([
        "## Worker settings", "", *settings_table(), "",
        "## The most used flags", "",
        "What the Hub's form offers; its words, and what the worker does where a variable is unset.", "",
        *form_table(form, snapshot), "",
        "## What opens the engine", "",
        "Refused, as a variable, in `SGLANG_EXTRA_ARGS` and in `SGLANG_CONFIG_FILE`, unless it stands in",
        "`ALLOWED_LISTENERS` or names addresses of this machine alone (127.0.0.1, ::1, localhost, `ipc://`):", "",
        *listeners_table(), "",
        "## Variables of other workers", "",
        "What means the same is used where the worker's own variable is unset; each gives one line in the log.", "",
        *foreign_table(), "", f"## Every flag of SGLang {snapshot['sglang']}", "", *flags_table(snapshot)])
