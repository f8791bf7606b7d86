"""Links of the documents: files, headings and lines that are there; what leads elsewhere by its shape alone."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests import documents
from tests.documents import ROOT, Link

LINKS = [link for path in documents.documents() for link in documents.links(path)]
INSIDE = [link for link in LINKS if not urlsplit(link.target).scheme]
OUTSIDE = [link for link in LINKS if urlsplit(link.target).scheme]


def problem(link: Link) -> str | None:
    """What is wrong with a link inside the repository."""
    path, _, anchor = unquote(link.target).partition("#")
    file = (link.path.parent / path).resolve() if path else link.path
    if path.startswith("/") or not file.is_relative_to(ROOT):
        return "leads out of the repository"
    if not file.exists():
        return "no such file"
    if not anchor:
        return None
    if file.suffix == ".md":
        return None if anchor in documents.anchors(file) else "no such heading"
    lines = re.fullmatch(r"L(\d+)(?:-L(\d+))?", anchor)
    if not lines or not file.is_file():
        return "no such place"
    last = int(lines[2] or lines[1])
    return None if int(lines[1]) <= last <= len(file.read_text(encoding="utf-8").splitlines()) else "no such line"


def test_there_are_links_of_both_kinds():
    assert len(INSIDE) > 100 and OUTSIDE


@pytest.mark.parametrize("link", INSIDE, ids=lambda link: link.name)
def test_a_link_inside_leads_somewhere(link):
    assert problem(link) is None


@pytest.mark.parametrize("link", OUTSIDE, ids=lambda link: link.name)
def test_a_link_outside_has_the_shape_of_one(link):
    """Nothing is asked for over the network."""
    parts = urlsplit(link.target)
    assert parts.scheme == "https", "http is for no page that people should go to"
    assert re.fullmatch(r"(?:[a-z0-9-]+\.)+[a-z]{2,}", parts.netloc) and not re.search(r"\s|[<>]", link.target)


@pytest.mark.parametrize("target, said", [
    ("README.md", None), ("#one", None), ("#two-1", None), ("#a-b_c", None), ("#named", None), ("other.md#deep", None),
    ("code.py#L1", None), ("code.py#L1-L2", None), ("a%20b.md", None),
    ("missing.md", "no such file"), ("#three", "no such heading"), ("#two-2", "no such heading"),
    ("other.md#one", "no such heading"), ("code.py#L3", "no such line"), ("code.py#L2-L1", "no such line"),
    ("code.py#one", "no such place"), ("../../../../../../etc/hosts", "leads out of the repository"),
    ("/README.md", "leads out of the repository")])
def test_what_is_wrong_is_found(target, said, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.unit.documents.test_links.ROOT", tmp_path)
    text = '# One\n## Two\n## Two\n## A, `b_c`!\n<a id="named"></a>\n\n```\n# three\n```\n'
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    (tmp_path / "other.md").write_text("Deep\n====\n", encoding="utf-8")
    (tmp_path / "a b.md").write_text("", encoding="utf-8")
    (tmp_path / "code.py").write_text("a\nb\n", encoding="utf-8")
    assert problem(Link(tmp_path / "README.md", 1, target)) == said


@pytest.mark.parametrize("heading, anchor", [
    ("Which when", "which-when"), ("`/v1/realtime`: what is said", "v1realtime-what-is-said"),
    ("A & B", "a--b"), ("Café – 東京", "café--東京"), ("snake_case-kept", "snake_case-kept")])
def test_anchors_are_githubs(heading, anchor):
    assert documents.slug(heading) == anchor


NAMED = sorted({(path, text) for path in documents.documents() for _, text in documents.code(path)
                if re.fullmatch(r"(?:[\w.-]+/)+[\w.-]+\.(?:py|md|json|jsonl|toml|hcl|ya?ml|txt|svg|js)", text)})


@pytest.mark.parametrize("path, text", NAMED, ids=[f"{path.name} {text}" for path, text in NAMED])
def test_a_file_of_the_repository_that_is_named_is_there(path, text):
    """Only of folders that the repository has: others are the engine's, or a volume's."""
    places = (ROOT / text, path.parent / text)
    folder = Path(text).parts[0]
    assert any(place.exists() for place in places) or not (ROOT / folder).is_dir()
