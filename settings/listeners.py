"""Flags by which the engine listens beyond loopback or connects to other machines. Pure.

Refused unless their variable stands in ALLOWED_LISTENERS, or what they name is on this machine alone. Read from
SGLang 0.5.23; each reason says what happens.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Collection, Iterable, Mapping

from settings.flags import Item, variable

# {flag: (what happens, values with which it does not)}
LISTENERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "--kv-events-config": ("publishes the ids of cached tokens to whoever connects (tcp://*:5557 unless it says "
                           "otherwise)", ()),
    "--load-publish-endpoint": ("publishes its load to whoever connects", ("off",)),
    "--decoupled-spec-bind-endpoint": ("takes draft tokens from whoever connects", ()),
    "--decoupled-spec-connect-endpoints": ("connects to other engines", ()),
    "--encoder-register-urls": ("connects to the servers that it names", ()),
    "--encoder-urls": ("sends media to the servers that it names", ()),
    "--language-only": ("opens a bootstrap server for encoders", ()),
    "--dist-init-addr": ("takes part in a group of processes at that address", ()),
    "--nnodes": ("joins the engines of several machines", ("1",)),
    "--remote-instance-weight-loader-seed-instance-ip": ("loads weights from another engine", ()),
    "--remote-instance-weight-loader-start-seed-via-transfer-engine": ("gives its weights to whoever connects", ()),
    "--elastic-ep-backend": ("joins the engines of several machines", ("none",)),
    "--hicache-storage-backend": ("connects to a store of KV cache",
                                  ("file", "sim", "shm", "none")),  # sim is refused by settings/flags/modes.py
    "--enable-unified-cache-external-linker": ("connects to a store of KV cache", ()),
    "--enable-mm-global-cache": ("connects to a store of embeddings", ()),
    "--enable-flexkv": ("connects to a store of KV cache", ()),
    "--enable-lmcache": ("connects to the stores of LMCache's own configuration", ()),
    "--modelexpress-config": ("loads weights from other machines", ()),
    "--forward-pass-metrics-ipc-name": ("publishes its load to whoever connects", ()),
    "--otlp-traces-endpoint": ("sends traces to that address", ()),
    "--tool-server": ("connects to the tool servers that it names, and runs what they offer", ("demo",)),
}
# Read by SGLang from the environment (debug_utils/dumper.py), not from the command line.
VARIABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "DUMPER_SERVER_PORT": ("opens a debugging server on all addresses", ("-1", "0")),
}
_SETTING = "ALLOWED_LISTENERS"
NAMES = frozenset({*map(variable, LISTENERS), *VARIABLES})


def refused(items: Iterable[Item], environ: Mapping[str, str], allowed: Collection[str]) -> list[tuple[str, str]]:
    """(flag or variable, why it is refused) for each way in or out that is asked for and not `allowed` by name."""
    last = {item.flag: item for item in items if item.flag}
    found = []
    for name, (why, harmless) in VARIABLES.items():
        text = environ.get(name, "").strip()
        if text and text not in harmless and name not in allowed:
            found.append((name, f"the engine {why}; open it with {_SETTING}={name}"))
    for flag, (why, harmless) in LISTENERS.items():
        item = last.get(flag)
        if item is None or not item.on or variable(flag) in allowed:
            continue
        if item.values and all(value.lower() in harmless or stays_here(value) for value in item.values):
            continue
        found.append((flag, f"the engine {why}; open it with {_SETTING}={variable(flag)}"))
    return found


def stays_here(text: str) -> bool:
    """Whether every address in `text`, an endpoint or a JSON with endpoints, is one of this machine alone."""
    text = text.strip()
    if text.startswith(("{", "[")):
        try:
            found = _endpoints(json.loads(text))
            return bool(found) and all(map(stays_here, found))
        except (ValueError, RecursionError):
            pass    # an IPv6 address begins with a bracket too
    if re.match(r"(ipc|inproc|unix)://", text):
        return True
    host = re.sub(r"^\w+://", "", text).split("/")[0].rpartition("@")[2]
    match = re.fullmatch(r"\[([0-9a-fA-F:.]+)\](?::\d+)?|([^:]+)(?::\d+)?", host)
    if match is None:
        return False
    host = match[1] or match[2]
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _endpoints(value: object) -> list[str]:
    """The endpoints in KV_EVENTS_CONFIG (or a list of endpoints); a publisher without one listens everywhere."""
    if isinstance(value, list):
        return [text for text in value if isinstance(text, str)] if all(isinstance(t, str) for t in value) else [""]
    if not isinstance(value, dict):
        return [""]
    if value.get("publisher", "null") == "null":
        return ["inproc://none"]
    return [str(value.get("endpoint", "tcp://*:5557"))] + (
        [str(value["replay_endpoint"])] if value.get("replay_endpoint") else [])
