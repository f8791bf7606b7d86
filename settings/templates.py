"""Chat templates as people give them, into files that SGLang loads.

SGLang takes a built-in name, a file that ends in .jinja, or a JSON file of its own kind (_load_explicit_chat_template
in srt/parser/template_manager.py), and finds out about anything else only once the weights are loaded. Reads the file
that is named, and writes one for a template that was given as text.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

from settings import flags, whole
from settings.flags.values import Notice, Problem, Snapshot

CHAT, COMPLETION = "--chat-template", "--completion-template"
_INLINE = re.compile(r"\{[{%#]")
# What the server reads a .json file for (_load_json_chat_template there).
_JSON_NEEDS = ("name", "system", "user", "assistant", "sep_style", "stop_str")


def is_text(value: str) -> bool:
    """Whether `value` is a Jinja template itself rather than the name of one."""
    return _INLINE.search(value) is not None


def prepared(given: flags.Given, snapshot: Snapshot, folder: Path | None = None
             ) -> tuple[dict[str, list[str]], list[Notice], list[Problem]]:
    """({flag: its new value}, notices, problems). folder: for templates given as text, where they are kept."""
    text = given.value(CHAT)
    problems = []
    completion = given.value(COMPLETION)
    if completion and "/" in completion and (wrong := _wrong(Path(completion))):
        problems.append(Problem("COMPLETION_TEMPLATE", completion, wrong))
    if not text or text in snapshot["flags"].get(CHAT, {}).get("builtins", []):
        return {}, [], problems
    try:
        if is_text(text):
            path = _written(text, folder)
            return {CHAT: [path]}, [("info", f"CHAT_TEMPLATE is a template's text: written to {path}")], problems
        if re.match(r"\w+://", text):
            wrong = "is an address; set a file, or the template's text itself"
        else:
            wrong = _wrong(Path(text).expanduser())
        if wrong:
            return {}, [], [*problems, Problem("CHAT_TEMPLATE", text, wrong)]
        known = Path(text).expanduser()
        if known.suffix == ".jinja":
            known.read_text(encoding="utf-8")  # as the server does, once everything is loaded
        if known.suffix in (".jinja", ".json"):
            return ({} if str(known) == text else {CHAT: [str(known)]}), [], problems
        path = _written(known.read_text(encoding="utf-8"), folder)
        return {CHAT: [path]}, [("info", f"CHAT_TEMPLATE: SGLang loads templates from .jinja files, so {text} was "
                                         f"copied to {path}")], problems
    except (OSError, UnicodeDecodeError) as error:
        return {}, [], [*problems, Problem("CHAT_TEMPLATE", text, f"cannot be read, or written to a file: {error}")]


def _wrong(path: Path) -> str | None:
    if not path.exists():
        return "is no file of this machine, and no template's text"
    if not path.is_file():
        return "is no file"
    if (reason := whole.file_problem(path)) is not None:
        return reason
    if path.suffix == ".json":
        content = whole.read_json(path)
        if content is None:
            return "is no JSON object"
        missing = [key for key in _JSON_NEEDS if key not in content]
        return f"lacks {', '.join(missing)}, which SGLang reads of a JSON template" if missing else None
    return None


def _written(text: str, folder: Path | None) -> str:
    """The path of a file with `text`, of this user alone; one text has one file."""
    if folder is None:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        folder = Path(base) / "worker-sglang" / "templates"
    name = f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.jinja"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _kept(folder / name, text)
    except OSError:  # a home that cannot be written
        return _kept(Path(tempfile.mkdtemp(prefix="worker-sglang-")) / name, text)


def _kept(path: Path, text: str) -> str:
    # Written aside and moved: the server of another worker may be reading it.
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as f:
        f.write(text)
    os.replace(f.name, path)
    return str(path)
