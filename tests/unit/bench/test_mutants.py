"""The mutants that bench.mutants makes: each one change, none of what has no meaning, and the module as it was else."""

import ast
import os
import subprocess
import sys

import pytest

from bench.mutants import mutants
from tests.support import ROOT

SOURCE = '''\
"""What it is for."""

from __future__ import annotations


def count(items: list[int], least: int = 1) -> int | None:
    """How many there are."""
    found = 0
    for item in items:
        if item is None or not item:
            continue
        if item < least:
            break
        found += item * 2
    if found > 9:
        raise ValueError(f"too many of them: {found + 1}")
    return found if "a" in "bac" else -1


if __name__ == "__main__":
    count([1])
'''
CHANGES = {
    (6, "1", "2"), (8, "0", "1"), (10, "item is None or not item", "item is None and (not item)"),
    (10, "item is None", "item is not None"), (10, "not item", "item"),
    (10, "if item is None or not item:", "if not (item is None or not item):"), (11, "continue", "break"),
    (12, "item < least", "item <= least"), (12, "if item < least:", "if not item < least:"), (13, "break", "continue"),
    (14, "found += item * 2", "found -= item * 2"), (14, "item * 2", "item / 2"), (14, "2", "3"),
    (15, "found > 9", "found >= 9"), (15, "if found > 9:", "if not found > 9:"), (15, "9", "10"),
    (17, "return found if 'a' in 'bac' else -1", "return None"), (17, "'a' in 'bac'", "'a' not in 'bac'"),
    (17, "found if 'a' in 'bac' else -1", "found if not 'a' in 'bac' else -1"), (17, "'a'", "'aX'"),
    (17, "'bac'", "'bacX'"), (17, "-1", "1"), (17, "1", "2")}


def test_each_mutant_is_one_change():
    found = mutants(SOURCE)
    assert {mutant[:3] for mutant in found} == CHANGES and len(found) == len(CHANGES)
    whole = ast.unparse(ast.parse(SOURCE)).splitlines()
    for mutant in found:
        lines = mutant.source.splitlines()
        assert len(lines) == len(whole)
        assert sum(one != other for one, other in zip(lines, whole, strict=True)) == 1


@pytest.fixture
def told(tmp_path):
    """What the program says, and its exit status, of a project with one module and one test."""
    (tmp_path / "shop.py").write_text("def price(count):\n    return count * 3 if count > 10 else count * 4\n")
    program = f"from pathlib import Path\nfrom bench import mutants\nmutants.ROOT = Path({str(tmp_path)!r})\n" \
              "raise SystemExit(mutants.main(['shop.py', '--tests', 'test_shop.py']))"

    def run(test: str) -> tuple[int, str]:
        (tmp_path / "test_shop.py").write_text(f"from shop import price\n\n\ndef test_it():\n    {test}\n")
        ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True,
                               env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=200)
        return ended.returncode, ended.stdout + ended.stderr

    return run


def test_what_no_test_notices_is_told(told):
    status, output = told("assert price(20) == 60 and price(1) == 4")
    assert status == 1 and "count > 10  ->  count >= 10" in output and "6 of 8 mutants killed" in output


def test_a_good_test_kills_them_all(told):
    status, output = told("assert [price(n) for n in (0, 10, 11, 20)] == [0, 40, 33, 60]")
    assert status == 0 and "8 of 8 mutants killed (100.0%)" in output


def test_tests_that_fail_anyway_show_nothing(told):
    status, output = told("assert price(1) == 5")
    assert status == 1 and "the tests fail without any change" in output
