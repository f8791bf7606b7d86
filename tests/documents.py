"""The documents of this repository as data, for the tests that hold them to what is there: code, links, anchors.

Markdown is read by markdown-it, shell by bash itself: a block is run by a bash that finds no program, so that what it
would have called is written down in place of being done.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (".", "docs", "examples", ".github")
# An untagged block is what a program says, unless it begins with one that is called.
_CALLS = re.compile(r"(?:\w+=\S*\s+(?:\\\n)?)*(?:\S*python3?|pip|curl|docker|git|npm|npx|node|cat|ruff|gh)\s")
_NAMED_BY_HTML = re.compile(r"""(?:href|src|srcset)=["']([^"']*)""")
_NOT_RUN = "unserved"  # behind a block's language: no engine here could answer it


class Block(NamedTuple):
    """path: of its document; line: of its first line of text; kind: its language, "bash" and "text" for one without;
    served: not marked as one that only a GPU, or another model, could answer."""

    path: Path
    line: int
    kind: str
    text: str
    served: bool

    @property
    def name(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


class Link(NamedTuple):
    path: Path
    line: int
    target: str

    @property
    def name(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} {self.target}"


class Command(NamedTuple):
    """What a shell would have run. words: the program and its arguments; environ: the variables set for it; given: what
    a here-document gives it."""

    words: tuple[str, ...]
    environ: dict[str, str]
    given: str


@functools.cache
def documents() -> tuple[Path, ...]:
    """Every Markdown file that people read."""
    found = {path for folder in FOLDERS for path in
             (ROOT.glob("*.md") if folder == "." else (ROOT / folder).rglob("*.md"))}
    return tuple(sorted(found))


@functools.cache
def tokens(path: Path) -> tuple[Token, ...]:
    return tuple(MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(path.read_text(encoding="utf-8")))


def walked(path: Path) -> Iterator[tuple[Token, int]]:
    """Every token of a document, with the line on which it, or the block around it, begins."""
    line = 1
    for token in tokens(path):
        line = token.map[0] + 1 if token.map else line
        yield token, line
        for child in token.children or ():
            yield child, line
            line += child.type in ("softbreak", "hardbreak")


def blocks(path: Path) -> list[Block]:
    """Fenced and indented code."""
    found = []
    for token, line in walked(path):
        if token.type in ("fence", "code_block"):
            kind, *marks = token.info.split() or [""]
            kind = kind or ("bash" if _CALLS.match(token.content) else "text")
            found.append(Block(path, line + (token.type == "fence"), kind, token.content, _NOT_RUN not in marks))
    return found


def every_block(*kinds: str) -> list[Block]:
    return [block for path in documents() for block in blocks(path) if not kinds or block.kind in kinds]


def code(path: Path) -> list[tuple[int, str]]:
    """(line, text) of what stands between backticks."""
    return [(line, token.content) for token, line in walked(path) if token.type == "code_inline"]


def links(path: Path) -> list[Link]:
    """Links and pictures, those of HTML too."""
    found = []
    for token, line in walked(path):
        target = token.attrGet("href") if token.type == "link_open" else token.attrGet("src") if (
            token.type == "image") else None
        if target is not None:
            found.append(Link(path, line, str(target)))
        if token.type in ("html_inline", "html_block"):
            found += [Link(path, line, each) for each in _NAMED_BY_HTML.findall(token.content)]
    return found


@functools.cache
def anchors(path: Path) -> frozenset[str]:
    """What may stand behind `#` for a document: GitHub's name for each heading, and the names that HTML gives."""
    found: set[str] = set()
    heading = False
    for token, _ in walked(path):
        if token.type in ("heading_open", "heading_close"):
            heading = token.type == "heading_open"
        elif token.type == "inline" and heading:
            words = (child.content for child in token.children or () if child.type in ("text", "code_inline"))
            name = slug("".join(words))
            number = 0
            while (each := f"{name}-{number}" if number else name) in found:
                number += 1
            found.add(each)
        elif token.type in ("html_inline", "html_block"):
            found.update(re.findall(r"""(?:id|name)=["']([^"']+)""", token.content))
    return frozenset(found)


def slug(heading: str) -> str:
    """As GitHub makes an anchor of a heading: lower case, hyphens for spaces, no punctuation but hyphens and
    underscores."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


_RECORDER = r"""
command_not_found_handle() {
  local given=""
  if [[ ! -t 0 ]]; then IFS= read -r -d "" given; fi
  { printf '%s\0' "$#" "$@" "$given"
    local name; for name in $(compgen -e); do printf '%s\0' "$name=${!name}"; done
    printf '\0'; } >> "$RECORDED"
}
"""
_SHELLS_OWN = {"PATH", "PWD", "OLDPWD", "SHLVL", "_", "RECORDED", "RUNPOD_API_KEY"}


def filled(text: str) -> str:
    """A shell text with a word for each `<PLACEHOLDER>`, which bash would take for a redirection, and without the
    folders of an environment's Python, which are not here."""
    text = re.sub(r"(?<![\w./$-])[\w./-]*/bin/(python3?|pip)\b", r"\1", text)
    return re.sub(r"<([A-Za-z][\w .-]*)>", lambda match: match[1].replace(" ", "-"), text)


def commands(block: str) -> list[Command]:
    """What bash would run of a block. AssertionError where it does not parse."""
    bash = shutil.which("bash")
    assert bash, "bash is needed"
    with tempfile.TemporaryDirectory() as folder:
        record = os.path.join(folder, "recorded")
        environ = {"PATH": "/nowhere", "RECORDED": record, "RUNPOD_API_KEY": "rpa_key"}
        text = filled(block)
        done = subprocess.run([bash, "-n"], input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        done = subprocess.run([bash, "-c", _RECORDER + text], env=environ, cwd=folder, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60)
        # Nothing was done, so what a later line goes into is not there.
        wrong = [line for line in done.stderr.splitlines() if not line.endswith("No such file or directory")]
        assert not wrong, done.stderr
        if not os.path.exists(record):
            return []
        with open(record, encoding="utf-8") as file:
            fields = file.read().split("\0")
    found = []
    while len(fields) > 1:
        count = int(fields[0])
        words, given = fields[1:count + 1], fields[count + 1]
        end = fields.index("", count + 2)
        assigned = dict(each.split("=", 1) for each in fields[count + 2:end])
        found.append(Command(tuple(words), {k: v for k, v in assigned.items() if k not in _SHELLS_OWN}, given))
        fields = fields[end + 1:]
    return found
