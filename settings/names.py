"""Names of models: where an address of the hub means a repository, and under which name the server can serve. Pure."""

from __future__ import annotations

import json
import re
from typing import NamedTuple
from urllib.parse import unquote

from settings import flags
from settings.flags.values import Notice, Problem

MODEL, TOKENIZER, DRAFT, REVISION = ("--model-path", "--tokenizer-path", "--speculative-draft-model-path", "--revision")
SERVED, ADAPTERS = "--served-model-name", "--lora-paths"
_REVISION_OF = {MODEL: REVISION, DRAFT: "--speculative-draft-model-revision"}

_HUB = re.compile(r"(?:(?:https?://)?(?:[^/@\s]*@)?(?:www\.)?(?:huggingface\.co|hf\.co|hf-mirror\.com)/|hf://)(.*)",
                  re.IGNORECASE)
# Of a repository, as a path in a browser or a shell ends.
_WITH_SLASH = re.compile(r"(?![.~])([\w.-]+/[\w.-]+)/+")
_NO_MODELS = ("datasets", "spaces", "collections", "papers", "docs", "blog")
# SGLang serves under such addresses as they are (is_runai_obj_uri in srt/utils/runai_utils.py).
# Of all addresses on the web SGLang reads Azure's (create_remote_connector in srt/connector).
_NO_STORE = re.compile(r"https?://(?![^/]*\.blob\.core\.windows\.net(?:/|$))", re.IGNORECASE)
_OBJECT_STORE = re.compile(r"(s3|gs|az)://", re.IGNORECASE)


class Hub(NamedTuple):
    """What an address of the hub names. name: owner/name, or owner/name/FILE.gguf; "" for no model."""

    name: str
    revision: str | None


def from_address(text: str, endpoint: str = "") -> Hub | None:
    """The repository that `text`, copied from a browser, means; None where it is no address of the hub.

    endpoint: the hub's own address, as HF_ENDPOINT has it.
    """
    slash = _WITH_SLASH.fullmatch(text.strip())
    if slash and slash[1].split("/")[0].lower() not in ("huggingface.co", "hf.co"):
        return Hub(slash[1], None)
    own = endpoint.strip().rstrip("/")
    if own and text.strip().startswith(f"{own}/"):
        text = "hf://" + text.strip()[len(own) + 1:]
    match = _HUB.fullmatch(text.strip())
    if match is None:
        return None
    parts = [unquote(part) for part in re.split(r"[?#]", match[1])[0].split("/") if part]
    if parts[:1] == ["models"]:
        parts = parts[1:]
    if not parts or parts[0] in _NO_MODELS:
        return Hub("", None)
    marks = [place for place, part in enumerate(parts) if part in ("tree", "blob", "resolve", "raw") and 0 < place < 3]
    if not marks:
        # As huggingface_hub's own file system names a revision: hf://owner/name@main.
        name, _, revision = "/".join(parts[:2]).partition("@")
        return Hub(name, revision or None)
    name, rest = "/".join(parts[:marks[0]]), parts[marks[0] + 1:]
    file = rest[1:] if parts[marks[0]] != "tree" else []
    if file and file[-1].endswith(".gguf"):
        name = "/".join((name, *file))
    return Hub(name, rest[0] if rest else None)


def repaired(given: flags.Given, variable: str, endpoint: str = ""
             ) -> tuple[dict[str, list[str]], list[Notice], list[Problem]]:
    """({flag: its new value}, notices, problems) of the flags that name repositories.

    variable: the one that the user names the model by, for a problem; endpoint: the hub's own address, if set.
    """
    replaced: dict[str, list[str]] = {}
    notices: list[Notice] = []
    problems: list[Problem] = []
    for flag in (MODEL, TOKENIZER, DRAFT):
        text = given.value(flag) or ""
        hub = from_address(text, endpoint)
        name = variable if flag == MODEL else flags.variable(flag)
        if hub is None and not _NO_STORE.match(text):
            continue
        if hub is None or not hub.name:
            problems.append(Problem(name, text, "is no address of a model on the hub: set owner/name, or a folder"))
            continue
        replaced[flag] = [hub.name]
        revision = _REVISION_OF.get(flag)
        line = f"{name}: {hub.name} is read from the address {text}"
        if hub.revision and revision and revision not in given:
            replaced[revision] = [hub.revision]
            line += f", at revision {hub.revision}"
        notices.append(("info", line))
    adapters = [_adapter(text, endpoint) for text in given.values(ADAPTERS)]
    if changed := [line for _, line in adapters if line]:
        replaced[ADAPTERS] = [text for text, _ in adapters]
        notices += [("info", line) for line in changed]
    return replaced, notices, problems


def _adapter(text: str, endpoint: str) -> tuple[str, str]:
    """(an element of --lora-paths with a repository in place of an address, the line that says so or "")"""
    if text.lstrip().startswith("{"):
        try:
            adapter = json.loads(text)
            hub = from_address(str(adapter["lora_path"]), endpoint)
        except (ValueError, KeyError, TypeError, RecursionError):
            return text, ""
        new = json.dumps({**adapter, "lora_path": hub.name}) if hub and hub.name else text
    else:
        name, equals, path = text.partition("=")
        hub = from_address(path if equals else text, endpoint)
        new = f"{name}={hub.name}" if hub and equals else hub.name if hub else text
    if hub is None or not hub.name:
        return text, ""
    return new, f"LORA_PATHS: {hub.name} is read from the address of an adapter"


def servable(name: str) -> str:
    """`name`, or one like it that SGLang starts with.

    It refuses a colon, which parts a model from its adapter (check_server_args in srt/arg_groups/validation_hook.py).
    """
    if ":" not in name or _OBJECT_STORE.match(name):
        return name
    if "://" in name:
        name = name.partition("://")[2].rstrip("/").rpartition("/")[2] or name
    return name.replace("://", "-").replace(":", "-")
