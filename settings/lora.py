"""LORA_SOURCES: which LoRA adapters jobs may name, to be loaded on first use. Pure.

One element is a folder, whose subfolders are adapters (or which is one); `owner/name` on the hub, with `*` in the name
for any number of letters and `@revision` behind it for another than the main branch; or `name=` before a folder that is
an adapter, or a repository, which gives it that name. Elements stand side by side, separated by spaces or commas, or in
a JSON list.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

from settings import flags
from settings.flags.values import Problem
from settings.http import HttpSettings

# A name as it may stand in `model` and in a path: no colon, which parts it from the model, and nothing that leads on.
NAME = re.compile(r"\w[\w.+-]{0,127}")
_REPOSITORY = re.compile(r"([\w.*-]+)/([\w.*-]+)(?:@([\w.-]+(?:/[\w.-]+)*))?")
LOADING_ROUTES = ("/load_lora_adapter", "/unload_lora_adapter", "/load_lora_adapter_from_tensors")


class Place(NamedTuple):
    """One element. name: the adapter's, "" where each adapter there has its own. Either a folder (absolute) or a
    repository, in whose name `*` stands for any letters; revision: "" for the main branch."""

    name: str = ""
    folder: str = ""
    repository: str = ""
    revision: str = ""


@dataclasses.dataclass(frozen=True)
class LoraSettings:
    """places: what may be loaded on first use, none where that is not wanted; pinned: adapters of LORA_PATHS that stay
    loaded; seconds: that a request waits for its adapters, and that a download takes at most; bytes: of a download."""

    places: tuple[Place, ...] = ()
    pinned: frozenset[str] = frozenset()
    wait_seconds: float = 120.0
    download_seconds: float = 600.0
    download_bytes: int = 2_000_000_000


def places(text: str) -> tuple[Place, ...]:
    """The elements of LORA_SOURCES. Raises ValueError, whose text says what is wrong."""
    text = text.strip()
    if text.startswith("["):
        try:
            elements = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("must be a JSON list where it begins with a bracket") from None
        if not all(isinstance(element, str) for element in elements):
            raise ValueError("must be a list of texts")
    else:
        words = shlex.shlex(text, posix=True)
        words.whitespace += ","
        words.whitespace_split, words.commenters = True, ""
        try:
            elements = list(words)
        except ValueError as error:
            raise ValueError(f"cannot be split into elements: {error}") from None
    found = tuple(dict.fromkeys(_place(element) for element in elements))
    names = [place.name for place in found if place.name]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"names two adapters {twice!r}; each needs a name of its own")
    if not found:
        raise ValueError("has no element")
    return found


def _place(element: str) -> Place:
    name, equals, target = element.partition("=")
    if not equals:
        name, target = "", element
    elif not NAME.fullmatch(name):
        raise ValueError(f"element {element!r}: a name before `=` is of letters, digits and . _ + -")
    if target.startswith("/"):
        folder = os.path.normpath(target.removesuffix("/*") or "/")
        if "*" in folder:
            raise ValueError(f"element {element!r}: a folder has no `*`; its subfolders are the adapters")
        if folder.strip("/") == "":
            raise ValueError(f"element {element!r} is the whole file system")
        return Place(name, folder="/" + folder.lstrip("/"))
    match = _REPOSITORY.fullmatch(target)
    if not match or any(part in (".", "..") for part in target.partition("@")[0].split("/")):
        raise ValueError(f"element {element!r} must be a folder that begins with /, or owner/name on the hub")
    owner, repository, revision = match.groups()
    if "*" in owner:
        raise ValueError(f"element {element!r} must name an owner: anybody may have a repository on the hub")
    if name and "*" in repository:
        raise ValueError(f"element {element!r} gives one name to many repositories: leave {name}= out")
    return Place(name, repository=f"{owner}/{repository}", revision=revision or "")


def settled(worker: Mapping[str, Any], given: flags.Given, http: HttpSettings) -> tuple[LoraSettings, list[Problem]]:
    """(the settings, what is wrong), of the worker's own values, the server's arguments and the way in."""
    text, name = worker["LORA_SOURCES"], "LORA_SOURCES"
    if not text:
        return LoraSettings(), []
    problems = []
    try:
        found = places(text)
    except ValueError as error:
        found = ()
        problems.append(Problem(name, text, str(error)))
    for flag, why in (("--dp-size", "SGLang loads no adapter while it runs in data-parallel replicas"),
                      ("--tokenizer-worker-num", "SGLang tells only one of several tokenizers of an adapter")):
        # tokenizer_control_mixin.py, load_lora_adapter, asserts the one; the registry is one of each tokenizer process.
        if given.count(flag) > 1:
            problems.append(Problem(name, "", f"does not go with {flags.variable(flag)}={given.value(flag)}: {why}"))
    if http.mode == "http" and http.processes > 1:
        problems.append(Problem(name, "", "does not go with HTTP_PROCESSES over 1: one process has to know which "
                                          "adapters are in use"))
    if opened := [route for route in LOADING_ROUTES if route in worker["ALLOWED_ROUTES"]]:
        problems.append(Problem(name, "", f"does not go with {opened[0]} in ALLOWED_ROUTES: a call could unload what "
                                          "another request needs"))
    return LoraSettings(found, frozenset(_pinned(given.values("--lora-paths"))), worker["LORA_LOAD_TIMEOUT"],
                        worker["LORA_DOWNLOAD_TIMEOUT"], round(worker["LORA_DOWNLOAD_MAX_MB"] * 1e6)), problems


def _pinned(elements: tuple[str, ...]) -> list[str]:
    found = []
    for element in elements:
        if element.strip().startswith("{"):
            try:
                adapter = json.loads(element)
                found += [str(adapter["lora_name"])] if adapter.get("pinned") else []
            except (ValueError, KeyError, RecursionError):  # told by whoever checks LORA_PATHS
                continue
    return found

