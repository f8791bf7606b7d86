"""Who may come in, and with what: a secret that all nodes have, and settings that have to be the same. Pure.

The secret is WORKER_API_KEY. Each side proves that it has it without sending it, for both nonces; what is said
afterwards is neither signed nor encrypted. Where there is no key (`none`), the network between the nodes is all that
keeps strangers out, as it is for SGLang's own connections in any case.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

from settings.model_source import adapter

PROTOCOL = 1
# Flags that differ from node to node, or may: places of files, and this node's number.
_OWN = frozenset({"--node-rank", "--dist-init-addr", "--host", "--port", "--model-path", "--tokenizer-path",
                  "--speculative-draft-model-path", "--download-dir", "--model-checksum"})
# Of these a part has to be the same: an adapter's name, whose folder is where a node has it, and a template's file,
# which is named for its text where the worker wrote it.
_IN_PART: Mapping[str, Callable[[str], str]] = {"--lora-paths": lambda text: adapter(text)[0],
                                                "--chat-template": os.path.basename}


def proof(secret: bytes, side: str, nonces: Iterable[str], rank: int) -> str:
    """That `side` ("node" or "lead") has the secret; for the nonces of both sides."""
    return hmac.new(secret, json.dumps([side, *nonces, rank]).encode(), hashlib.sha256).hexdigest()


def same(one: str, other: object) -> bool:
    """Whether two proofs are one, in a time that does not tell."""
    return isinstance(other, str) and hmac.compare_digest(one.encode(), other.encode("utf-8", "replace"))


def about(secret: bytes, facts: Mapping[str, str], server_args: Sequence[str]) -> dict[str, str]:
    """Digests of what has to be the same on all nodes, by name: `facts`, and each flag of the server."""
    named: dict[str, list[str]] = {name: [text] for name, text in facts.items()}
    flag = ""
    for word in server_args:
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            named[flag] = [value] if equals else []
        elif flag:
            named[flag].append(word)
    for name, part in _IN_PART.items():
        if name in named:
            named[name] = list(map(part, named[name]))
    return {name: hmac.new(secret, json.dumps(words).encode(), hashlib.sha256).hexdigest()[:16]
            for name, words in named.items() if name not in _OWN}


def differing(ours: Mapping[str, str], theirs: object) -> list[str]:
    """The names of what is not the same, at most ten."""
    others: Mapping[object, object] = theirs if isinstance(theirs, dict) else {}
    names = {name for name in {*ours, *others} if ours.get(str(name)) != others.get(name)}
    return sorted(str(name)[:60] for name in names)[:10]
