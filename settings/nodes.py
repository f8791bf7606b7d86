"""Whether this worker is one of several machines that are one engine, and which. Pure.

RunPod sets the variables on every node of an Instant Cluster (docs.runpod.io/instant-clusters/configuration):
NUM_NODES, NODE_RANK, NODE_ADDR, NUM_TRAINERS, PRIMARY_ADDR and PRIMARY_PORT, by their older names MASTER_ADDR and
MASTER_PORT. Others' programs take addresses with the length of their network (`10.65.0.2/24`) for possible.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from settings.flags import Given, variable
from settings.flags.values import Notice, Problem

PORT = 29500  # of PyTorch's own launcher, where nothing says which
# Flags that the worker gives itself on several nodes: an explicit one is no way out of its own.
OPENED = ("NNODES", "DIST_INIT_ADDR")


@dataclasses.dataclass(frozen=True)
class NodeSettings:
    """count: of nodes, 1 for a worker that is alone; rank: of this one; host, port: where SGLang's processes find each
    other, on node 0, the port below being the workers' own; own: this node's address between the nodes; gpus: of each
    node, None where nothing says; wait: seconds for a node that is not there; silence: after which one counts as lost;
    interface: of this machine that leads to the others, "" where that is not known."""

    count: int = 1
    rank: int = 0
    host: str = ""
    port: int = PORT
    own: str = ""
    gpus: int | None = None
    wait: float = 300.0
    silence: float = 15.0
    interface: str = ""


def several(environ: Mapping[str, str]) -> bool:
    """Whether more than one machine is spoken of."""
    text = environ.get("NUM_NODES", "").strip()
    return text.isdecimal() and int(text) > 1


def of(environ: Mapping[str, str], worker: Mapping[str, Any], given: Given, mode: str
       ) -> tuple[NodeSettings, list[str], list[Notice], list[Problem]]:
    """(settings, the server's arguments, notices, problems); mode: of http.py."""
    text = environ.get("NUM_NODES", "").strip()
    if not several(environ):
        wrong = [Problem("NUM_NODES", text, "must be a whole number")] if text and not text.isdecimal() else []
        return NodeSettings(), [], [], wrong
    problems: list[Problem] = []

    def number(names: tuple[str, ...], low: int, high: int, unset: int | None) -> int:
        name = next((name for name in names if environ.get(name, "").strip()), "")
        said = environ.get(name, "").strip() if name else str("" if unset is None else unset)
        if said.isdecimal() and low <= int(said) <= high:
            return int(said)
        problems.append(Problem(name or names[0], said, f"must be a whole number from {low} to {high} "
                                f"where NUM_NODES is {text}"))
        return low

    count = int(text)
    rank = number(("NODE_RANK",), 0, count - 1, None)
    port = number(("PRIMARY_PORT", "MASTER_PORT"), 2, 65535, PORT)
    host = _address(environ, "PRIMARY_ADDR") or _address(environ, "MASTER_ADDR")
    own = _address(environ, "NODE_ADDR") or (host if rank == 0 else "")
    if mode == "queue":
        problems.append(Problem("NUM_NODES", text, "several machines are one engine over HTTP alone, because a worker "
                                "of RunPod's queue is one machine: set WORKER_MODE=http on all nodes, or unset "
                                "NUM_NODES"))
    if not host:
        problems.append(Problem("PRIMARY_ADDR", "", f"must be node 0's address where NUM_NODES is {text}"))
    problems += _conflicts(given, {"--nnodes": ("NUM_NODES", count), "--node-rank": ("NODE_RANK", rank)})
    if given.count("--dp-size") > 1 and not given.on("--enable-dp-attention"):
        problems.append(Problem("DATA_PARALLEL_SIZE", given.value("--dp-size") or "", "copies of the model on several "
                                "machines are not one engine in SGLang: run a worker on each, or set ATTN_DP_SIZE"))
    if worker["LORA_SOURCES"]:
        problems.append(Problem("LORA_SOURCES", "", "an adapter would be downloaded to node 0 alone: name the adapters "
                                "in LORA_PATHS on all nodes"))
    words = {"--nnodes": str(count), "--node-rank": str(rank),
             "--dist-init-addr": f"[{host}]:{port}" if ":" in host else f"{host}:{port}"}
    arguments = [word for flag, value in words.items() if flag not in given for word in (flag, value)]
    trainers = environ.get("NUM_TRAINERS", "").strip()
    settings = NodeSettings(count, rank, host, port, own, int(trainers) if trainers.isdecimal() else None,
                            worker["NODE_WAIT_TIMEOUT"], worker["NODE_LOST_TIMEOUT"])
    notices: list[Notice] = [("info", f"node {rank} of {count}, which are one engine (NUM_NODES)" + (
        "" if rank == 0 else f": requests go to node 0, {host}"))]
    return settings, arguments, notices, problems


def _address(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").strip().partition("/")[0].strip("[]")


def _conflicts(given: Given, meant: Mapping[str, tuple[str, int]]) -> list[Problem]:
    return [Problem(variable(flag), given.value(flag) or "", f"{name} is {value}: set one of them")
            for flag, (name, value) in meant.items() if flag in given and given.value(flag) != str(value)]
