"""What was seen, as a table. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from local.clients.catalogue import BOTH, CLIENTS, Client

LEFT = "nothing left running"


class Result(NamedTuple):
    """checks: [{"check", "ok", "seen", …}] of one client on one front and one kind of server."""

    client: Client
    front: str
    kind: str
    checks: list[dict[str, Any]]


def failures(results: Sequence[Result]) -> list[str]:
    """A line for each check that was not right."""
    return [f"{result.client.title}, {result.front}: {check['check']}: {check['seen']}"
            for result in results for check in result.checks if not check["ok"]]


def _cell(results: Sequence[Result], client: Client, front: str) -> str:
    if front not in client.fronts:
        return "–"
    checks = [check for result in results if (result.client, result.front) == (client, front)
              for check in result.checks if check["check"] not in (LEFT, "refusal") or not check["ok"]]
    return ", ".join(check["check"].replace("_", " ") if check["ok"] else f"**{check['check']} failed**"
                     for check in checks) or "not run"


def _refusal(results: Sequence[Result], client: Client, front: str) -> str:
    seen = [check["seen"] for result in results if (result.client, result.front) == (client, front)
            for check in result.checks if check["check"] == "refusal"]
    return seen[0].replace("|", "\\|") if seen else "–"


def table(results: Sequence[Result], versions: Mapping[str, str]) -> str:
    """Markdown: what each client did through each front, and then what it shows of a model that is not there."""
    ran = [client for client in CLIENTS if any(result.client == client for result in results)]
    lines = ["| client | version | settings | " + " | ".join(BOTH) + " |", "|---" * (3 + len(BOTH)) + "|"]
    for client in ran:
        cells = [_cell(results, client, front) for front in BOTH]
        if len(set(cells)) == 1:
            cells[1] = "the same"
        lines.append(f"| {client.title} | {versions.get(client.title, '')} | {client.settings} | "
                     + " | ".join(cells) + " |")
    lines += ["", "| client | a wrong model, queue | over HTTP |", "|---|---|---|"]
    lines += [f"| {client.title} | " + " | ".join(_refusal(results, client, front) for front in BOTH) + " |"
              for client in ran]
    return "\n".join(lines)
