"""The committed snapshot against the installed SGLang: nothing drifted, and its parser takes what the worker makes.

Runs where SGLang is: in the engine's own environment, as a child process.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

import config
import flags
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


def parse(run, cases):
    done = run("-c", _PARSE, input=json.dumps(cases))
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_committed_snapshot_is_what_the_installed_sglang_accepts(run):
    done = run("-m", "builder.flag_snapshot", "--check")
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "0 difference(s)" in done.stdout


def test_drift_is_reported_with_its_size(run, tmp_path):
    older = json.loads(json.dumps(SNAPSHOT))
    older["flags"]["--gone"] = older["flags"].pop("--dtype")
    older["flags"]["--tp-size"]["default"] = 7
    stale = tmp_path / "flags.json"
    stale.write_text(json.dumps(older), encoding="utf-8")
    done = run("-m", "builder.flag_snapshot", "--check", "--out", str(stale))
    assert done.returncode == 1
    assert done.stdout.splitlines()[-4:] == [
        "- --gone is gone", "+ --dtype is new", "~ --tp-size default: 7 -> 1",
        f"3 difference(s) between flags.json and sglang {SNAPSHOT['sglang']}"]
    written = run("-m", "builder.flag_snapshot", "--out", str(stale))
    assert written.returncode == 0, written.stderr[-2000:]
    assert stale.read_text(encoding="utf-8") == (ROOT / "builder" / "flags.json").read_text(encoding="utf-8")


def test_the_servers_parser_takes_every_flag_as_the_worker_passes_it(run):
    cases = []
    for flag, entry in SNAPSHOT["flags"].items():
        if flag in flags.REFUSED:
            continue
        argv, _, problems = flags.argv_for({flags.variable(flag): sample(flag, entry)}, SNAPSHOT)
        assert problems == []
        cases.append((flag, ["--model-path", "m", *argv] if flag != "--model-path" else argv))
        if entry["kind"] == "paired":
            cases.append((flag, ["--model-path", "m", *flags.argv_for({flags.variable(flag): "no"}, SNAPSHOT)[0]]))
    answers = parse(run, cases)
    assert len(answers) > 500
    wrong = [(case, answer) for case, answer in zip(cases, answers, strict=True) if "error" in answer]
    assert wrong == []
    came_out = {flag: answer["value"] for (flag, _), answer in zip(reversed(cases), reversed(answers), strict=True)}
    assert came_out["--context-length"] == 16384
    assert came_out["--lora-paths"] == [{"lora_name": "a", "lora_path": "/x y"}, "b=/adapters/b"]
    assert came_out["--radix-eviction-policy-config"] == {"a": [1, "b c"]}
    assert came_out["--dllm-fdfo"] is True and came_out["--cuda-graph-bs-decode"] == [7]


def test_the_servers_parser_takes_a_whole_command(run):
    settings = config.load({"API_KEY": "-k", "SERVED_MODEL_NAME": "my model", "CHUNKED_PREFILL_SIZE": "-1",
                            "DISABLE_CUDA_GRAPH": "true", "LOAD_BALANCE_METHOD": "shortest_queue",
                            "SGLANG_EXTRA_ARGS": "--tp 4"}, SNAPSHOT, 8, "python")
    argv = list(settings.server_args)
    expected = {"--model-path": settings.model, "--api-key": "-k", "--served-model-name": "my model",
                "--chunked-prefill-size": -1, "--cuda-graph-backend-prefill": "disabled", "--tp-size": 4,
                "--load-balance-method": "total_requests", "--host": "127.0.0.1", "--port": 30000,
                "--file-storage-path": "sglang_storage"}
    answers = parse(run, [(flag, argv) for flag in expected])
    assert [answer.get("value", answer) for answer in answers] == list(expected.values())
