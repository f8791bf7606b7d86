"""What handler.py does to its own process."""

import subprocess
import sys

from tests.support import ROOT

# A process of its own, since what is frozen stays so. The engine here ends the worker when it is waited for.
CODE = """
import gc, json, sys, types, handler
from settings import config

def wait_ready():
    print(before, gc.get_freeze_count(), len(gc.get_objects()), gc.get_threshold()[0], gc.isenabled())
    raise SystemExit

with open("builder/flags.json") as f:
    settings = config.load({"MODEL_NAME": "org/model"}, json.load(f), 0, sys.executable)
engine = types.SimpleNamespace(url="http://127.0.0.1:9", wait_ready=wait_ready, available=None, fate=None)
before = len(gc.get_objects())
cold = types.SimpleNamespace(phase=lambda *_, **__: None, ready=None)
handler.serve_queue(settings, engine, cold, None, handler.setup.Meter(), {"input": {}})
"""


def test_what_is_loaded_while_the_server_loads_is_not_looked_through_again():
    told = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True)
    before, frozen, left, threshold, enabled = told.stdout.split()
    assert int(frozen) > 0.5 * int(before) > 1000 and int(left) < 0.01 * int(before)
    assert (int(threshold), enabled) == (10_000, "True")
