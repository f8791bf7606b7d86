"""Mutation testing by hand: does a test fail when a line of the code means something else?

    python -m bench.mutants start/kernels/compile_key.py --tests tests/unit/start [--lines 40-90]

Makes every mutant of one module (one change each, see `mutants`) in a copy of the checkout and runs the tests there,
the first failure ending them. Prints those that no test noticed and the share that was killed; a mutant whose tests
take ten times as long as usual counts as killed. Exit status 1 below 85 %, or when the tests fail without any change.

What is no part of the meaning is not changed: docstrings, annotations, words for people (text with a space in it), and
whether a module is run as a program.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import io
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest

from tests.support import ROOT

LEAST = 0.85  # of all mutants
_SLOWER, _START = 10.0, 10.0  # times a usual run, and seconds more, after which a mutant counts as endless
_QUIETLY = ["-x", "-q", "-p", "no:cacheprovider"]
_LEFT_OUT = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", "*.svg")

_COMPARED = {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
             ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}
_CALCULATED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
               ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
               ast.LShift: ast.RShift, ast.RShift: ast.LShift}
_JOINED = {ast.And: ast.Or, ast.Or: ast.And}
_LEFT = {ast.Break: ast.Continue, ast.Continue: ast.Break}


class Mutant(NamedTuple):
    """One change: the line it is in, that code before and after, and the whole module with it."""

    line: int
    before: str
    after: str
    source: str


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in place of `node`."""
    if isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            changed = copy.deepcopy(node)
            changed.ops[i] = _COMPARED[type(operator)]()
            yield changed
    elif isinstance(node, ast.BinOp) and type(node.op) in _CALCULATED:
        yield ast.BinOp(node.left, _CALCULATED[type(node.op)](), node.right)
    elif isinstance(node, ast.AugAssign) and type(node.op) in _CALCULATED:
        yield ast.AugAssign(node.target, _CALCULATED[type(node.op)](), node.value)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(_JOINED[type(node.op)](), node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand
    elif isinstance(node, ast.If | ast.While | ast.IfExp):
        if not isinstance(node.test, ast.UnaryOp):  # that is turned round by itself
            changed = copy.deepcopy(node)
            changed.test = ast.UnaryOp(ast.Not(), changed.test)
            yield changed
    elif isinstance(node, ast.Return) and node.value is not None:
        if not (isinstance(node.value, ast.Constant) and node.value.value is None):
            yield ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Break | ast.Continue):
        yield _LEFT[type(node)]()
    elif isinstance(node, ast.Constant):
        yield from map(ast.Constant, _others(node.value))


def _others(value: object) -> list[object]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1]
    if isinstance(value, str) and value and " " not in value:
        return [value + "X"]
    if isinstance(value, bytes) and value and b" " not in value:
        return [value + b"X"]
    return []


def _meant(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    """(parent, field, position) of everything in `node` that may be changed, in the order of the source."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns") or isinstance(node, ast.JoinedStr | ast.FormattedValue):
            continue
        for position, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or _program(child):
                continue
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue  # a docstring
            yield node, field, position
            yield from _meant(child)


def _program(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def mutants(source: str) -> list[Mutant]:
    """Every mutant of a module: another comparison, another arithmetic or boolean operator, a condition turned round,
    another constant (numbers + 1, text + X), nothing returned, `break` for `continue`."""
    found = []
    tree = ast.parse(source)
    for parent, field, position in list(_meant(tree)):
        original = getattr(parent, field) if position is None else getattr(parent, field)[position]
        for changed in _changes(original):
            _put(parent, field, position, changed)
            text = ast.unparse(ast.fix_missing_locations(tree))
            found.append(Mutant(getattr(original, "lineno", 0), _short(original), _short(changed), text))
            _put(parent, field, position, original)
    return found


def _put(parent: ast.AST, field: str, position: int | None, node: ast.AST) -> None:
    if position is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[position] = node


def _short(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(node)).splitlines()[0]


def passes(checkout: Path, tests: list[str], limit: float | None = None) -> bool:
    """Whether the tests pass in this checkout within `limit` seconds.

    In a fork of this process, which has loaded by now what tests load, except the code of the checkout itself.
    """
    pid = os.fork()
    if pid == 0:
        _forked(checkout, tests)
    ended, descriptor = select.poll(), os.pidfd_open(pid)
    try:
        ended.register(descriptor, select.POLLIN)
        if not ended.poll(None if limit is None else limit * 1000):
            return False
        return os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOWAIT).si_status == 0
    finally:
        os.close(descriptor)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # with whatever the tests have started
        os.waitpid(pid, 0)


def _forked(checkout: Path, tests: list[str]) -> NoReturn:
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        os.chdir(checkout)
        sys.path[:] = [str(checkout)] + [path for path in sys.path if path and Path(path).resolve() != ROOT]
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(f"{ROOT}{os.sep}"):
                del sys.modules[name]
        os._exit(pytest.main([*_QUIETLY, "--basetemp", str(checkout.parent / "tmp"), *tests]))
    finally:
        os._exit(99)


def survivors(module: str, tests: list[str], wanted: list[Mutant]) -> Iterator[Mutant]:
    """Those of the mutants that no test notices, as they are found. Raises SystemExit when nothing is to be learnt."""
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(shutil.copytree(ROOT, Path(folder, "checkout"), ignore=_LEFT_OUT))
        with contextlib.redirect_stdout(io.StringIO()):
            pytest.main([*_QUIETLY, "--collect-only", *tests])
        began = time.monotonic()
        if not passes(checkout, tests):
            sys.exit("the tests fail without any change")
        limit = _SLOWER * (time.monotonic() - began) + _START
        path = checkout / module
        for mutant in wanted:
            path.write_text(mutant.source, encoding="utf-8")
            for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
                compiled.unlink()
            if passes(checkout, tests, limit):
                yield mutant


def main(arguments: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(prog="python -m bench.mutants", description=__doc__.split("\n")[0])
    options.add_argument("module", help="a file of this checkout, below its root")
    options.add_argument("--tests", nargs="+", required=True, help="what is run for each mutant: files, folders")
    options.add_argument("--lines", default="1-9999999", help="only mutants in these lines")
    chosen = options.parse_args(arguments)
    first, _, last = chosen.lines.partition("-")
    wanted = [mutant for mutant in mutants((ROOT / chosen.module).read_text(encoding="utf-8"))
              if int(first) <= mutant.line <= int(last or first)]
    left = 0
    for mutant in survivors(chosen.module, chosen.tests, wanted):
        left += 1
        print(f"{chosen.module}:{mutant.line}: {mutant.before}  ->  {mutant.after}", flush=True)
    share = 1 - left / len(wanted) if wanted else 1.0
    print(f"{chosen.module}: {len(wanted) - left} of {len(wanted)} mutants killed ({share:.1%})")
    return 0 if share >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
