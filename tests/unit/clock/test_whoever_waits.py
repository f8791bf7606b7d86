"""Whoever waits for something waits by `clock.awake`: no limit counts the time that the worker was frozen."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# What reads another clock, and why no limit of it can run out in frozen time.
OTHERWISE = {
    "front/http/gate.py": "a wait that is measured; its limit is the event loop's",
    "answer/pace.py": "paces, of half a second at most",
    "answer/relay.py": "the same",
    "front/http/page/loads.py": "figures for people",
    "front/http/processes/lease.py": "a wait that is measured; its limit is the event loop's",
    "front/http/processes/reports.py": "figures for people",
}


def readers() -> set[str]:
    files = [ROOT / "engine.py", *(file for room in ("server", "answer", "front", "cluster")
                                          for file in (ROOT / room).rglob("*.py"))]
    return {str(file.relative_to(ROOT)) for file in files for node in ast.walk(ast.parse(file.read_text("utf-8")))
            if isinstance(node, ast.Attribute) and node.attr == "monotonic"
            and isinstance(node.value, ast.Name) and node.value.id == "time"}


def test_no_limit_goes_by_another_clock():
    assert readers() <= set(OTHERWISE)
