"""The README: short, with the two commands, one picture, every setting that was promised, a way to the rest."""

import re
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from tests import documents
from tests.dockerfile import ROOT
from tests.unit.builder.test_hub import DOCUMENTED, FIELDS

README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")


def test_it_is_short():
    assert len(TEXT.splitlines()) < 280


@pytest.mark.parametrize("line", ["python3 -m local demo", "python3 -m local test"])
def test_it_has_the_two_commands(line):
    assert [block for block in documents.blocks(README) if line in block.text.splitlines()]


def test_its_examples_ask_what_the_hubs_form_deploys_by_itself():
    asked = set(re.findall(r"""\bmodel["']?\s*[=:]\s*["']([^"']+)""", TEXT.split("## Ask it")[1].split("\n## ")[0]))
    assert asked == {FIELDS["MODEL_NAME"]["default"]}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_it_names_every_documented_setting(name):
    assert f"`{name}`" in TEXT


def test_its_picture_is_its_own_and_says_what_it_shows():
    [(described, path)] = re.findall(r"^!\[([^\]]+)\]\(([^)]+)\)$", TEXT, re.MULTILINE)
    assert len(described) > 40
    root = ElementTree.parse(ROOT / path).getroot()
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert {"title", "desc", "style"} <= tags and not tags & {"script", "image", "foreignObject", "use"}
    source = (ROOT / path).read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in source
    assert re.findall(r"https?://[^\"' ]+", source) == ["http://www.w3.org/2000/svg"] and "@import" not in source
    light, dark = (set(re.findall(r"--(\w+):", part)) for part in source.split("prefers-color-scheme: dark"))
    assert light == dark >= set(re.findall(r"var\(--(\w+)\)", source))


def reached(start: Path) -> set[Path]:
    """Every document that links lead to, and that one; of a run's results, those beside a file that is linked."""
    found, left = {start}, [start]
    while left:
        for link in documents.links(left.pop()):
            file = (link.path.parent / unquote(link.target.partition("#")[0])).resolve()
            files = {file} & set(documents.documents())
            if file.exists() and file.suffix != ".md":
                folder = file if file.is_dir() else file.parent
                files = set(folder.glob("*.md")) if (ROOT / "docs") in folder.parents else set()
            left += files - found
            found |= files
    return found


def test_every_document_can_be_reached_from_it():
    lost = set(documents.documents()) - reached(README) - set((ROOT / ".github").rglob("*.md"))
    assert not {str(path.relative_to(ROOT)) for path in lost}


def row(path: str, begins: str) -> list[str]:
    """The cells of the one row of a document's tables that begins so."""
    [line] = [line for line in (ROOT / path).read_text(encoding="utf-8").splitlines() if line.startswith(begins)]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_its_figures_are_those_of_the_readings():
    words = " ".join(TEXT.split())
    engine, share, cpu = (float(row("docs/performance.md", "| 128 | 16,")[column].replace(",", ""))
                          for column in (1, 2, 10))
    worker = float(row("docs/operations.md", "| 128 | 15,")[1].replace(",", ""))
    assert (f"On one H200 with 128 streams the worker carried {round(worker, -2):,.0f} tokens a second, where the "
            f"engine by itself gave {round(engine, -2):,.0f} ({share:.0%} of it, run by run), for {cpu:.0f} µs of "
            "CPU a token").replace("%", " %") in words
    said = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert f"{worker:,.0f} and {engine:,.0f} tokens a second, {worker / engine:.3f}" in " ".join(said.split())
    rows = ("1 GB/s | bytecode, **read ahead**", "0.3 GB/s | bytecode, **packed copies**",
            "0.3 GB/s | bytecode, read ahead")
    quick, packed, slow = (float(row("docs/cold-start.md", f"| a volume of {how}")[2]) for how in rows)
    assert (f"on an H100 after {quick:.0f} seconds from a volume of 1 GB/s, and after {packed:.0f} from one of 0.3, "
            f"with packed copies of the weights; {slow:.0f} without") in words
