"""Writes the configuration tables of README.md and docs/configuration.md from what the worker really reads.

    python -m builder.config_table           rewrites the text between the markers of both files
    python -m builder.config_table --check   writes nothing; exit status 1 when a file is not up to date

The markers are `<!-- config:begin -->` and `<!-- config:end -->`; a file without them is left alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from settings import listeners
from settings.config import DEFAULT_MODEL, DEFAULTS
from settings.flags import NOT_READ, REFUSED, variable
from settings.foreign import FOREIGN, Same
from settings.worker_settings import WORKER_SETTINGS, Setting, bounds

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- config:begin -->", "<!-- config:end -->"
_KINDS = {"str": "text", "int": "whole number", "float": "number", "size": "number, or 16k, 16Ki", "json": "JSON",
          "json_list": "JSON list"}

# The variables that most endpoints use, in the order of the README.
COMMON = (
    "MODEL_PATH", "TOKENIZER_PATH", "TOKENIZER_MODE", "LOAD_FORMAT", "DTYPE", "CONTEXT_LENGTH", "QUANTIZATION",
    "SERVED_MODEL_NAME", "CHAT_TEMPLATE", "MEM_FRACTION_STATIC", "MAX_RUNNING_REQUESTS", "MAX_TOTAL_TOKENS",
    "CHUNKED_PREFILL_SIZE", "MAX_PREFILL_TOKENS", "SCHEDULE_POLICY", "SCHEDULE_CONSERVATIVENESS",
    "TENSOR_PARALLEL_SIZE", "STREAM_INTERVAL", "RANDOM_SEED", "LOG_LEVEL", "LOG_LEVEL_HTTP", "API_KEY",
    "FILE_STORAGE_PATH", "DATA_PARALLEL_SIZE", "LOAD_BALANCE_METHOD", "SKIP_TOKENIZER_INIT", "TRUST_REMOTE_CODE",
    "LOG_REQUESTS", "SHOW_TIME_COST", "DISABLE_RADIX_CACHE", "DISABLE_CUDA_GRAPH", "DISABLE_OUTLINES_DISK_CACHE",
    "ENABLE_TORCH_COMPILE", "ENABLE_P2P_CHECK", "ENABLE_FLASHINFER_MLA", "TRITON_ATTENTION_REDUCE_IN_FP32",
)
# What SGLang's own help text cannot say of them.
_SAYS = {
    "MODEL_PATH": ("The model, a Hugging Face repository or a folder; also `MODEL_NAME`.", "text", DEFAULT_MODEL),
    "SERVED_MODEL_NAME": ("The model's name in the API; the name you gave, if unset.", "text", ""),
    "CHAT_TEMPLATE": ("A chat template: its built-in name, a file, or the Jinja text itself; also wraps native `text` "
                      "prompts.", "text", ""),
    "TENSOR_PARALLEL_SIZE": ("GPUs that one copy of the model is split over.", "whole number",
                             "visible GPUs / data / pipeline parallel size"),
    "API_KEY": ("A key for the inner server; the worker uses it.", "text", ""),
    "FILE_STORAGE_PATH": ("The server's folder for stored files.", "text", "sglang_storage"),
    "LOG_LEVEL": ("The server's log level.", "debug, info, warning, error, critical", "info"),
    "LOG_LEVEL_HTTP": ("The log level of the server's HTTP part; `LOG_LEVEL`, if unset.",
                       "debug, info, warning, error, critical", ""),
    "DISABLE_CUDA_GRAPH": ("Run without CUDA graphs, in both phases.", "true or false", "false"),
    "ENABLE_FLASHINFER_MLA": ("Older name of `ATTENTION_BACKEND=flashinfer`.", "true or false", "false"),
}


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _row(*cells: str) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _allowed(entry: dict) -> str:
    if entry["kind"] in ("switch", "paired"):
        return "true or false"
    choices = entry.get("choices")
    one = ", ".join(map(str, choices)) if choices else _KINDS[entry["type"]]
    return f"list of: {one}" if entry["kind"] == "list" else one


def _default(flag: str, entry: dict) -> str:
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
    head = ["| Variable | What it does | Values | Default |", "|---|---|---|---|"]
    return head + [_setting(setting) for setting in WORKER_SETTINGS]


def common_table(snapshot: dict) -> list[str]:
    """The variables of COMMON."""
    by_name = {variable(name): flag for flag, entry in snapshot["flags"].items() for name in entry["names"]}
    lines = ["| Variable | What it does | Values | Default |", "|---|---|---|---|"]
    for name in COMMON:
        entry = snapshot["flags"].get(by_name.get(name, ""), {})
        says, allowed, default = _SAYS.get(name) or (
            entry["help"], _allowed(entry), _default(by_name[name], entry))
        plain = name == "TENSOR_PARALLEL_SIZE"
        lines.append(_row(_code(name), says, allowed, default if plain else _code(default)))
    return lines


def flags_table(snapshot: dict) -> list[str]:
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
        if flag in listeners.LISTENERS:
            says = f"{says.rstrip('.')}. The engine {listeners.LISTENERS[flag][0]}: only with `ALLOWED_LISTENERS`."
        lines.append(_row(names, says, _allowed(entry), _code(_default(flag, entry))))
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


def generated(snapshot: dict) -> dict[Path, str]:
    """{file: the text between its markers}"""
    readme = ["The worker's own settings:", "", *settings_table(), "",
              "The most used flags of the server:", "", *common_table(snapshot)]
    docs = ["## Worker settings", "", *settings_table(), "", "## What opens the engine", "",
            "Refused, as a variable, in `SGLANG_EXTRA_ARGS` and in `SGLANG_CONFIG_FILE`, unless it stands in",
            "`ALLOWED_LISTENERS` or names addresses of this machine alone (127.0.0.1, ::1, localhost, `ipc://`):", "",
            *listeners_table(), "",
            "## Variables of other workers", "",
            "What means the same is used where the worker's own variable is unset; each gives one line in the log.", "",
            *foreign_table(), "", f"## Every flag of SGLang {snapshot['sglang']}", "",
            *flags_table(snapshot)]
    return {ROOT / "README.md": "\n".join(readme), ROOT / "docs" / "configuration.md": "\n".join(docs)}


def replaced(text: str, body: str) -> str:
    """`text` with `body` between its markers; as it is where they are missing."""
    if BEGIN not in text or END not in text:
        return text
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{body}\n{END}{rest.partition(END)[2]}"


def main(arguments: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(prog="python -m builder.config_table", description=__doc__.split("\n")[0])
    options.add_argument("--check", action="store_true", help="write nothing; status 1 when a file is not up to date")
    check = options.parse_args(arguments).check
    snapshot = json.loads((ROOT / "builder" / "flags.json").read_text(encoding="utf-8"))
    stale = False
    for path, body in generated(snapshot).items():
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        new = replaced(old, body)
        if new == old:
            continue
        stale = True
        print(f"{path.relative_to(ROOT)}: {'is not up to date' if check else 'written'}")
        if not check:
            path.write_text(new, encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
