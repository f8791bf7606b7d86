"""The worker's whole configuration, resolved from environment variables and checked before anything starts.

Pure: no file is read and no device asked; the caller passes the flag snapshot and the number of GPUs.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping

from settings import flags, listeners, lora, names, nodes
from settings.description import describe
from settings.environment import engine_environ
from settings.flags import host, modes, parsers, profiles
from settings.flags.bounds import out_of_bounds
from settings.flags.parallel import tensor_parallel
from settings.flags.values import Notice, Problem, Snapshot, nearest
from settings.foreign import FOREIGN
from settings.http import by_way_in, megabytes, ways_in
from settings.incoming import heard
from settings.limits import Limits
from settings.masking import line, masked, secret_values
from settings.media import MediaSettings
from settings.resolved import ConfigError, Settings
from settings.telemetry import ENGINE_TRACES, telemetry
from settings.worker_settings import WORKER_SETTINGS, StartSettings, worker_values

DEFAULT_MODEL = "meta-llama/Meta-Llama-3-8B-Instruct"
# Documented defaults of this worker; one is passed on only where the SGLang at hand has another.
DEFAULTS = {
    "--tokenizer-mode": "auto", "--load-format": "auto", "--dtype": "auto", "--max-prefill-tokens": 16384,
    "--schedule-policy": "fcfs", "--schedule-conservativeness": 1.0, "--stream-interval": 1,
    "--log-level": "info", "--file-storage-path": "sglang_storage", "--dp-size": 1,
    "--load-balance-method": "round_robin", parsers.TOOLS: parsers.DETECT,
}
# SGLang names a model so where a request names none (entrypoints/openai/protocol.py).
UNNAMED_MODEL = "default"


def load(environ: Mapping[str, str], snapshot: Snapshot, gpu_count: int | None, python: str) -> Settings:
    """The settings that `environ` asks for; `python` runs the server where no launch command is set.

    `gpu_count` is the number of visible GPUs, None or 0 without any. Raises ConfigError with every problem.
    """
    environ, notices = heard(environ, snapshot)
    worker, problems = worker_values(environ)
    argv, lines, wrong = flags.argv_for(environ, snapshot)
    notices += lines
    problems += wrong
    extra = worker["SGLANG_EXTRA_ARGS"]
    from_extra = flags.read(extra, snapshot)
    problems += _wrong_options(from_extra)
    notices += _unknown_options(from_extra, snapshot)
    words, given, lines, wrong = _with_names([*argv, *extra], environ, snapshot)
    notices += lines
    problems += wrong
    problems += [Problem("ALLOWED_MEDIA_DOMAINS", domain, "takes hosts alone: no scheme, port or path")
                 for domain in given.values("--allowed-media-domains") if re.search(r"[/:@\s]", domain)]
    closed = [Problem(flags.variable(name), "", why) for name, why in listeners.refused(
        given.items, environ, (*worker["ALLOWED_LISTENERS"], *(nodes.OPENED if nodes.several(environ) else ())))]
    problems += [Problem(flags.variable(flag), "", "must be of ASCII characters without line breaks: it is sent in a "
                         "header of HTTP") for flag in ("--api-key", "--admin-api-key")
                 if not re.fullmatch(r"[ -~]*", given.value(flag) or "")]
    problems += [Problem(flags.variable(flag), text, why) for flag, text, why in modes.refused(given.items)]
    config_file = worker["SGLANG_CONFIG_FILE"]
    notices += modes.notices(given, bool(config_file))

    model = given.value("--model-path") or (UNNAMED_MODEL if config_file else DEFAULT_MODEL)
    asked = given.value("--served-model-name") or model
    served = names.servable(asked)
    if served != asked:
        notices.append(("warn", f"served as {served}: in {asked} the colon would part a model from its adapter"))
        if "--served-model-name" in given:
            words = list(flags.rewritten(words, {"--served-model-name": [served]}, snapshot))
    head = ["--config", config_file] if config_file else []
    if not config_file and "--model-path" not in given:
        head += ["--model-path", model]
    if "--served-model-name" not in given and not (config_file and model == UNNAMED_MODEL):
        # Joined where it could be taken for an option, as flags.values.arguments does.
        head += [f"--served-model-name={served}"] if served.startswith("-") else ["--served-model-name", served]
    head += ["--host", "127.0.0.1", "--port", str(worker["SGLANG_PORT"])]
    if not config_file:
        # Arguments win over the file (utils/server_args_config_parser.py), which is there to be heard.
        head += [word for flag, value in DEFAULTS.items() if flag not in given and flag in snapshot["flags"]
                 and snapshot["flags"][flag]["default"] != value
                 and (flag != parsers.TOOLS or parsers.detectable(given, environ, snapshot))
                 for word in (flag, str(value))]
    http, lines, wrong = ways_in(worker, environ)
    notices += lines
    problems += wrong
    node, several, lines, wrong = nodes.of(environ, worker, given, http.mode)
    notices += lines
    problems += wrong
    tp_size, lines, uneven = tensor_parallel(given, gpu_count or node.gpus, bool(config_file), node.count)
    notices += lines
    problems += uneven
    of_replicas, lines = host.stream_interval(
        given, bool(config_file), parsers.TOOLS in head or given.value(parsers.TOOLS) is not None)
    notices += lines
    problems += host.tokenizers(given)
    profile, lines = profiles.arguments(worker["START_PROFILE"], given, snapshot, bool(config_file))
    notices += lines
    notices += _likely_typos(environ, snapshot)
    if environ.get("CONFIG", "").strip():
        notices.append(("warn", "CONFIG is not read: SGLANG_CONFIG_FILE names SGLang's configuration file"))
    if environ.get("SDK_FAST_START", "").strip():
        notices.append(("info", "SDK_FAST_START has no effect: jobs are always taken and started without the pauses of "
                        "the runpod SDK's own loops"))
    if worker["MEDIA_FETCH"] == "engine":
        notices.append(("warn", "MEDIA_FETCH=engine: SGLang opens whatever address or file a job names as a medium, "
                        "from inside this container (SECURITY.md, Media)"))
    adapters, wrong = lora.settled(worker, given, http)
    problems += wrong
    told, lines, wrong = telemetry(worker, environ, given, served, snapshot["sglang"])
    notices += lines
    problems += wrong
    ranks = int(tp_size[1]) if tp_size else given.count("--tp-size") if "--tp-size" in given or (
        gpu_count == node.count == 1 and not uneven) else None
    wrong = modes.clashes(given, ranks, bool(config_file), http.mode, environ)
    # Nobody is told to open what would then be refused all the same.
    problems += wrong + [problem for problem in closed if problem.name not in {other.name for other in wrong}]
    secrets = (*secret_values(environ, given), *http.keys)
    if problems:
        raise ConfigError(sorted({line(problem, secrets) for problem in problems}))

    traced = (ENGINE_TRACES, told.engine_traces) if told.engine_traces and ENGINE_TRACES in snapshot["flags"] else ()
    server_args = (*head, *several, *tp_size, *of_replicas, *profile, *traced, *words)
    return Settings(
        model=model, revision=given.value("--revision"), served_model_name=served,
        model_names=tuple(dict.fromkeys((served, asked, model))), port=worker["SGLANG_PORT"],
        api_key=given.value("--api-key"), admin_api_key=given.value("--admin-api-key"),
        is_embedding=given.on("--is-embedding"),
        lora_enabled=given.on("--enable-lora") or "--lora-paths" in given,
        skip_tokenizer_init=given.on("--skip-tokenizer-init"),
        tool_parsers=tuple(snapshot["flags"].get(parsers.TOOLS, {}).get("choices", ())),
        apply_chat_template="--chat-template" in given or bool(environ.get("CHAT_TEMPLATE", "").strip()),
        server_args=server_args, offline=False,
        launch_command=tuple(worker["SGLANG_LAUNCH_COMMAND"]) or (python, "-m", "sglang.launch_server"),
        startup_timeout=worker["SGLANG_STARTUP_TIMEOUT"], max_concurrency=worker["MAX_CONCURRENCY"],
        idle_timeout=worker["ENGINE_IDLE_TIMEOUT"], request_timeout=worker["REQUEST_TIMEOUT"],
        shutdown_timeout=worker["DRAIN_TIMEOUT"], wait_timeout=worker["ENGINE_WAIT_TIMEOUT"],
        retry_timeout=worker["RETRY_TIMEOUT"], keepalive=worker["STREAM_KEEPALIVE"],
        max_restarts=worker["SGLANG_MAX_RESTARTS"], restart_window=worker["SGLANG_RESTART_WINDOW"],
        hang_timeout=worker["SGLANG_HANG_TIMEOUT"],
        limits=Limits(megabytes("MAX_INPUT_MB", worker, http), worker["MAX_INPUT_DEPTH"], worker["MAX_BATCH"],
                      megabytes("MAX_RESULT_MB", worker, http), worker["MAX_GRAMMAR_KIB"] * 1024),
        media=MediaSettings.of(worker, given), chunk_bytes=int(by_way_in("STREAM_CHUNK_KIB", worker, http)) * 1024,
        stream_posts=by_way_in("STREAM_POSTS_PER_SECOND", worker, http),
        start=StartSettings.of(worker),
        allowed_routes=worker["ALLOWED_ROUTES"], allowed_listeners=worker["ALLOWED_LISTENERS"],
        http=http, nodes=node, lora=adapters, log_level=worker["WORKER_LOG_LEVEL"], secrets=secrets,
        telemetry=dataclasses.replace(
            told, interval=flags.Given(list(server_args), snapshot).count("--stream-interval")),
        notices=tuple((level, masked(text, secrets)) for level, text in notices), sglang=snapshot["sglang"])


def _with_names(words: list[str], environ: Mapping[str, str], snapshot: Snapshot
                ) -> tuple[list[str], flags.Given, list[Notice], list[Problem]]:
    """`words` with repositories in place of addresses, what they give, notices, problems."""
    by = next((name for name, flag in flags.variables(snapshot).items()
               if flag == names.MODEL and environ.get(name, "").strip()), "SGLANG_EXTRA_ARGS")
    replaced, notices, problems = names.repaired(flags.Given(words, snapshot), by, environ.get("HF_ENDPOINT", ""))
    words = list(flags.rewritten(words, replaced, snapshot))
    return words, flags.Given(words, snapshot), notices, problems


def _wrong_options(items: list[flags.Item]) -> list[Problem]:
    """What a worker cannot have among SGLANG_EXTRA_ARGS, which are not looked at otherwise."""
    lines = flags.refused(items)
    for item in items:
        wrong = out_of_bounds(item.flag, item.values[0]) if item.flag and len(item.values) == 1 else None
        if wrong:
            lines.append(f"{item.spelled} {item.values[0]} {wrong}")
    return [Problem("SGLANG_EXTRA_ARGS", "", text) for text in lines]


def _unknown_options(items: list[flags.Item], snapshot: Snapshot) -> list[Notice]:
    known = [name for entry in snapshot["flags"].values() for name in entry["names"]]
    return [("warn", f"SGLANG_EXTRA_ARGS: {item.spelled} is no option of SGLang {snapshot['sglang']}"
                     f"{nearest(item.spelled, known)}; it is passed on as it is") for item in items if not item.flag]


def _likely_typos(environ: Mapping[str, str], snapshot: Snapshot) -> list[Notice]:
    # What cannot be set is nothing to suggest: SSL_CERT_FILE, say, is OpenSSL's own variable.
    known = known_variables(snapshot) - {flags.variable(flag) for flag in flags.REFUSED}
    # A family with many members of its own, of which none is the worker's.
    foreign = re.compile(r"^(RUNPOD|NVIDIA|CUDA|NCCL|HF|PYTHON|TORCH|LC|XDG|AWS|SSH|KUBERNETES|npm)_|^_")
    lines = []
    for name in sorted(environ):
        if name in known or name in {*flags.NOT_READ, *FOREIGN} or foreign.match(name) or not environ[name].strip():
            continue
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
        if close:
            lines.append(("warn", f"{name} is not read: did you mean {close[0]}?"))
    return lines


def known_variables(snapshot: Snapshot) -> set[str]:
    """Every variable that configures this worker."""
    own = {setting.name for setting in WORKER_SETTINGS}
    return own | {*flags.variables(snapshot), "ENABLE_FLASHINFER_MLA"}


__all__ = ["DEFAULT_MODEL", "DEFAULTS", "UNNAMED_MODEL", "ConfigError", "Settings", "describe", "engine_environ",
           "known_variables", "load"]
