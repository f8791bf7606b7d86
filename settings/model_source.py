"""Where the model is: names of repositories in the server's arguments become folders wherever a whole copy is at hand.

A folder rather than the name with HF_HUB_CACHE set, because SGLang looks a name up by its exact letters, asks the
hub about it in a dozen places (the format of its weights, hf_quant_config.json, tags of its tokenizer) and takes
the tokenizer at the model's revision; a folder it reads as it is. What is not whole here is left to the server,
which downloads it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from settings import config_file, flags, hub_cache, templates, whole
from settings.flags.values import Notice, Problem, Snapshot, boolean
from settings.incoming import heard
from settings.masking import line
from settings.resolved import ConfigError, Settings
from settings.whole import Needs

MODEL, DRAFT, TOKENIZER = "--model-path", "--speculative-draft-model-path", "--tokenizer-path"
ADAPTERS, CHECKSUM = "--lora-paths", "--model-checksum"
# What else may name a repository, and is read by the server only.
_OTHERS = ("--speculative-token-map", "--uno-lora-path")
# Adapters and weights that a client names later may come from the hub.
_LOADING_ROUTES = ("/load_lora_adapter", "/update_weights_from_disk")
# SGLang's own choice of files (_prepare_weights in srt/model_loader/loader.py).
_SAFETENSORS = ("*.safetensors",)
_WEIGHTS = {"safetensors": _SAFETENSORS, "fastsafetensors": _SAFETENSORS, "instanttensor": _SAFETENSORS,
            "runai_streamer": _SAFETENSORS, "sharded_state": _SAFETENSORS, "mistral": ("consolidated*.safetensors",),
            "pt": ("*.pt",), "npcache": ("*.bin", "*.pt"), "dummy": (), "remote": (), "remote_instance": ()}


# connector/__init__.py, create_remote_connector, and SUPPORTED_SCHEMES of the run:ai streamer.
_READ_BY_SERVER = ("s3", "gs", "az", "redis", "instance", "http", "https")


class Source(NamedTuple):
    """What the server is to load for one argument. path: None where it is left to the server."""

    path: str | None
    text: str                       # where it is, for the log
    misses: tuple[str, ...] = ()    # places that have it, but not whole
    wrong: str = ""                 # why the server cannot load it at all


def locate(settings: Settings, snapshot: Snapshot, environ: Mapping[str, str]) -> Settings:
    """`settings` with folders in its server_args, `offline`, and notices of what was found where.

    `snapshot` is that of the flags. Reads files, and writes one for a chat template that was given as text; asks no
    network. Raises ConfigError for what is named and cannot be loaded.
    """
    environ, _ = heard(environ, snapshot)
    given = flags.Given(list(settings.server_args), snapshot)
    replaced, notices, problems = templates.prepared(given, snapshot)
    if file := given.value("--config"):
        problems += config_file.problems(file, snapshot, settings.allowed_listeners)
        _check(problems, settings)
        notices.append(("info", "the model is left to the server: SGLANG_CONFIG_FILE may name it, and its revision"))
        argv = flags.rewritten(settings.server_args, replaced, snapshot)
        return _noted(dataclasses.replace(settings, server_args=argv), notices)
    modelscope = boolean(environ.get("SGLANG_USE_MODELSCOPE", "")) is True
    places = [] if modelscope else [*filter(None, [given.value("--download-dir")]), *hub_cache.caches(environ)]
    tokenizer_revision = environ.get("TOKENIZER_REVISION", "").strip() or None
    sources, folders = _sources(given, places, tokenizer_revision)
    replaced |= folders
    _check(problems + [Problem(_variable(what), "", source.wrong) for what, source in sources.items() if source.wrong],
           settings)

    notices += [("warn", miss) for miss in dict.fromkeys(
        miss for source in sources.values() for miss in source.misses)]
    tokenizer = sources.get("tokenizer")
    if tokenizer_revision and tokenizer and not tokenizer.path:
        notices.append(("warn", "TOKENIZER_REVISION counts only for a tokenizer that is on this machine: SGLang "
                                "downloads one at the model's revision"))
    online = list(_reasons(sources, given, settings.allowed_routes))
    chosen = next((name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if environ.get(name, "").strip()), None)
    if modelscope:
        end = "SGLANG_USE_MODELSCOPE is set, so Hugging Face's caches are not looked at"
    elif chosen:
        end = f"{chosen}={environ[chosen]} stays as it was set"
    elif online:
        end = f"the server may ask the hub, for {', '.join(online)}"
    else:
        end = "the server starts without the hub"
    level = "warn" if chosen and boolean(environ[chosen]) and any(not s.path for s in sources.values()) else "info"
    notices.append((level, "; ".join([*(f"{what}: {source.text}" for what, source in sources.items()), end])))
    argv = flags.rewritten(settings.server_args, replaced, snapshot)
    return _noted(dataclasses.replace(settings, server_args=argv, offline=not (modelscope or chosen or online)),
                  notices)


def _check(problems: list[Problem], settings: Settings) -> None:
    if problems:
        raise ConfigError(sorted({line(problem, settings.secrets) for problem in problems}))


def _variable(what: str) -> str:
    return {"model": "MODEL_NAME", "tokenizer": "TOKENIZER_PATH",
            "draft model": "SPECULATIVE_DRAFT_MODEL_PATH"}.get(what, "LORA_PATHS")


def _noted(settings: Settings, notices: list[Notice]) -> Settings:
    return dataclasses.replace(settings, notices=(*settings.notices, *notices))


def _sources(given: flags.Given, places: list[str], tokenizer_revision: str | None
             ) -> tuple[dict[str, Source], dict[str, list[str]]]:
    """({what is loaded: its source}, {flag: its new values})"""
    sources: dict[str, Source] = {}
    replaced: dict[str, list[str]] = {}
    model, revision = given.value(MODEL) or "", given.value("--revision")
    tokenizer = given.value(TOKENIZER) or model
    one = tokenizer == model and tokenizer_revision in (None, revision)
    load_format = given.value("--load-format") or "auto"

    sources["model"] = _source(model, revision, places, _needs(
        load_format, tokenizer=one and not given.on("--skip-tokenizer-init")))
    if not one:
        # A commit of the model's repository means nothing in another.
        at = None if tokenizer != model and hub_cache.is_commit(revision) else revision
        sources["tokenizer"] = _source(tokenizer, tokenizer_revision or at, places, Needs(None, (), tokenizer=True))
    elif not given.on("--skip-tokenizer-init") and not given.on("--is-embedding") and "--chat-template" not in given:
        found = sources["model"].path
        if found and os.path.isdir(found) and not whole.has_chat_template(Path(found)):
            # A cache may lack what the hub has by now, so the hub is not forbidden.
            sources["chat template"] = Source(None, "none is there; chat jobs need one, set CHAT_TEMPLATE")
    if one and TOKENIZER in given and sources["model"].path:
        replaced[TOKENIZER] = [sources["model"].path]
    draft, draft_revision = given.value(DRAFT), given.value("--speculative-draft-model-revision")
    if draft == model and draft_revision in (None, revision):
        # SGLang compares the two (a draft inside the model's own weights), so they must stay the same.
        if sources["model"].path:
            replaced[DRAFT] = [sources["model"].path]
    elif draft:
        sources["draft model"] = _source(draft, draft_revision, places, _needs(
            given.value("--speculative-draft-load-format") or load_format))
    for flag, what in ((MODEL, "model"), (TOKENIZER, "tokenizer"), (DRAFT, "draft model")):
        if what in sources and (path := sources[what].path):
            replaced[flag] = [path]
    if CHECKSUM in given and not given.value(CHECKSUM) and MODEL in replaced and replaced[MODEL] != [model]:
        # Without a value it takes the model's name, whose hub page has the sums.
        replaced[CHECKSUM] = [model]

    values = []
    for text in given.values(ADAPTERS):
        name, path, put = adapter(text)
        source = sources[f"adapter {name}"] = _source(path, None, places, _needs(load_format, "adapter_config.json"))
        values.append(put(source.path) if source.path and source.path != path else text)
    if values:
        replaced[ADAPTERS] = values
    return sources, replaced


def _needs(load_format: str, config: str = "config.json", tokenizer: bool = False) -> Needs:
    return Needs(config, weight_patterns(load_format), tokenizer)


def weight_patterns(load_format: str) -> tuple[str, ...]:
    """Patterns of the names of weights: the first that fits any file of a folder is the one that counts."""
    return _WEIGHTS.get(load_format, Needs().weights)


def adapter(text: str) -> tuple[str, str, Callable[[str], str]]:
    """(name, path, a function from a new path to the new text) of one element of --lora-paths."""
    if text.strip().startswith("{"):
        try:
            adapter = json.loads(text)
            return (str(adapter["lora_name"]), str(adapter["lora_path"]),
                    lambda path: json.dumps({**adapter, "lora_path": path}))
        except (ValueError, KeyError, TypeError, RecursionError):
            return text, text, lambda path: text
    name, equals, path = text.partition("=")
    # Without a name the path is the name, by which clients choose the adapter.
    return name, path if equals else name, lambda path: f"{name}={path}"


def _source(name: str, revision: str | None, places: list[str], needs: Needs) -> Source:
    if os.path.exists(os.path.expanduser(name)):
        return _own(name, needs)
    if "://" in name:
        scheme = name.partition("://")[0].lower()
        return Source(None, f"{name}, read by the server", wrong="" if scheme in _READ_BY_SERVER else (
            f"{name} is an address that SGLang does not read: name owner/name on the hub, or a folder"))
    if re.match(r"~|\.{0,2}/", name):
        return Source(None, name, wrong=f"{name} is no file or folder of this machine")
    repository, file = hub_cache.gguf(name)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repository):
        return Source(None, name)
    misses: list[str] = []
    for found in hub_cache.snapshots(repository, revision, places):
        path: str | None = None
        reason: str | None = found.problem
        if found.folder and file:
            path, reason = hub_cache.gguf_file(found.folder, file)
        elif found.folder and (reason := whole.problem(found.folder, needs)) is None:
            path = str(found.folder)
        if path:
            return Source(path, f"{name}{f' at {revision}' if revision else ''}, whole in {path}", tuple(misses))
        misses.append(f"{name} was found in {found.repository}, but {reason}")
    return Source(None, f"{name}{f' at {revision}' if revision else ''}, from the hub" if places else name,
                  tuple(misses))


def _own(name: str, needs: Needs) -> Source:
    """A file or folder that the user names."""
    path = Path(name).expanduser()
    if path.is_dir():
        reason = whole.problem(path, needs._replace(own=True))
    else:
        reason = whole.file_problem(path)
    return Source(str(path) if name.startswith("~") else name, name, wrong=f"{name}: {reason}" if reason else "")


def _reasons(sources: dict[str, Source], given: flags.Given, routes: Sequence[str]) -> Iterator[str]:
    """What the server may need the hub for, one by one."""
    for what, source in sources.items():
        if source.path is None:
            yield f"the {what}"
        elif os.path.isdir(source.path):
            yield from (f"{other} (named in the {what}'s files)"
                        for other in _elsewhere(source.path, given.on("--trust-remote-code")))
    for flag in _OTHERS:
        if (value := given.value(flag)) and not os.path.exists(value):
            yield flag
    if CHECKSUM in given and not os.path.exists(given.value(CHECKSUM) or ""):
        yield CHECKSUM
    if "qlora_adapter" in (given.value("--model-loader-extra-config") or ""):
        yield "--model-loader-extra-config"
    yield from (route for route in _LOADING_ROUTES if route in routes)


def _elsewhere(folder: str, remote_code: bool) -> list[str]:
    """Other repositories that the files of a model name: code ("owner/name--module.Class"), a vision tower."""
    found = []
    for file in ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json"):
        values = whole.read_json(Path(folder, file)) or {}
        tower, code = values.get("mm_vision_tower"), values.get("auto_map")
        if isinstance(tower, str) and not os.path.exists(os.path.join(folder, tower)):
            found.append(tower)
        if remote_code and isinstance(code, dict):
            found += [match[1] for match in re.finditer(r'"([^"]+)--', json.dumps(code))]
    return list(dict.fromkeys(found))
