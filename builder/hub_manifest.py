"""The worker's page in RunPod's Hub, .runpod/hub.json: its form, its presets, where it may run. Pure.

The form's fields come from three places, so that it cannot promise what the worker does not take: builder/form.toml
(what a user is likely to set, and the words for it), the flag snapshot (type, choices and default of each flag) and the
worker's own settings; its presets from builder/presets.toml. Every other flag of SGLang works as an environment
variable too and needs no field here. The format is that of the Hub's publishing guide, which
tests/unit/builder/hub.schema.json has as a schema.

`python -m builder.generate` writes the file.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from builder import curated, presets
from builder.curated import Field, Form
from builder.presets import Preset
from settings import flags
from settings.flags.values import Snapshot
from settings.worker_settings import WORKER_SETTINGS, Setting


def _input(field: Field, kind: str, default: Any, options: list[str] | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": field.name, "type": kind, "description": field.description}
    if kind == "boolean":
        entry |= {"trueValue": "true", "falseValue": "false"}
    if options:
        # Without a default the first option must be the empty one, or the form would choose for the user.
        empty = [] if default is not None else [{"label": field.empty, "value": ""}]
        entry["options"] = empty + [{"label": option, "value": option} for option in options]
    if default is not None:
        entry["default"] = default
    elif options:
        entry["default"] = ""
    if not field.shown:
        entry["advanced"] = True
    return {"key": field.key, "input": entry}


def flag_field(field: Field, snapshot: Snapshot) -> dict[str, Any]:
    """The form's field for a flag, its type, choices and default as the worker and SGLang's parser have them."""
    default = None if field.unset else curated.default(field.key, snapshot)
    flag = flags.variables(snapshot).get(field.key)
    if flag is None:
        return _input(field, "boolean", default, None)
    entry = snapshot["flags"][flag]
    if entry["kind"] in ("switch", "paired"):
        # One that SGLang decides itself where nobody says has three states.
        return _input(field, "boolean", default, None) if default is not None else _input(
            field, "string", None, ["true", "false"])
    options = field.options or entry.get("choices")
    number = entry["kind"] == "value" and entry.get("type") in ("int", "float", "size") and not options
    offered = [*map(str, options), *([field.off] if field.off and default is not None else [])] if options else None
    return _input(field, "number" if number else "string", default, offered)


def label(setting: Setting) -> str:
    """SGLANG_RESTART_WINDOW, in seconds -> Server restart window (s)"""
    words = setting.name.replace("SGLANG_", "SERVER_").split("_")
    unit = {"MB": "MB", "KIB": "KiB"}.get(words[-1])
    if unit:
        words.pop()
    elif setting.type == "float" and setting.help.startswith("Seconds"):
        unit = "s"
    return " ".join(words).capitalize() + (f" ({unit})" if unit else "")


def setting_field(setting: Setting, names: dict[str, str]) -> dict[str, Any]:
    """The form's field for one of the worker's own settings."""
    default = setting.default if isinstance(setting.default, (str, int, float)) else None
    number = setting.type in ("int", "float", "megabytes")
    field = _input(Field(setting.name, names.get(setting.name) or label(setting), setting.help),
                   "number" if number else "string", default, list(setting.choices) or None)
    bounds = {"min": setting.low, "max": setting.high}
    field["input"] |= {name: bound for name, bound in bounds.items() if number and bound is not None}
    return field


def _field(field: Field, form: Form, snapshot: Snapshot) -> dict[str, Any]:
    if field.key in form.platform:
        return _input(field, {"text": "string", "number": "number"}[form.platform[field.key]], None, None)
    if field.key == "MODEL_NAME":
        return {"key": field.key, "input": {"name": field.name, "type": "huggingface", "default": field.default,
                                            "description": field.description, "required": True}}
    return flag_field(field, snapshot)


def manifest(form: Form, ready: Collection[Preset], snapshot: Snapshot) -> dict[str, Any]:
    """The whole of hub.json; `ready`: its presets."""
    fields = [_field(field, form, snapshot) for field in form.fields]
    named = {field.key for field in form.fields}
    fields += [setting_field(setting, form.names) for setting in WORKER_SETTINGS
               if setting.name not in named and setting.name not in form.hidden]
    about = {name: form.hub[name] for name in ("title", "description", "category", "iconUrl")}
    return {
        **about, "type": "serverless",
        "config": {
            "runsOn": "GPU", "containerDiskInGb": form.hub["disk"], "gpuCount": 1,
            "gpuIds": ",".join(form.hub["pools"]), "allowedCudaVersions": form.hub["cuda"],
            "presets": presets.hub(ready),
            "env": fields,
        },
    }
