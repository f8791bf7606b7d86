"""Every command in a document: the program is there, and takes what is given to it. Nothing is run."""

import argparse
import contextlib
import importlib.util
import io
import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from job.route_table import match
from settings import config
from tests import documents
from tests.dockerfile import ROOT, every
from tests.documents import Command
from tests.unit.builder.test_compose import COMPOSE, ROUTER, bake
from tests.unit.documents.test_code import BESIDE, SHELL, SNAPSHOT, job_is_taken, settings_are_taken

OURS = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
PYTHON = re.compile(r"(?:.*/)?python3?|ENGINE_PYTHON|\"?\$PYTHON\"?")
LOCAL = {"demo": "local.demo", "platform": "local.runpod_platform", "engine": "local.scripted_engine",
         "clients": "local.clients.run"}
# Programs that a document shows and has its reader save.
SAVED = {name for path in documents.documents() for name in re.findall(
    r"[Ss]ave[d\s\w]* as `([\w.]+)`", path.read_text(encoding="utf-8"))}
# What whoever calls an endpoint sets, for a program that calls it.
CALLERS = {"ENDPOINT_ID", "BASE_URL", "MODEL"}
# Programs of others, whose own words are their own business.
FOREIGN = {"cat", "cd", "git", "pip", "npm", "npx", "gh", "apt-get", "export", "mkdir", "jq", "ls", "less",
           "huggingface-cli", "hf", "runpodctl", "sleep", "tail", "grep",
           "touch", "chmod", "cp", "rm", "tar", "unzip", "sed"}
WITH_A_VALUE = ("-e", "--env", "-v", "--volume", "-p", "--publish", "--gpus", "--name", "--shm-size", "--network",
                "--env-file", "--secret", "--tag", "-t", "--build-arg", "--platform", "--file", "-f")


class Parsed(BaseException):
    """The options were taken; what the program would do with them is not to happen."""


@contextlib.contextmanager
def only_parsing():
    """argparse raises Parsed once a program's options have been taken."""
    whole, known, inside = argparse.ArgumentParser.parse_args, argparse.ArgumentParser.parse_known_args, []

    def within(function, *arguments, **options):
        inside.append(function)
        try:
            result = function(*arguments, **options)
        finally:
            inside.pop()
        if not inside:
            raise Parsed
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", lambda *a, **o: within(whole, *a, **o))
        patch.setattr(argparse.ArgumentParser, "parse_known_args", lambda *a, **o: within(known, *a, **o))
        yield


def source(module: str) -> Path:
    found = importlib.util.find_spec(module)
    assert found and found.origin, f"No module named {module}"
    return Path(found.origin).with_name("__main__.py") if found.submodule_search_locations else Path(found.origin)


def reads_options(file: Path, deep: bool = True) -> bool:
    """Whether a program, or a module of this repository that it imports, has to do with argparse."""
    text = file.read_text(encoding="utf-8")
    if "argparse" in text:
        return True
    named = {f"{where}.{name}" for where, names in re.findall(r"^from ([\w.]+) import ([\w, ]+)$", text, re.MULTILINE)
             for name in names.split(", ")} | set(re.findall(r"^(?:from|import) ([\w.]+)", text, re.MULTILINE))
    files = [ROOT / f"{name.replace('.', '/')}.py" for name in named if name.partition(".")[0] in OURS]
    return deep and any(reads_options(each, False) for each in files if each.is_file())


def takes(program: str, arguments: list[str]) -> None:
    """A module, or a file of the repository, takes these arguments; one that reads none is given none."""
    if program in SAVED:
        return
    if not reads_options(ROOT / program if program.endswith(".py") else source(program)):
        assert not arguments, f"{program} reads no options"
        return
    said = io.StringIO()
    with only_parsing(), pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said), \
            contextlib.redirect_stdout(said):
        patch.setattr(sys, "argv", [program, *arguments])
        try:
            if program.endswith(".py"):
                runpy.run_path(str(ROOT / program), run_name="__main__")
            else:
                sys.modules.pop(program, None)
                runpy.run_module(program, run_name="__main__")
        except Parsed:
            return
        except SystemExit as end:
            if "--help" in arguments and not end.code:
                return
            raise AssertionError(f"{program} {shlex.join(arguments)}: {said.getvalue() or end}") from None
    raise AssertionError(f"{program} reads no options")


def python(arguments: list[str]) -> None:
    if arguments[:1] in (["-E"], ["-u"]):
        return python(arguments[1:])
    if arguments[0] == "-c":
        compile(arguments[1], "-c", "exec")
        return None
    if arguments[0] != "-m":
        return takes(arguments[0], arguments[1:])
    module, rest = arguments[1], [word for word in arguments[2:] if word[:1] != "[" and word[-2:] != "…]"]
    rest = ["1" if word == "N" else word for word in rest]
    if "…" in rest:  # and whatever follows
        rest = rest[:rest.index("…")]
        rest = rest[:-1] if rest and rest[-1].startswith("--") else rest
    if module == "local" and rest:
        if rest[0] == "test":
            assert all((ROOT / path).exists() for path in rest[1:] if path.startswith("tests"))
        elif rest[0] not in ("install", "check"):
            takes(LOCAL[rest[0]], rest[1:])
    elif module.partition(".")[0] in OURS:
        takes(module, rest)
    else:
        program = module.partition(".")[0]
        assert program in {"pip", "sglang", "pytest", "ruff", "mypy"} | sys.stdlib_module_names, f"what is {module}?"


def docker(words: list[str], environ: dict[str, str]) -> None:
    verb, rest = words[0], words[1:]
    options = dict.fromkeys(WITH_A_VALUE, ())
    if verb == "buildx":
        file, names = bake(), [word for word in rest[1:] if not word.startswith("-")]
        assert rest[0] == "bake" and set(names) <= {*file["target"], *file["group"]}
        assert set(environ) <= {*file["variable"], "HF_TOKEN"}
    elif verb == "compose":
        services = (ROUTER if "docker-compose.router.yml" in rest else COMPOSE)["services"]
        profiles = {profile for service in services.values() for profile in service.get("profiles", ())}
        assert {after for word, after in zip(rest, rest[1:], strict=False) if word == "--profile"} <= profiles
    elif verb == "build":
        given = {after.partition("=")[0] for word, after in zip(rest, rest[1:], strict=False) if word == "--build-arg"}
        assert given <= {word.split("=")[0] for argument in every("ARG") for word in shlex.split(argument)}
    elif verb == "run":
        while rest[0].startswith("-"):
            if rest[0] in ("-e", "--env"):
                known(rest[1].partition("=")[0])
            rest = rest[2:] if rest[0] in options else rest[1:]
        if rest[1:]:
            command(Command(tuple(rest[1:]), {}, ""))
    else:
        assert verb in ("push", "pull", "login", "logs", "ps")


def known(name: str) -> None:
    libraries = name.startswith(("OTEL_", "SGLANG_", "WORKER_SGLANG_"))
    assert libraries or name in config.known_variables(SNAPSHOT) | BESIDE | CALLERS, f"{name} is no setting"


def curl(words: list[str]) -> None:
    [address] = [word for word in words if re.match(r"https?://", word)]
    found = re.match(r"https://api\.runpod\.ai/v2/[\w-]+(/\S*)|https://[\w-]+\.(?:api\.runpod\.ai|proxy\.runpod\.net)(/\S*)"
                     r"|http://(?:127\.0\.0\.1|localhost):\d+(/\S*)", address)
    assert found, f"{address} is no endpoint's"
    path = next(filter(None, found.groups())).split("?")[0]
    path = re.sub(r"^/v2/[\w-]+(?=/)", "", path)
    body = [after for word, after in zip(words, words[1:], strict=False) if word in ("-d", "--data", "--json")]
    given = json.loads(body[0]) if body and not body[0].startswith("@") else None
    if path.startswith(("/run", "/runsync", "/stream", "/status", "/cancel")):
        if given is not None:
            job_is_taken(given)
    elif path not in ("/ping", "/metrics", "/-/state", "/"):
        route = path.removeprefix("/openai")
        if given is None:
            assert match(route, "GET", ())
        else:
            job_is_taken({"input": {"openai_route": route, "openai_input": given}})


def command(each: Command) -> None:
    """AssertionError where it could not be run as it stands."""
    program, *rest = each.words
    if program == "-m":  # behind a variable that an earlier line would have set
        python(list(each.words))
    elif PYTHON.fullmatch(program):
        python(rest)
        if rest[0] != "-m" or rest[1].partition(".")[0] in OURS:
            for name in each.environ:
                known(name)
    elif program == "docker":
        docker(rest, each.environ)
    elif program == "curl":
        curl(rest)
    elif program == "cat" and each.given and ".env" in str(each.words):
        settings_are_taken(each.given)
    else:
        assert program in FOREIGN or (ROOT / program).exists(), f"what is {program}?"


@pytest.mark.parametrize("block", documents.every_block(*SHELL), ids=lambda block: block.name)
def test_a_shell_block_could_be_run(block):
    for each in documents.commands(block.text):
        command(each)
        if each.given:
            assert each.words[0] == "cat"
            settings_are_taken(each.given)


INLINE = sorted({text for path in documents.documents() for _, text in documents.code(path)
                 if re.match(r"(?:\w+=\S+ )*(?:python3? (?:-m )?(?:\w+\.py|[a-z]+)|curl |docker \w+ \S+ )", text)})


@pytest.mark.parametrize("text", INLINE)
def test_a_command_in_a_sentence_could_be_run(text):
    for each in documents.commands(text):
        if each.words[1:2] == ("-m",) and len(each.words) == 3 and (
                each.words[2].partition(".")[0] in OURS):  # a program by its name
            assert source(each.words[2]).is_file()
        else:
            command(each)


def test_there_are_commands_of_each_kind():
    programs = {each.words[0] for block in documents.every_block(*SHELL) for each in documents.commands(block.text)}
    assert {"python3", "python", "curl", "docker"} <= programs and len(INLINE) > 10


@pytest.mark.parametrize("text, said", [
    ("python -m bench.nothing", "No module named"), ("python -m bench.chaos --job 1x", "invalid int value"),
    ("python3 -m local demo --wrong", "unrecognized arguments"), ("python -m builder.generate --x", "unrecognized"),
    ("python3 -m local test tests/none", "assert False"), ("python nothing.py", "nothing.py"),
    ("docker buildx bake cuda1", "cuda1"), ("VERSIO=1 docker buildx bake", "VERSIO"),
    ("docker build --build-arg MODEL=x .", "MODEL"),
    ("docker compose --profile both up", "both"),
    ("docker compose -f docker-compose.router.yml --profile http up", "http"),
    ("docker run -e MODEL_NAM=x image", "no setting"),
    ("curl https://example.com/v1/models", "no endpoint's"), ("MODEL_NAM=x python handler.py", "no setting"),
    ("curl https://api.runpod.ai/v2/x/runsync -d '{\"input\": {}}'", "`input` is empty"),
    ("curl https://api.runpod.ai/v2/x/openai/v1/nothing", "is not a route"), ("frobnicate", "what is"),
    ("echo 'a", "unexpected EOF")])
def test_what_could_not_be_run_is_found(text, said):
    with pytest.raises(Exception, match=re.escape(said)):
        for each in documents.commands(text):
            command(each)


def test_the_worker_in_the_image_runs_on_its_own_python():
    """The other Python there is SGLang's, which has none of the worker's packages."""
    run = re.compile(r"docker run (?:[^\n]*\\\n)*[^\n]*?(\S+)(?: -\w)* handler\.py")
    said = [found for path in documents.documents() for found in run.findall(path.read_text(encoding="utf-8"))]
    assert len(said) >= 3 and set(said) == {"/opt/worker/bin/python"}


def test_a_here_document_is_what_it_gives():
    [each] = documents.commands("cat > x <<'END'\nA=$b\nEND\n")
    assert each == Command(("cat",), {}, "A=$b\n")
    assert Path.cwd() and not (Path.cwd() / "x").exists()
