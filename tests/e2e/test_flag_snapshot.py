"""The committed snapshot against the installed SGLang: nothing drifted, and its parser takes what the worker makes.

Runs where SGLang is: in the engine's own environment, as a child process.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from builder.flag_snapshot import drift, dumps
from settings import config, flags
from tests.flag_samples import sample

ROOT = Path(__file__).parents[2]
SNAPSHOT = json.loads((ROOT / "builder" / "flags.json").read_text(encoding="utf-8"))

# Parses every argument list it is given with the server's own parser; the answer is what came out under each flag.
_PARSE = """
import argparse, json, sys
from sglang.srt.server_args import ServerArgs

class Rejected(Exception): pass

class Parser(argparse.ArgumentParser):
    def error(self, message): raise Rejected(message)

parser = Parser()
ServerArgs.add_cli_args(parser)
actions = {name: action.dest for action in parser._actions for name in action.option_strings}
answers = []
for flag, argv in json.load(sys.stdin):
    try:
        answers.append({"value": getattr(parser.parse_args(argv), actions[flag])})
    except Rejected as error:
        answers.append({"error": str(error)})
print(json.dumps(answers, default=str))
"""


@pytest.fixture(scope="module")
def run():
    """Calls the engine's Python; arguments as for subprocess.run."""
    python = os.environ.get("WORKER_SGLANG_ENGINE_PYTHON")
    environ = {**os.environ, "SGLANG_USE_CPU_ENGINE": "1"}
    try:
        from local import environments
    except ImportError:
        if not python:
            pytest.skip("no engine: local.environments is absent and WORKER_SGLANG_ENGINE_PYTHON unset")
    else:
        python = python or str(environments.engine_python())
        environ = environments.engine_environ(os.environ)
    path = os.pathsep.join(filter(None, [environ.get("PYTHONPATH"), str(ROOT)]))

    def call(*arguments, **options):
        return subprocess.run([python, "-W", "ignore", *arguments], env={**environ, "PYTHONPATH": path}, text=True,
                              capture_output=True, timeout=240, **options)

    return call


@pytest.fixture(scope="module")
def values(run):
    """{case: what the server's parser made of it}, all cases in one child: importing SGLang takes seconds."""
    cases = {}
    for flag, entry in SNAPSHOT["flags"].items():
        if flag in flags.REFUSED:
            continue
        for text in (sample(flag, entry), *(["no"] if entry["kind"] == "paired" else [])):
            argv, _, problems = flags.argv_for({flags.variable(flag): text}, SNAPSHOT)
            assert problems == []
            cases[flag, text] = (flag, argv if flag == "--model-path" else ["--model-path", "m", *argv])
    cases |= {("whole", flag): (flag, list(WHOLE.server_args)) for flag in EXPECTED}
    done = run("-c", _PARSE, input=json.dumps(list(cases.values())))
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip(cases, json.loads(done.stdout.splitlines()[-1]), strict=True))


WHOLE = config.load({"API_KEY": "-k", "SERVED_MODEL_NAME": "my model", "CHUNKED_PREFILL_SIZE": "-1",
                     "DISABLE_CUDA_GRAPH": "true", "LOAD_BALANCE_METHOD": "shortest_queue",
                     "SGLANG_EXTRA_ARGS": "--tp 4"}, SNAPSHOT, 8, "python")
EXPECTED = {"--model-path": WHOLE.model, "--api-key": "-k", "--served-model-name": "my model",
            "--chunked-prefill-size": -1, "--cuda-graph-backend-prefill": "disabled", "--tp-size": 4,
            "--load-balance-method": "total_requests", "--host": "127.0.0.1", "--port": 30000,
            "--file-storage-path": "sglang_storage"}


def test_the_committed_snapshot_is_what_the_installed_sglang_accepts(run, tmp_path):
    done = run("-m", "builder.flag_snapshot", "--out", str(tmp_path / "flags.json"))
    assert done.returncode == 0, done.stderr[-2000:]
    text = (tmp_path / "flags.json").read_text(encoding="utf-8")
    assert drift(SNAPSHOT, json.loads(text)) == []
    assert text == dumps(SNAPSHOT), "the file was not written by builder.flag_snapshot"


def test_the_servers_parser_takes_every_flag_as_the_worker_passes_it(values):
    assert len(values) > 500
    assert {case: answer for case, answer in values.items() if "error" in answer} == {}
    came_out = {flag: answer["value"] for (flag, text), answer in values.items() if text != "no"}
    assert came_out["--context-length"] == 16384
    assert came_out["--lora-paths"] == [{"lora_name": "a", "lora_path": "/x y"}, "b=/adapters/b"]
    assert came_out["--radix-eviction-policy-config"] == {"a": [1, "b c"]}
    assert came_out["--cuda-graph-bs-decode"] == [7]
    assert (came_out["--dllm-fdfo"], values["--dllm-fdfo", "no"]["value"]) == (True, False)


def test_the_servers_parser_takes_a_whole_command(values):
    assert {flag: values["whole", flag].get("value") for flag in EXPECTED} == EXPECTED
