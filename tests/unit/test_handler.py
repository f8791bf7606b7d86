"""What handler.py does to its own process."""

import subprocess
import sys

from tests.support import ROOT


def test_what_is_loaded_is_not_looked_through_again():
    # A process of its own: what is frozen stays so.
    code = ("import gc, handler; before = len(gc.get_objects()); handler.settle_memory();"
            "print(before, gc.get_freeze_count(), len(gc.get_objects()), gc.get_threshold()[0], gc.isenabled())")
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    before, frozen, left, threshold, enabled = told.stdout.split()
    assert int(frozen) > 0.5 * int(before) > 1000 and int(left) < 0.01 * int(before)
    assert (int(threshold), enabled) == (10_000, "True")
