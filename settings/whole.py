"""Whether a folder holds all that the server loads from it: a snapshot of a cache, or one that the user names.

Reads files and folders only: no network, no library of Hugging Face's.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from settings import safetensors

_SHARD = re.compile(r"(.+-)(\d+)(-of-)(\d+)(\..+)")
_INDEX = {"*.safetensors": "model.safetensors.index.json", "*.bin": "pytorch_model.bin.index.json",
          "consolidated*.safetensors": "consolidated.safetensors.index.json"}
# What a training run leaves beside weights, in their format.
_NO_WEIGHTS = ("training_args*", "optimizer*", "scheduler*", "scaler*", "rng_state*")
_TOKENIZERS = ("tokenizer.json", "tekken.json", "vocab.txt", "*.model", "tokenizer.model.*", "*.tiktoken")
# By which a model may bring a tokenizer that has none of these files.
_OWN_TOKENIZERS = ("*.py", "vocab*", "*.vocab", "*.spm", "*.bpe")
# What the tokenizer is built from, beside those: the server ends at one that it cannot parse.
_PARSED = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
           "chat_template.json", "processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json")
_TEMPLATE = "chat_template.jinja"  # whatever stands in it is what every chat would say
_POINTER = b"version https://git-lfs.github.com/spec/"
_READERS = 16  # files at once: on a network volume each takes a round trip


class Needs(NamedTuple):
    """What a whole folder has. weights: the first of these patterns that fits any file is the one that counts;
    own: the folder is the user's own, so that only what the server cannot do without is missed."""

    config: str | None = "config.json"
    weights: tuple[str, ...] = ("*.safetensors", "*.bin", "*.pt")
    tokenizer: bool = False
    own: bool = False


def problem(folder: Path, needs: Needs) -> str | None:
    """Why the server could not load what it `needs` from `folder` alone, None when it can."""
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ((_config_problem(folder, names, needs.config, needs.own) if needs.config else None)
            or _weights_problem(folder, names, needs.weights)
            or (_tokenizer_problem(folder, names, needs.own) if needs.tokenizer else None))


def _config_problem(folder: Path, names: list[str], name: str, own: bool) -> str | None:
    # Mistral's own format has its settings here; some repositories have no other.
    if name not in names and "params.json" in names and not any(fnmatch(file, "model*.safetensors") for file in names):
        name = "params.json"
    if name not in names and "adapter_config.json" in names:
        return "it is a LoRA adapter, not a model: name its base model, and this in LORA_PATHS"
    if name not in names and any(name.endswith(".gguf") for name in names):
        return "it holds GGUF files: name one of them"
    # The server takes a damaged generation_config.json for none, and may not know where an answer ends: the hub has it.
    for file in (name, *(() if own else {"generation_config.json"} & set(names))):
        if damaged := file_problem(folder / file):
            return damaged
        if read_json(folder / file) is None:
            return f"{file} cannot be read"
    return None


def _weights_problem(folder: Path, names: list[str], patterns: tuple[str, ...]) -> str | None:
    files, wrong = _weights(folder, names, patterns)
    return wrong or (_first_problem(folder, files) if files else None)


def weight_files(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    """The files of weights that the server loads from `folder`, in the order of their names; none where it cannot."""
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []
    files, wrong = _weights(folder, names, patterns)
    return [] if wrong else [folder / name for name in sorted(files)]


def _weights(folder: Path, names: list[str], patterns: tuple[str, ...]) -> tuple[list[str], str | None]:
    """(the names of the files that there should be, why that cannot be told)"""
    if not patterns:
        return [], None
    kept = [name for name in names if not any(fnmatch(name, other) for other in _NO_WEIGHTS)]
    # A link whose blob is missing counts here: what is half there is not made up for by another format.
    for pattern in patterns:
        files = [name for name in kept if fnmatch(name, pattern)]
        if files:
            index = _INDEX.get(pattern)
            break
    else:
        index = next((_INDEX[pattern] for pattern in patterns if _INDEX.get(pattern) in names), None)
        if index is None:
            return [], f"it has no weights ({', '.join(patterns)})"
        files = []
    if index in names:
        listed = (read_json(folder / index) or {}).get("weight_map")
        if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
            return [], f"{index} cannot be read"
        files = sorted(set(listed.values())) or files
    else:
        files = with_siblings(files)
    return (files, None) if files else ([], f"{index} names no weights")


def with_siblings(files: list[str]) -> list[str]:
    """`files`, and every other part that a name such as model-00001-of-00004.safetensors promises."""
    every = set(files)
    for match in filter(None, map(_SHARD.fullmatch, files)):
        head, number, of, total, tail = match.groups()
        if int(total) <= 10_000:
            every |= {f"{head}{part:0{len(number)}}{of}{total}{tail}" for part in range(1, int(total) + 1)}
    return sorted(every)


def _tokenizer_problem(folder: Path, names: list[str], own: bool) -> str | None:
    found = [name for name in names if any(fnmatch(name, pattern) for pattern in _TOKENIZERS)]
    if not found and {"vocab.json", "merges.txt"} <= set(names):
        found = ["vocab.json", "merges.txt"]
    if not found and not (own and any(fnmatch(name, pattern) for name in names for pattern in _OWN_TOKENIZERS)):
        return "it has no tokenizer"
    parsed = [name for name in _PARSED if name in names]
    damaged = _first_problem(folder, [*found, *(name for name in (*parsed, *({_TEMPLATE} & set(names)))
                                                if name not in found)])
    return damaged or next((f"{name} is no whole JSON" for name in parsed if not _parses(folder / name)), None)


def has_chat_template(folder: Path) -> bool:
    """Whether the server finds a chat template in `folder`, as transformers looks for one."""
    if (folder / _TEMPLATE).is_file() or (folder / "chat_templates").is_dir():
        return True
    if (folder / "tekken.json").is_file():     # Mistral's own tokenizer has its template built in
        return True
    files = ("tokenizer_config.json", "processor_config.json", "chat_template.json")
    return any((read_json(folder / name) or {}).get("chat_template") for name in files)


def _first_problem(folder: Path, names: list[str]) -> str | None:
    with ThreadPoolExecutor(_READERS) as pool:
        found = [line for line in pool.map(lambda name: file_problem(folder / name), names) if line]
    others = f" (and {len(found) - 1} more of {len(names)} files are not whole)" if len(found) > 1 else ""
    return found[0] + others if found else None


def file_problem(path: Path) -> str | None:
    """Why one file cannot be what its name says, None when it may be."""
    try:
        size = path.stat().st_size
        if size == 0:
            return f"{path.name} is empty"
        if os.path.realpath(path).endswith(".incomplete"):
            return f"{path.name} is only partly downloaded"
        if size < 1024 and _begins_with(path, _POINTER):
            return f"{path.name} is a Git LFS pointer, not the file itself (git lfs pull fetches it)"
        return _safetensors_problem(path, size) if path.suffix == ".safetensors" else None
    except FileNotFoundError:
        return f"{path.name} is a link to a missing file" if path.is_symlink() else f"{path.name} is missing"
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror}"


def _begins_with(path: Path, start: bytes) -> bool:
    with open(path, "rb") as f:
        return f.read(len(start)) == start


def _safetensors_problem(path: Path, size: int) -> str | None:
    """Compares the file's size with the one that its header promises: 8 bytes, the header, the last tensor's end."""
    try:
        start, tensors = safetensors.header(path)
        promised = start + max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
    except (ValueError, LookupError, TypeError):
        return f"{path.name} is no whole safetensors file"
    return None if size == promised else f"{path.name} has {size} of {promised} bytes"


def _parses(path: Path) -> bool:
    """Whether a file is JSON. What a cache names by its content and has that content is not read twice."""
    try:
        data = path.read_bytes()
        if not _as_named(data, os.path.basename(os.path.realpath(path))):
            json.loads(data.decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return True


def _as_named(data: bytes, name: str) -> bool:
    """Whether `name` is that of a blob of the hub with this content: its SHA-256, or git's own sum for small files.

    A large tokenizer.json is compared ten times as fast as it is parsed.
    """
    if re.fullmatch(r"[0-9a-f]{64}", name):
        return hashlib.sha256(data).hexdigest() == name
    if re.fullmatch(r"[0-9a-f]{40}", name):
        return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == name
    return False


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None when there is none."""
    try:
        with open(path, encoding="utf-8") as f:
            value = json.load(f)
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
