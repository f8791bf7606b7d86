"""Bytecode of the real SGLang, by what Python reports: where it is, and that a start without is seen."""

import json
import os
import subprocess

import pytest

from local import environments
from start import bytecode

IMPORTED = """
import importlib.util, json, sys
import sglang.srt.server_args, sglang.srt.managers.io_struct
own = {name: module for name, module in sys.modules.items() if name.startswith("sglang.") and module.__file__}
print(json.dumps({name: [module.__cached__, importlib.util.cache_from_source(module.__file__)]
                  for name, module in own.items()}))
"""


def environ(**extra):
    return {**environments.engine_environ(os.environ), **extra}


def imported(**extra):
    """{module of SGLang: [where its bytecode is, where Python looks for it]} of a process that imports some."""
    done = subprocess.run([str(environments.engine_python()), "-c", IMPORTED], env=environ(**extra), timeout=250,
                          capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_the_environment_of_the_cpu_engine_has_bytecode_of_all_that_is_imported():
    found = imported(PYTHONDONTWRITEBYTECODE="1")
    assert len(found) > 50
    assert [name for name, (cached, expected) in found.items()
            if cached != expected or not os.path.exists(cached)] == []
    told = bytecode.look((str(environments.engine_python()),), environ())
    assert told.modules > 100 and told.compiled == told.modules and not told.missing


@pytest.mark.parametrize("forbidden", [False, True])
def test_what_is_missing_is_seen_and_written_by_whoever_may(tmp_path, forbidden):
    elsewhere = {"PYTHONPYCACHEPREFIX": str(tmp_path), **({"PYTHONDONTWRITEBYTECODE": "1"} if forbidden else {})}
    variables = environ(**elsewhere)
    if not forbidden:
        variables.pop("PYTHONDONTWRITEBYTECODE", None)
    python = str(environments.engine_python())
    assert bytecode.look((python,), variables).missing
    subprocess.run([python, "-c", "import sglang.version"], env=variables, timeout=280, check=True, capture_output=True)
    assert bool(list(tmp_path.rglob("version.*.pyc"))) is not forbidden
