"""`python3 -m local clients`: what it runs, what is pinned, and the table of what was seen."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from local import environments
from local.clients import installing, run, table
from local.clients.catalogue import BASE, CLIENTS, NODE, PYTHON, URL

LOCK = json.loads(installing.NODE_FILES[1].read_text(encoding="utf-8"))
DOCUMENT = (environments.ROOT / "docs/clients.md").read_text(encoding="utf-8")
[OPENAI] = [client for client in CLIENTS if client.title == "openai for Python"]
[RUNPOD] = [client for client in CLIENTS if client.title == "runpod for Python"]
RIGHT = [{"check": "chat", "ok": True, "seen": ""}, {"check": "refusal", "ok": True, "seen": "a 404 | b"},
         {"check": table.LEFT, "ok": True, "seen": ""}]
WRONG = [{"check": "chat", "ok": False, "seen": "no answer"}, {"check": table.LEFT, "ok": True, "seen": ""}]


def test_each_client_has_a_program_and_each_program_a_client():
    programs = {path.name for path in installing.PROGRAMS.iterdir() if path.suffix in (".py", ".mjs")}
    assert programs - {"__init__.py", "checking.py", "checking.mjs"} == {client.program for client in CLIENTS}
    assert len({client.title for client in CLIENTS}) == len(CLIENTS)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.title)
def test_the_document_says_of_each_client_what_it_needs(client):
    rows = [line for line in DOCUMENT.splitlines() if line.startswith(f"| {client.title} | ")]
    [row] = [row for row in rows if client.settings in row]
    version = installing.versions([client])[client.title]
    assert client.title == "curl" or f"| {version} |" in row or not version


def test_every_package_is_pinned_and_none_names_where_it_is_from():
    exact = re.compile(r"\d[\w.]*")
    pins = [line for file in installing.PYTHON_FILES for line in file.read_text().splitlines() if line[:1] != "#"]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in pins), pins
    named, held = (dict(line.split("==") for line in file.read_text().splitlines() if line[:1] != "#")
                   for file in installing.PYTHON_FILES)
    assert named.items() <= held.items()
    assert all(exact.fullmatch(version) for version in json.loads(installing.NODE_FILES[0].read_text())[
        "dependencies"].values())
    packages = {name: entry for name, entry in LOCK["packages"].items() if name}
    assert packages and all("integrity" in entry and "resolved" not in entry for entry in packages.values())
    assert {client.package for client in CLIENTS if client.at == NODE} <= {
        name.removeprefix("node_modules/") for name in packages}
    assert {client.package for client in CLIENTS if client.at == PYTHON} - {""} <= set(named)


@pytest.mark.parametrize("program", sorted(installing.PROGRAMS.glob("*.py")), ids=lambda path: path.name)
def test_the_programs_use_nothing_of_the_workers(program):
    imported = set(re.findall(r"^(?:from|import) (\w+)", program.read_text(), re.MULTILINE))
    assert not imported & {"local", "settings", "job", "answer", "front", "tests", "utils"}


def test_a_program_that_ends_without_a_word_is_no_success(monkeypatch):
    told = run.facts("http", "http://x", "generation", None)
    [check] = asyncio.run(run.checks_of([sys.executable, "-c", "raise SystemExit('broken')"], told))
    assert not check["ok"] and "broken" in check["seen"]
    said = 'import json; print(json.dumps({"check": "chat", "ok": True, "seen": ""})); raise SystemExit(3)'
    assert [one["ok"] for one in asyncio.run(run.checks_of([sys.executable, "-c", said], told))] == [True, False]


def test_a_check_that_fails_is_told_and_the_next_is_run(tmp_path):
    program = "from checking import run, same\ndef one(): same(1, 2)\ndef two(): return 'seen'\nrun(one, two)"
    facts = json.dumps(run.facts("queue", "http://x", "generation", None))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env={
        "PYTHONPATH": str(installing.PROGRAMS), "CLIENT_FACTS": facts})
    first, second = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, first["ok"], second["ok"], second["seen"]) == (1, False, True, "seen")
    assert first["check"] == "one" and "1 in place of 2" in first["seen"]


def test_what_is_not_here_is_left_out(monkeypatch):
    python, folder = Path("/env/python"), Path("/node")
    [node] = [client for client in CLIENTS if client.program == "openai_node.mjs"]
    [agent] = [client for client in CLIENTS if client.program == "codex.py"]
    assert run.command(node, python, folder) == ["node", "/node/openai_node.mjs"]
    assert run.command(agent, python, folder) == [str(python), str(installing.PROGRAMS / "codex.py")]
    assert run.command(node, python, None) is run.command(agent, python, None) is None
    assert run.command(OPENAI, python, None) is not None


def test_the_table():
    results = [table.Result(OPENAI, "queue", "generation", RIGHT), table.Result(OPENAI, "http", "generation", WRONG),
               table.Result(RUNPOD, "queue", "generation", RIGHT)]
    told = table.table(results, {"openai for Python": "3.5"})
    assert f"| openai for Python | 3.5 | `base_url={BASE}` | chat | **chat failed** |" in told
    assert "| runpod for Python |  | the endpoint's id | chat | – |" in told
    assert "| openai for Python | a 404 \\| b | – |" in told
    assert table.failures(results) == ["openai for Python, http: chat: no answer"]
    assert table.failures(results[:1]) == [] and URL in BASE


def test_an_unknown_name_is_refused(capsys):
    with pytest.raises(SystemExit):
        run.main(["--only", "no such client"])
    assert "openai for Node" in capsys.readouterr().err
