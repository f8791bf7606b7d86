"""RunPod's model cache as a started worker meets it: what the server's process is given, and what the log says."""

import json
import shlex
import sys

import pytest

from tests.hub_folders import MODEL, OTHER, repository
from tests.worker import WorkerProcess, contract_environ

# In place of the server: says what it was given and ends, so that the worker ends too.
SERVER = "import json, os, sys; print('GIVEN', json.dumps([sys.argv[1:], {n: v for n, v in os.environ.items() " \
         "if n.endswith('OFFLINE') or n == 'RUNPOD_MODEL_CACHE'}]))"


@pytest.fixture
def environ(tmp_path):
    return contract_environ(HOME=str(tmp_path), MODEL_NAME="Org/Name", RUNPOD_MODEL_CACHE=str(tmp_path / "cache"),
                            SGLANG_LAUNCH_COMMAND=shlex.join([sys.executable, "-c", SERVER]))


async def started(environ: dict[str, str]) -> tuple[list[str], dict[str, str], str]:
    """(the server's arguments, its switches, the whole output)"""
    async with WorkerProcess(None, environ, "--test_input", '{"input": {"text": "a"}}') as process:
        assert await process.ended() == 1
    given = next(line for line in process.lines if line.startswith("GIVEN "))
    arguments, switches = json.loads(given.removeprefix("GIVEN "))
    return arguments, switches, process.output


@pytest.mark.parametrize("revision", ["main", "v2", OTHER[:12]])
async def test_whole_snapshot_starts_offline_whatever_its_case(environ, tmp_path, revision):
    first = repository(tmp_path / "cache", "org/name", MODEL)
    second = repository(tmp_path / "cache", "org/name", MODEL, OTHER, refs=("v2",))
    folder = first if revision == "main" else second
    arguments, switches, output = await started({**environ, "MODEL_REVISION": revision, "SERVED_MODEL_NAME": ""})
    assert arguments[arguments.index("--model-path") + 1] == str(folder)
    assert arguments[arguments.index("--served-model-name") + 1] == "Org/Name"
    assert switches == {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    assert f"model: Org/Name at {revision}, whole in {folder}; the server starts without the hub" in output


async def test_half_a_snapshot_is_left_to_the_server(environ, tmp_path):
    folder = repository(tmp_path / "cache", "org/name", {**MODEL, "model-00001-of-00002.safetensors": b""})
    (folder / "model.safetensors").unlink()
    arguments, switches, output = await started(environ)
    assert arguments[arguments.index("--model-path") + 1] == "Org/Name"
    assert switches == {}
    assert f"Org/Name was found in {folder.parents[1]}, but model-00001-of-00002.safetensors is empty" in output
    assert "the server may ask the hub, for the model" in output


async def test_print_config_shows_the_folder(environ, tmp_path):
    folder = repository(tmp_path / "cache", "ORG/NAME", MODEL)
    async with WorkerProcess(None, environ, "--print-config") as process:
        assert await process.ended() == 0
    assert f"--model-path {folder}" in process.output and "--served-model-name tiny" in process.output
    assert "offline = True" in process.output
