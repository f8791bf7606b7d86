"""docs/architecture.md is literally true: its paths and functions exist, and its arrows are the imports of the code."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ROOMS = ["front", "start", "job", "answer", "engine", "server", "settings", "meter", "clock", "fit", "lora", "cluster",
         "utils"]
PATH = re.compile(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|json|md|txt|hcl|toml)|(?:[\w-]+/)+|Dockerfile)`")
NAME = re.compile(r"`([A-Za-z_][\w.]*)\(\)`|`(?!Dockerfile)([A-Z]\w+)`")


def blocks() -> list[str]:
    """Paragraphs, list items and rows: what a function is named in must also name its file."""
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
    return [block for part in prose.split("\n\n") for block in re.split(r"\n(?=\d+\. |\| )", part) if block.strip()]


@functools.cache
def defined(path: Path) -> set[str]:
    """Functions, classes, methods as `Class.method`, and names assigned at the top."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
            found |= {f"{node.name}.{inner.name}" for inner in getattr(node, "body", ())
                      if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


PATHS = sorted(set(PATH.findall(TEXT)))


@pytest.mark.parametrize("path", PATHS)
def test_every_path_exists(path):
    assert (ROOT / path).exists()


def test_every_function_is_in_a_file_that_is_named_beside_it():
    checked = 0
    for block in blocks():
        files = [ROOT / path for path in PATH.findall(block) if path.endswith(".py")]
        for name in (match[1] or match[2] for match in NAME.finditer(block)):
            if name in MENTIONED:
                continue
            assert any(name in defined(file) for file in files), f"{name} is in none of {files}:\n{block}"
            checked += 1
    assert checked > 40


# Named for what they are, in a text that says elsewhere where they stand.
MENTIONED = {"Settings", "Request", "JobError", "ConfigError", "CONTEXT_LENGTH", "MAX_IDLE_STREAMS", "Outcome"}


@pytest.mark.parametrize("name", sorted(MENTIONED - {"CONTEXT_LENGTH", "MAX_IDLE_STREAMS"}))
def test_what_is_mentioned_is_defined_in_a_file_that_is_named(name):
    assert any(name in defined(ROOT / path) for path in PATHS if path.endswith(".py"))


def imports(room: str) -> set[str]:
    """The other rooms that a room's modules import, wherever in a module, but not for its types alone."""
    files = [ROOT / f"{room}.py"] if (ROOT / f"{room}.py").exists() else sorted((ROOT / room).rglob("*.py"))
    found = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
        for child in ast.iter_child_nodes(node):
            visit(child)

    for file in files:
        visit(ast.parse(file.read_text(encoding="utf-8")))
    return (found & set(ROOMS)) - {room}


def test_the_arrows_are_the_imports():
    picture = re.search(r"```mermaid\n(.*?)```", TEXT, re.DOTALL)[1]
    drawn = {room: {to for source, to in re.findall(r"^\s*(\w+) --> (\w+)$", picture, re.MULTILINE) if source == room}
             for room in ROOMS}
    for room in ROOMS:
        assert drawn[room] == imports(room) - {"clock", "utils"}, room
    assert imports("utils") == set() and imports("clock") == {"utils"}


def test_every_room_is_in_the_picture_and_in_the_table():
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"builder", "local", "bench", "tests"}
    assert rooms == set(ROOMS) - {"engine", "utils"}
    for room in ROOMS:
        assert re.search(rf'^\s*{room}\["{room}(/|\.py)<br>', TEXT, re.MULTILINE), room
    for room in set(ROOMS) - {"utils"}:
        assert re.search(rf"^\| `{room}(/|\.py)` \|", TEXT, re.MULTILINE), room


def test_the_newcomers_test_has_ten_changes_with_ten_files():
    table = TEXT.split("## A newcomer's test")[1]
    files = re.findall(r"^\| .*[.?] \| `([\w/]+\.py)` \|$", table, re.MULTILINE)
    assert len(files) == len(set(files)) == 10
