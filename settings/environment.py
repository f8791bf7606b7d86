"""The variables that the server is started with. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping

from settings import flags
from settings.incoming import heard
from settings.resolved import Settings
from settings.telemetry import HTTP, PROTOCOL
from settings.worker_settings import WORKER_SETTINGS


def engine_environ(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """The server's environment: `environ` without what is only the worker's business.

    The worker's own settings go (SGLang would take SGLANG_PORT for the base of its internal ports,
    get_open_port in srt/utils/network.py), and so do RunPod's credentials and job addresses, and keys that
    reach the server as arguments. Tokens for downloads stay, and OpenTelemetry's variables, which are the server's too.
    """
    meant, _ = heard(environ)
    environ = {name: text for name, text in meant.items() if name in environ or name == "HF_TOKEN"}
    own = {setting.name for setting in WORKER_SETTINGS if not setting.name.startswith("OTEL_")}
    # Some images forbid bytecode; the server's processes all import the same, and a restart imports it again.
    own |= {"RUNPOD_AI_API_KEY", "RUNPOD_API_KEY", "PYTHONDONTWRITEBYTECODE"}
    passed = {flags.variable(word.partition("=")[0]) for word in settings.server_args if word.startswith("--")}
    kept = {name: value for name, value in environ.items()
            if name not in own and not name.startswith("RUNPOD_WEBHOOK_")
            and not (name in passed and flags.is_secret(name))}
    # Both dumps keep a crashed server alive for up to a minute, while the worker could already be replaced.
    for dump in ("SGLANG_PYSPY_DUMP_BEFORE_CRASH", "SGLANG_CUDA_COREDUMP_BEFORE_CRASH"):
        kept.setdefault(dump, "0")
    # Settings of a job that make the sampler divide infinities would otherwise end the server.
    kept.setdefault("SGLANG_SANITIZE_NAN_LOGITS", "1")
    # Seconds between two looks at whether a client is still there (SGLang: 4), for what cannot be aborted by name:
    # /v1/messages, and each of several answers to one prompt.
    kept.setdefault("SGLANG_REQUEST_STATE_WAIT_TIMEOUT", "1")
    # Seconds in which each process of TOKENIZER_WORKER_NUM must answer uvicorn, its imports included (SGLang: 10): from
    # a cold disk they take longer, and it would be killed and started again, over and over. One that died is noticed
    # after that time too.
    kept.setdefault("SGLANG_UVICORN_WORKER_HEALTHCHECK_TIMEOUT", "60")
    # The working folder is the worker's, whose modules have common names (utils): a model's code must not find them.
    # Python leaves that folder out of its path at this word, in every process of the server, and so it does with the
    # folder of a script; an empty element of PYTHONPATH would bring it back.
    kept.setdefault("PYTHONSAFEPATH", "1")
    if "PYTHONPATH" in kept:
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, kept["PYTHONPATH"].split(os.pathsep)))
    for name, value in _between_nodes(settings).items():
        kept.setdefault(name, value)
    kept |= {PROTOCOL: HTTP} if settings.telemetry.engine_traces else {}
    kept |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"} if settings.offline else {}
    return {**kept, "PYTHONUNBUFFERED": "1"}


def _between_nodes(settings: Settings) -> dict[str, str]:
    """By which way the engine's processes find those of other nodes: the other interfaces of an Instant Cluster lead to
    the internet alone (docs.runpod.io/instant-clusters/configuration), and both libraries, like SGLang's own search
    (get_local_ip_auto in srt/utils/network.py), would take one of those."""
    if settings.nodes.count == 1:
        return {}
    named = {"NCCL_SOCKET_IFNAME": settings.nodes.interface, "GLOO_SOCKET_IFNAME": settings.nodes.interface,
             "SGLANG_HOST_IP": settings.nodes.own}
    return {name: value for name, value in named.items() if value}
