"""How jobs come in: from RunPod's queue, or over HTTP; and what the HTTP front needs. Pure."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Mapping
from typing import Any

from settings import nodes
from settings.flags.values import Notice, Problem

ON_RUNPOD, ELSEWHERE = 80, 8000  # ports, where PORT is not set; RunPod's load balancer expects 80
_BEFORE_RUNPOD = 325.0  # seconds: RunPod's load balancer ends a request after 5.5 minutes, without a word of why
_BOTH_WAYS = 30.0  # MB, the most that it takes as a body or as an answer
_RESULT = 20.0  # MB, the most that RunPod's queue takes as a job's result
# What is unset means by the way in. RunPod's limits for jobs are 20 MB, and 1 MB for a chunk, whose delivery costs ten
# times what writing to a connection does; there what a slow reader leaves waits here, up to three chunks of it.
_UNSET = {"queue": {"MAX_INPUT_MB": 20.0, "MAX_RESULT_MB": 19.0, "STREAM_CHUNK_KIB": 512,
                    "STREAM_POSTS_PER_SECOND": 150.0},
          "http": {"MAX_INPUT_MB": _BOTH_WAYS, "MAX_RESULT_MB": _BOTH_WAYS, "STREAM_CHUNK_KIB": 64,
                   "STREAM_POSTS_PER_SECOND": 900.0}}


@dataclasses.dataclass(frozen=True)
class HttpSettings:
    """mode: "queue", or "http"; reason: why, in words; host, port, health_port, health_path: where it listens;
    queue_seconds: how long a request waits for room; request_seconds: how long one may take in all, 0 for no limit;
    body_bytes: of a body; held_bytes: of all bodies together; keys: of callers, none for everybody; origins: of
    browsers' pages, "*" for any; processes: that carry requests, 1 for the worker's own alone."""

    mode: str = "queue"
    reason: str = ""
    host: str = "0.0.0.0"
    port: int = ON_RUNPOD
    health_port: int = ON_RUNPOD
    health_path: str = "/ping"
    queue_seconds: float = 10.0
    request_seconds: float = 0.0
    body_bytes: int = 30_000_000
    held_bytes: int = 2**30
    keys: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    origins: tuple[str, ...] = ()
    processes: int = 1


def ways_in(values: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[HttpSettings, list[Notice], list[Problem]]:
    """(settings, notices, problems) from the worker's own values and the platform's variables."""
    mode, reason = _mode(values["WORKER_MODE"], values, environ)
    notices: list[Notice] = []
    problems: list[Problem] = []
    on_runpod = any(environ.get(name, "").strip() for name in ("RUNPOD_POD_ID", "RUNPOD_ENDPOINT_ID"))
    port = values["PORT"] or (ON_RUNPOD if on_runpod else ELSEWHERE)
    host, text = "0.0.0.0", environ.get("HOST", "").strip()
    if text:
        try:
            host = str(ipaddress.ip_address("127.0.0.1" if text == "localhost" else text))
        except ValueError:  # shells name the machine so
            if mode == "http":
                notices.append(("info", f"HOST={text} is no address and is not read: the worker listens on {host}"))
    if mode == "queue" and (values["MAX_RESULT_MB"] or 0) > _RESULT:
        notices.append(("warn", f"MAX_RESULT_MB={values['MAX_RESULT_MB']:g}: RunPod refuses a result over {_RESULT:g} "
                        "MB, and the job fails once all of it is there"))
    keys = tuple(key for key in (part.strip() for part in (values["WORKER_API_KEY"] or "").split(",")) if key)
    endpoint = bool(environ.get("RUNPOD_ENDPOINT_ID", "").strip())
    if keys == ("none",):
        keys = ()
    elif "none" in keys:
        problems.append(Problem("WORKER_API_KEY", "", "`none` lets everybody in, and cannot stand beside keys"))
    elif mode == "http" and not keys and not endpoint and not ipaddress.ip_address(host).is_loopback:
        problems.append(Problem(
            "WORKER_API_KEY", "", "must be set: outside a RunPod endpoint anybody can reach this port. Give one or "
            "more keys, separated by commas; or `none`, to let everybody in; or HOST=127.0.0.1"))
    if mode == "queue" and values["HTTP_PROCESSES"] > 1:
        notices.append(("info", f"HTTP_PROCESSES={values['HTTP_PROCESSES']} has no effect: one process takes the jobs "
                        "of the queue"))
    seconds = values["HTTP_REQUEST_SECONDS"]
    settings = HttpSettings(mode, reason, host, port, values["PORT_HEALTH"] or port, values["HEALTH_CHECK_PATH"],
                            values["HTTP_QUEUE_SECONDS"],
                            (_BEFORE_RUNPOD if endpoint else 0.0) if seconds is None else seconds,
                            round(max(_BOTH_WAYS, values["MAX_INPUT_MB"] or 0) * 1e6),
                            round(values["HTTP_BODY_MEMORY_MB"] * 1e6), keys=keys,
                            origins=tuple(values["CORS_ORIGINS"]),
                            processes=values["HTTP_PROCESSES"] if mode == "http" else 1)
    return settings, notices, problems


def by_way_in(name: str, values: Mapping[str, Any], http: HttpSettings) -> float:
    """The value of a setting whose default depends on the mode."""
    value: float | None = values[name]
    if value is not None:
        return value
    # That many pieces a second are what one core does beside everything else.
    cores = http.processes if (http.mode, name) == ("http", "STREAM_POSTS_PER_SECOND") else 1
    return _UNSET[http.mode][name] * cores


def megabytes(name: str, values: Mapping[str, Any], http: HttpSettings) -> int:
    """Bytes of MAX_INPUT_MB or MAX_RESULT_MB."""
    return round(by_way_in(name, values, http) * 1e6)


def _mode(wanted: str, values: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[str, str]:
    if wanted != "auto":
        return wanted, f"WORKER_MODE={wanted}"
    if environ.get("RUNPOD_WEBHOOK_GET_JOB", "").strip():
        return "queue", "the platform has a queue of jobs for this worker (RUNPOD_WEBHOOK_GET_JOB)"
    pod, endpoint = (environ.get(name, "").strip() for name in ("RUNPOD_POD_ID", "RUNPOD_ENDPOINT_ID"))
    for name in ("PORT", "PORT_HEALTH"):
        if values[name] and (pod or endpoint):  # elsewhere shells and platforms set them for reasons of their own
            return "http", f"{name} is set, and there is no queue of jobs"
    if nodes.several(environ):
        return "http", "this is one of several machines (NUM_NODES)"
    if pod and not endpoint:
        return "http", "this is a Pod (RUNPOD_POD_ID)"
    return "queue", "nothing asks for HTTP"
