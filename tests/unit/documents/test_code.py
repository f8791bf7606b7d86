"""Every piece of code in a document: what language it claims to be, and whether it is that."""

import ast
import importlib
import importlib.util
import json
import re
import shutil
import subprocess
import tempfile
import tomllib

import pytest
import yaml

from job import routes
from settings import config
from tests import documents
from tests.dockerfile import ROOT, instructions

SNAPSHOT = json.loads((ROOT / "builder/flags.json").read_text(encoding="utf-8"))
SHELL = ("bash", "sh", "shell")
INSTRUCTIONS = {"FROM", "ARG", "ENV", "RUN", "COPY", "ADD", "WORKDIR", "LABEL", "USER", "CMD", "ENTRYPOINT", "EXPOSE",
                "HEALTHCHECK", "SHELL", "VOLUME"}
# What is set beside the worker's own: by the platform, by Compose, by Hugging Face's library.
BESIDE = {"HF_TOKEN", "HF_HOME", "HF_HUB_CACHE", "COMPOSE_PROFILES", "WORKER_URLS", "RUNPOD_INIT_TIMEOUT",
          "RUNPOD_LOG_LEVEL"}


def python(text: str) -> None:
    """Compiles, and every name that is imported is there."""
    tree = compile(text, "block", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                assert importlib.util.find_spec(name.name.partition(".")[0]), f"no module {name.name}"
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name), f"{node.module} has no {name.name}"


def javascript(text: str) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    with tempfile.NamedTemporaryFile("w", suffix=".mjs", encoding="utf-8") as program:
        program.write(text)
        program.flush()
        done = subprocess.run([node, "--check", program.name], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def job_is_taken(job: dict) -> None:
    """`{"input": …}` as the worker's own parser takes it. JobError where it does not."""
    given = job["input"]
    body = given.get("openai_input") or given.get("body") or given
    name = str(body.get("model") or "tiny") if isinstance(body, dict) else "tiny"
    served = name.partition(":")[0]  # an adapter may be named behind it
    request = routes.plan(given, routes.Context(served_model_name=served, model=served, lora=True), "job-1")
    assert request.path


def jsons(text: str) -> None:
    """Parses, as one value or as one a line, and jobs are taken."""
    try:
        values = [json.loads(text)]
    except ValueError:
        values = [json.loads(line) for line in text.splitlines() if line.strip()]
    for value in values:
        if isinstance(value, dict) and "input" in value:
            job_is_taken(value)


def yamls(text: str) -> None:
    assert all(value is not None for value in yaml.safe_load_all(text))


def hcl(text: str) -> None:
    assert pytest.importorskip("hcl2").loads(text)


def dockerfile(text: str) -> None:
    words = {word for word, _ in instructions(text)}
    assert words and words <= INSTRUCTIONS


def settings_are_taken(text: str) -> None:
    """Lines of NAME=value, as an endpoint has them."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    values = dict(line.split("=", 1) for line in lines)
    values = {name: re.sub(r"\s+#.*", "", value).strip().strip("\"'") for name, value in values.items()}
    known = config.known_variables(SNAPSHOT) | BESIDE | set(re.findall(
        r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text(encoding="utf-8")))
    assert set(values) <= known, f"no settings: {set(values) - known}"
    config.load(values, SNAPSHOT, int(values.get("TENSOR_PARALLEL_SIZE", 1)), "python3")


def said(text: str) -> None:
    """What a program says is no command."""
    assert not re.search(r"^\$? ?(python3? -m|curl |docker |pip install)", text, re.MULTILINE), "call it bash"


def shell(text: str) -> None:
    """Parses; what it would run is looked at in test_commands.py."""
    documents.commands(text)


def elsewhere(text: str) -> None:
    """Pictures (tests/unit/test_architecture.py), and what is a piece of something."""
    assert text.strip()


CHECKS = {
    "python": python, "javascript": javascript, "json": jsons, "jsonl": jsons, "yaml": yamls, "toml": tomllib.loads,
    "hcl": hcl, "dockerfile": dockerfile, "env": settings_are_taken, "ini": settings_are_taken, "text": said,
    **dict.fromkeys(SHELL, shell), **dict.fromkeys(("mermaid", "jinja", "diff", "ebnf"), elsewhere)}


@pytest.mark.parametrize("block", documents.every_block(), ids=lambda block: f"{block.name} {block.kind}")
def test_it_is_what_it_claims_to_be(block):
    assert block.kind in CHECKS, f"a check is missing for {block.kind}; what is no code is `text`"
    CHECKS[block.kind](block.text)


def test_jobs_between_backticks_are_taken():
    found = [text for path in documents.documents() for _, text in documents.code(path) if text.startswith('{"input"')]
    whole = [text for text in found if "…" not in text]
    assert whole
    for text in whole:
        job_is_taken(json.loads(text))


@pytest.mark.parametrize("kind, text", [
    ("python", "def f(:"), ("python", "import nothing_such"), ("python", "from openai import NothingSuch"),
    ("json", "{a: 1}"), ("json", '{"input": {"messages": [], "text": "a"}}'), ("jsonl", '{"a": 1}\n{'),
    ("yaml", "a: [1"), ("toml", "a ="), ("dockerfile", "FORM x"), ("hcl", "variable {"), ("bash", "echo 'a"),
    ("env", "MAX_CONCURENCY=4"), ("env", "MAX_CONCURRENCY=none"), ("text", "curl http://x"),
    ("text", "a\npython3 -m b")])
def test_what_is_not_is_found(kind, text):
    with pytest.raises((AssertionError, Exception)):
        CHECKS[kind](text)


@pytest.mark.parametrize("kind, text", [
    ("python", "await f()\n"), ("json", '{"input": {"prompt": "a", "model": "org/x"}}'),
    ("jsonl", '{"a": 1}\n{"b": 2}\n'), ("env", "# one\nMAX_CONCURRENCY=4  # two\nHF_TOKEN=\n"),
    ("dockerfile", "FROM x\nRUN y\n"), ("hcl", "a = 1\n"),
    ("text", "engine ready")])
def test_what_is_right_is_let_through(kind, text):
    CHECKS[kind](text)
