"""Real clients, as their users run them, through both fronts to a real SGLang on the CPU.

    python3 -m local clients                     install them, run all, print the table
    python3 -m local clients --only openai       those whose name holds this
    python3 -m local clients --front http        one front alone

Exit status: 0 when every check of every client that could be run was right, otherwise 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from local import corpus, environments
from local.clients import installing
from local.clients.catalogue import BOTH, CLIENTS, NODE, Client
from local.clients.stage import Stage, stage
from local.clients.table import Result, failures, table

LIMIT = 900  # seconds for one program
JSON_PROMPT, JSON_ANSWER = next((asked, told) for asked, told in corpus.EXCHANGES if told.startswith("{"))
# The agents' prompts are long: 50,000 tokens of this model's 512 words.
GENERATION = {"CONTEXT_LENGTH": "131072", "MAX_TOTAL_TOKENS": "200000",
              "SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN": "1"}
WIDTH = 64  # of the tiny model's vectors


def facts(front: str, url: str, kind: str, node_folder: Path | None, key: str = "local", many: int = 100_000
          ) -> dict[str, Any]:
    """What a program has to know, as it gets it; many: tokens that take longer than anybody waits."""
    question, answer = corpus.EXCHANGES[0]
    return {"url": url, "key": key, "many": many, "model": corpus.SERVED_NAME, "way": front, "kind": kind,
            "question": question, "answer": answer, "fallback_answer": corpus.FALLBACK_ANSWER,
            "weather_tool": corpus.WEATHER_TOOL, "weather_prompt": corpus.WEATHER_PROMPT,
            "weather_arguments": corpus.WEATHER_ARGUMENTS, "long_prompt": corpus.LONG_PROMPT,
            "json_prompt": JSON_PROMPT, "json_answer": json.loads(JSON_ANSWER), "json_schema": {
                "type": "object", "properties": {"city": {"type": "string"}, "country": {"type": "string"}},
                "required": ["city", "country"], "additionalProperties": False},
            "width": WIDTH, "node_folder": str(node_folder or "")}


def command(client: Client, python: Path, node_folder: Path | None) -> list[str] | None:
    """How its program is run here; None where it cannot be."""
    if client.at == NODE and node_folder is None or client.title == "curl" and not shutil.which("curl"):
        return None
    if client.program.endswith(".mjs"):
        return ["node", str(node_folder / client.program)] if node_folder else None
    return [str(python), str(installing.PROGRAMS / client.program)]


async def checks_of(arguments: Sequence[str], told: dict[str, Any]) -> list[dict[str, Any]]:
    """What a program printed; a check that is not right when it ended otherwise."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, stdin=subprocess.DEVNULL,
        env={**kept, "CLIENT_FACTS": json.dumps(told)})
    try:
        async with asyncio.timeout(LIMIT):
            said, wrong = await process.communicate()
    except TimeoutError:
        process.kill()
        said, wrong = b"", b"it did not end"
        await process.wait()
    checks = [json.loads(line) for line in said.decode().splitlines() if line.startswith('{"check"')]
    if not checks or process.returncode and all(check["ok"] for check in checks):
        checks.append({"check": "the program", "ok": False, "seen": wrong.decode(errors="replace")[-400:]})
    return checks


async def _on(stood: Stage, kind: str, chosen: Sequence[Client], fronts: Sequence[str], python: Path,
              node_folder: Path | None) -> list[Result]:
    results = []
    for client in chosen:
        for front in fronts:
            if front not in client.fronts or (kind == "embedding" and not client.embeds):
                continue
            arguments = command(client, python, node_folder)
            if arguments is None:
                print(f"{client.title}: not here")
                continue
            checks = await checks_of(arguments, facts(front, stood.fronts[front].url, kind, node_folder))
            # Also after a client that cancelled: nothing may go on for nobody.
            checks.append({"check": "nothing left running", "ok": await stood.idle(), "seen": ""})
            results.append(Result(client, front, kind, checks))
            told = (f"{check['check']} {'ok' if check['ok'] else 'FAILED: ' + check['seen']}" for check in checks)
            print(f"{client.title}, {front}: {', '.join(told)}", flush=True)
    return results


async def run(chosen: Sequence[Client], fronts: Sequence[str]) -> list[Result]:
    """Every check of the chosen clients, on a generating server and then on one that embeds."""
    python, node_folder = installing.python(), installing.node()
    results: list[Result] = []
    for kind, settings in (("generation", GENERATION), ("embedding", {"IS_EMBEDDING": "true"})):
        if kind == "embedding" and not any(client.embeds for client in chosen):
            continue
        print(f"starting the engine and two workers: {kind} …", flush=True)
        async with stage(environments.cache_root(), **settings) as stood:
            results += await _on(stood, kind, chosen, fronts, python, node_folder)
    return results


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m local clients", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="clients whose name holds this, in any case")
    parser.add_argument("--front", choices=BOTH, action="append", help="one front alone (default: both)")
    args = parser.parse_args(argv)
    chosen = [client for client in CLIENTS if args.only.lower() in client.title.lower()]
    if not chosen:
        parser.error("no client is called so: " + ", ".join(client.title for client in CLIENTS))
    results = asyncio.run(run(chosen, args.front or BOTH))
    print("\n" + table(results, installing.versions(chosen)))
    failed = failures(results)
    print("\n" + "\n".join(failed or ["every check was right"]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
