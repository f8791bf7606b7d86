"""The result of a serving benchmark: as data, and as a Markdown table for each load."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from pathlib import Path

from bench import serving_metrics, serving_saturation
from bench.machine_facts import machine
from bench.serving_plan import DIRECT, ENGINE, KNOWN
from settings.flags import is_secret

_SAME = ("design", "post_ms", "load", "streams")
_NOT_SHOWN = ("loads", "out", "logs", "quiet", "worker_env")
_FOLDERS = ("--out", "--logs")
_ASSIGNED = re.compile(r"(--[\w-]+=(?=[^=]*=))?([^=]*)(?:=(.*))?", re.DOTALL)
# Words of a name whose value is not shown: TOKEN, but not that of TOKENIZER_WORKER_NUM.
_SECRET = {word + end for word in ("TOKEN", "KEY", "APIKEY", "SECRET", "PASSWORD", "CREDENTIAL") for end in ("", "S")}


def result(records: list[dict], options: argparse.Namespace) -> dict:
    """Everything: the machine, the command line, every run, and the medians of the repeats."""
    shown = {key: value for key, value in vars(options).items() if key not in _NOT_SHOWN}
    return {"machine": machine(), "command": command("bench.serving", sys.argv[1:]), "options": shown,
            "medians": medians(records), "runs": records}


def medians(records: list[dict]) -> list[dict]:
    """Of the repeats of each target under each load."""
    groups: dict[tuple, list[dict]] = {}
    for record in records:
        groups.setdefault(tuple(record[key] for key in _SAME), []).append(record)
    found = [dict(zip(_SAME, key, strict=True)) | serving_metrics.medians(
        [{k: v for k, v in run.items() if k not in (*_SAME, "repeat")} for run in runs])
        for key, runs in groups.items()]
    return sorted(found, key=lambda one: (one["streams"], KNOWN.index(one["design"]), one["post_ms"]))


def command(module: str, arguments: list[str]) -> str:
    """The command line, without its folders and without secrets."""
    shown, skip = [], False
    for argument in arguments:
        if not skip and argument not in _FOLDERS:
            option, name, value = _ASSIGNED.match(argument).groups("")
            hidden = value and (is_secret(name, value) or _SECRET & set(re.split("[^A-Z]+", name.upper())))
            shown.append(f"{option}{name}=***" if hidden else argument)
        skip = argument in _FOLDERS
    return shlex.join(["python", "-m", module, *shown])


def write(found: dict, folder: Path) -> None:
    """results.json, with one line a record, and results.md."""
    found, parts = rounded(found), []
    for key, value in found.items():
        records = isinstance(value, list) and value and isinstance(value[0], dict)
        text = "[\n" + ",\n".join(json.dumps(one) for one in value) + "\n]" if records else json.dumps(value, indent=1)
        parts.append(f"{json.dumps(key)}: {text}")
    (folder / "results.json").write_text("{" + ",\n".join(parts) + "}\n")
    (folder / "results.md").write_text(f"`{found['command']}`\n\n{markdown(found)}\n")


def rounded(value):
    """The same with floats of five significant digits: more is noise."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list) else value


_COLUMNS = (
    ("tok/s", lambda m: f"{m['tok_s']:.0f}"),
    ("of the engine's", lambda m: f"{m['throughput_ratio']:.3f}" if "throughput_ratio" in m else "-"),
    ("TTFT p50 / p90 / p99", lambda m: _three(m["ttft"])),
    ("TTFT added p50 / p99", lambda m: f"{m['ttft_added']:.0f} / {m['ttft_added_p99']:.0f}" if _other(m) else "-"),
    ("TPOT p50 / p99", lambda m: _two(m["tpot"])),
    ("ITL p50 / p99", lambda m: _two(m["itl"])),
    ("E2E p50 / p99", lambda m: _two(m["e2e"])),
    ("lag at the end", lambda m: _lag(m)),
    ("chunks a stream", lambda m: f"{m['posts_stream']:.1f}" if "posts_stream" in m else "-"),
    ("CPU µs a token", lambda m: f"{m['cpu_us_token']:.0f}" if "cpu_us_token" in m else "-"),
    ("KiB a stream", lambda m: f"{m['kib_stream']:.0f}" if "kib_stream" in m else "-"),
    ("CPU of design / platform / engine / clients", lambda m: _shares(m)),
    ("failed", lambda m: f"**{m['failed']}**" if m["failed"] else "0"))


def _three(spread: dict) -> str:
    return f"{spread['p50']:.0f} / {spread['p90']:.0f} / {spread['p99']:.0f}"


def _two(spread: dict) -> str:
    return f"{spread['p50']:.4g} / {spread['p99']:.4g}"


def _other(m: dict) -> bool:
    """Whether this row compares with the engine itself."""
    return m["design"] != ENGINE and "lag" in m


def _lag(m: dict) -> str:
    if not _other(m):
        return "-"
    return f"{m['lag']:.0f}" + (f" ({m['lag_posts']:.1f} POSTs)" if "lag_posts" in m else "")


def _shares(m: dict) -> str:
    own = f"{m['cpu_share']:.0%}" if "cpu_share" in m else "-"
    return " / ".join([own, *(f"{m['shares'][name]:.0%}" for name in ("platform", "engine", "clients"))])


def table(medians: list[dict]) -> list[str]:
    """The lines of a table of them."""
    lines = ["| design | POST ms | " + " | ".join(name for name, _ in _COLUMNS) + " |",
             "|---|---|" + "---|" * len(_COLUMNS)]
    for one in medians:
        post = "-" if one["design"] in DIRECT else f"{one['post_ms']:g}"
        lines.append(f"| {one['design']} | {post} | " + " | ".join(show(one) for _, show in _COLUMNS) + " |")
    return lines


def processes(medians: list[dict]) -> list[str]:
    """The lines of a table of the CPU of each of the engine's processes; none where only one is known."""
    names = list(dict.fromkeys(name for one in medians for name in one.get("engine_shares", {})))
    if len(names) < 2:
        return []
    return ["", "| of a core | " + " | ".join(names) + " |", "|---|" + "---|" * len(names),
            *(f"| {one['design']} | " + " | ".join(f"{one['engine_shares'].get(name, 0):.0%}" for name in names) + " |"
              for one in medians)]


def markdown(found: dict) -> str:
    """A table for each load; ms and medians of the repeats."""
    lines = []
    for load in dict.fromkeys(one["load"] for one in found["medians"]):
        of_load = [one for one in found["medians"] if one["load"] == load]
        lines += [f"{load}, {found['options']['tokens']} tokens, {found['options']['engine']} engine; ms, "
                  f"medians of {found['options']['repeats']}", "", *table(of_load), *processes(of_load), ""]
    if len({one["load"] for one in found["medians"]}) > 1:
        lines += [serving_saturation.table(found["medians"]), ""]
    notes = serving_saturation.remarks(found["medians"], found["options"]["client_processes"])
    lines += [f"- {note}" for note in notes] + ([""] if notes else [])
    failed = sum(one["failed"] for one in found["medians"])
    if failed:
        lines.append(f"**{failed} ANSWERS WERE NOT COMPLETE: the figures above are not valid.**")
        lines += [f"- {text}" for one in found["medians"] for text in one["errors"][:2]]
    return "\n".join(lines).rstrip()
