"""The tables of docs/migrating.md: each documented variable and input of two other workers is given to this one, and
what it does is written down; `python -m builder.generate` puts them there.

What is documented of them stands in builder/other_workers.json. A variable that would be passed over without a word is
an error: it belongs into settings/foreign.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from job import routes
from job.context import Context
from settings import config
from settings.flags.values import Snapshot
from utils import JobError

ROOT = Path(__file__).parents[1]
WORKERS: dict[str, Any] = json.loads((ROOT / "builder" / "other_workers.json").read_text(encoding="utf-8"))
MODELS = ("MODEL_NAME", "MODEL_PATH")
SAME = "the same"
# Of the environment and not of this worker: read by what it starts.
_LIBRARIES = ("HF_TOKEN",)
# The same words with another meaning, of which no line of the log can know whose are meant.
_OTHERWISE = {
    "PORT": "the port of the HTTP front, where `WORKER_MODE` is `http`; the engine's is `SGLANG_PORT`",
    "HOST": "not read, as shells and platforms set it: the engine listens on 127.0.0.1",
}
_LONGEST = 100  # characters of a refusal that are shown
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
_CONTEXT = Context(served_model_name="org/model", model="org/model")


class PassedOver(ValueError):
    """A documented variable of another worker has no effect here and no line says so."""


def of_variable(name: str, text: str, snapshot: Snapshot) -> str:
    """What this worker does with a variable, in its own words. Raises PassedOver."""
    base = {} if name in MODELS else {"MODEL_NAME": "org/base"}
    if name in _OTHERWISE:
        return _OTHERWISE[name]
    try:
        settings = config.load({**base, name: text}, snapshot, None, "python3")
    except config.ConfigError as error:
        [line] = [line for line in str(error).splitlines() if line.strip().startswith(name)]
        return "refused: " + _cut(line.split(": ", 1)[1])
    lines = [line for _, line in settings.notices if re.match(rf"{name}\b", line)]
    told = [line.removeprefix(f"{name} is ") if line.startswith(f"{name} is ") else line.split(": ", 1)[1]
            for line in lines]
    if told:
        return re.sub(r"^read as (\w+)$", r"read as `\1`", "; ".join(told))
    if name in config.known_variables(snapshot) or name in _LIBRARIES:
        return SAME
    raise PassedOver(f"{name} is passed over without a word: give it a row in settings/foreign.py")


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST].rsplit(" ", 1)[0].rstrip(",;") + " …"


def variables(worker: str, snapshot: Snapshot) -> list[str]:
    """The rows of a worker's variables: what is the same in one, then the others as they are documented."""
    found: dict[str, list[str]] = {SAME: []}
    for name, values in WORKERS[worker]["variables"].items():
        outcomes = [of_variable(name, text, snapshot) for text in values]
        found.setdefault(outcomes[0], []).append(name)
        for text, outcome in zip(values[1:], outcomes[1:], strict=True):
            if outcome != outcomes[0]:
                found.setdefault(outcome, []).append(f"{name}={text}")
    return ["| variable | here |", "|---|---|",
            *(_row(", ".join(f"`{name}`" for name in names), here) for here, names in found.items())]


def of_input(job_input: Mapping[str, Any]) -> str:
    """What this worker makes of a job's input: a route, or a refusal."""
    try:
        request = routes.plan(dict(job_input), _CONTEXT, "job")
    except JobError as error:
        return "refused: " + error.message
    return f"`{request.method} {request.path}`"


def inputs(worker: str) -> list[str]:
    """The rows of a worker's documented inputs."""
    return ["| `input` | here |", "|---|---|",
            *(_row(f"`{_short(job_input)}`", of_input(job_input)) for job_input in WORKERS[worker]["inputs"])]


def _short(job_input: Any) -> str:
    return json.dumps(job_input).replace(json.dumps(MESSAGES), "[…]")


def of_parameter(name: str, value: Any, prompt: Mapping[str, Any]) -> str:
    """What becomes of a field in `sampling_params` beside this prompt."""
    plain = routes.plan(dict(prompt), _CONTEXT, "job").body
    try:
        body = routes.plan({**prompt, "sampling_params": {name: value}}, _CONTEXT, "job").body
    except JobError as error:
        return "refused: " + error.message
    assert body is not None and plain is not None
    added = {key: got for key, got in body.items() if plain.get(key) != got}
    if added == {name: value}:
        return SAME
    return "as " + ", ".join(f"`{json.dumps({key: got})[1:-1]}`" for key, got in added.items()) if added else "left out"


def parameters(worker: str) -> Iterator[str]:
    """The rows of what may stand in `sampling_params`, and beside a prompt on OpenAI's routes."""
    yield from ("| field | with `messages` | with `prompt` |", "|---|---|---|")
    same = []
    for name, value in WORKERS[worker]["parameters"].items():
        cells = [of_parameter(name, value, prompt) for prompt in ({"messages": MESSAGES}, {"prompt": "The capital is"})]
        if cells == [SAME, SAME]:
            same.append(name)
        else:
            yield _row(f"`{json.dumps({name: value})[1:-1]}`", *cells)
    yield _row(", ".join(f"`{name}`" for name in same), SAME, SAME)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def tables(snapshot: Snapshot) -> dict[str, str]:
    """{name of a pair of markers: the text between them}"""
    made = {f"{worker} variables": "\n".join(variables(worker, snapshot)) for worker in WORKERS}
    made |= {f"{worker} inputs": "\n".join(inputs(worker)) for worker in WORKERS}
    return made | {"worker-vllm parameters": "\n".join(parameters("worker-vllm"))}
