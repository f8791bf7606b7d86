"""The worker's whole configuration, resolved from environment variables and checked before anything starts.

Pure: no file is read and no device asked; the caller passes the flag snapshot and the number of GPUs.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from settings import flags
from settings.flags import profiles
from settings.flags.parallel import tensor_parallel
from settings.flags.values import Notice, Problem, boolean, nearest
from settings.limits import Limits
from settings.worker_settings import WORKER_SETTINGS, StartSettings, worker_values
from utils import MASK

DEFAULT_MODEL = "meta-llama/Meta-Llama-3-8B-Instruct"
# Documented defaults of this worker; one is passed on only where the SGLang at hand has another.
DEFAULTS = {
    "--tokenizer-mode": "auto", "--load-format": "auto", "--dtype": "auto", "--max-prefill-tokens": 16384,
    "--schedule-policy": "fcfs", "--schedule-conservativeness": 1.0, "--stream-interval": 1,
    "--log-level": "info", "--file-storage-path": "sglang_storage", "--dp-size": 1,
    "--load-balance-method": "round_robin",
}
# SGLang names a model so where a request names none (entrypoints/openai/protocol.py).
UNNAMED_MODEL = "default"


class ConfigError(Exception):
    """Everything that is wrong with the configuration; `problems` has one line each, secrets masked."""

    def __init__(self, problems: list[str]):
        self.problems = problems
        count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'} in the configuration:"
        super().__init__("\n  ".join([count, *problems]))


@dataclass(frozen=True)
class Settings:
    """What the worker runs with. Times in seconds."""

    model: str                           # as the user named it
    revision: str | None
    served_model_name: str
    port: int                            # of the server, on 127.0.0.1
    api_key: str | None = field(repr=False)
    admin_api_key: str | None = field(repr=False)
    is_embedding: bool
    lora_enabled: bool
    skip_tokenizer_init: bool
    apply_chat_template: bool            # the default for native `text` jobs
    server_args: tuple[str, ...] = field(repr=False)       # complete, after the launch command
    offline: bool                        # everything the server loads is on this machine
    launch_command: tuple[str, ...] = field(repr=False)
    startup_timeout: float
    max_concurrency: int | None
    idle_timeout: float                  # of silence inside a stream
    request_timeout: float               # of a request that does not stream; 0 = none
    shutdown_timeout: float
    wait_timeout: float                  # of a job, for an engine that is being restarted
    retry_timeout: float                 # during which a request is tried again; 0 = never
    keepalive: float                     # silence in an OpenAI stream before a comment is sent; 0 = never
    max_restarts: int
    restart_window: float
    hang_timeout: float                  # 0 = never taken for hung
    chunk_bytes: int
    limits: Limits
    allowed_routes: tuple[str, ...]      # engine routes open beside the usual ones
    sdk_fast_start: bool                 # jobs start without the SDK's own pauses
    stream_posts: float                  # chunks a second that all streams share; 0 = no limit
    incremental: bool                    # native streams carry what is new, not all there is
    start: StartSettings
    log_level: str
    secrets: tuple[str, ...] = field(repr=False)
    notices: tuple[Notice, ...]


def load(environ: Mapping[str, str], snapshot: dict, gpu_count: int | None, python: str) -> Settings:
    """The settings that `environ` asks for; `python` runs the server where no launch command is set.

    `gpu_count` is the number of visible GPUs, None or 0 without any. Raises ConfigError with every problem.
    """
    worker, problems = worker_values(environ)
    argv, notices, wrong = flags.argv_for(environ, snapshot)
    problems += wrong
    extra = worker["SGLANG_EXTRA_ARGS"]
    given = flags.Given([*argv, *extra], snapshot)
    from_extra = flags.read(extra, snapshot)
    problems += [Problem("SGLANG_EXTRA_ARGS", "", line) for line in flags.refused(from_extra)]
    notices += _unknown_options(from_extra, snapshot)
    config_file = worker["SGLANG_CONFIG_FILE"]

    model = given.value("--model-path") or (UNNAMED_MODEL if config_file else DEFAULT_MODEL)
    served = given.value("--served-model-name") or model
    head = ["--config", config_file] if config_file else []
    if not config_file and "--model-path" not in given:
        head += ["--model-path", model]
    if "--served-model-name" not in given and not (config_file and model == UNNAMED_MODEL):
        # Joined where it could be taken for an option, as flags.values.arguments does.
        head += [f"--served-model-name={model}"] if model.startswith("-") else ["--served-model-name", model]
    head += ["--host", "127.0.0.1", "--port", str(worker["SGLANG_PORT"])]
    if not config_file:
        # Arguments win over the file (utils/server_args_config_parser.py), which is there to be heard.
        head += [word for flag, value in DEFAULTS.items() if flag not in given and flag in snapshot["flags"]
                 and snapshot["flags"][flag]["default"] != value for word in (flag, str(value))]
    tp_size, lines, wrong = tensor_parallel(given, gpu_count, bool(config_file))
    notices += lines
    problems += wrong
    profile, lines = profiles.arguments(worker["START_PROFILE"], given, snapshot, bool(config_file))
    notices += lines
    notices += _likely_typos(environ, snapshot)
    if environ.get("CONFIG", "").strip():
        notices.append(("warn", "CONFIG is not read: SGLANG_CONFIG_FILE names SGLang's configuration file"))
    secrets = _secrets(environ, given)
    if problems:
        raise ConfigError(sorted({_line(problem, secrets) for problem in problems}))

    server_args = (*head, *tp_size, *profile, *argv, *extra)
    return Settings(
        model=model, revision=given.value("--revision"), served_model_name=served, port=worker["SGLANG_PORT"],
        api_key=given.value("--api-key"), admin_api_key=given.value("--admin-api-key"),
        is_embedding=given.on("--is-embedding"),
        lora_enabled=given.on("--enable-lora") or "--lora-paths" in given,
        skip_tokenizer_init=given.on("--skip-tokenizer-init"),
        apply_chat_template="--chat-template" in given or bool(environ.get("CHAT_TEMPLATE", "").strip()),
        server_args=server_args, offline=False,
        launch_command=tuple(worker["SGLANG_LAUNCH_COMMAND"]) or (python, "-m", "sglang.launch_server"),
        startup_timeout=worker["SGLANG_STARTUP_TIMEOUT"], max_concurrency=worker["MAX_CONCURRENCY"],
        idle_timeout=worker["ENGINE_IDLE_TIMEOUT"], request_timeout=worker["REQUEST_TIMEOUT"],
        shutdown_timeout=worker["DRAIN_TIMEOUT"], wait_timeout=worker["ENGINE_WAIT_TIMEOUT"],
        retry_timeout=worker["RETRY_TIMEOUT"], keepalive=worker["STREAM_KEEPALIVE"],
        max_restarts=worker["SGLANG_MAX_RESTARTS"], restart_window=worker["SGLANG_RESTART_WINDOW"],
        hang_timeout=worker["SGLANG_HANG_TIMEOUT"],
        limits=Limits(round(worker["MAX_INPUT_MB"] * 1e6), worker["MAX_INPUT_DEPTH"], worker["MAX_BATCH"],
                      round(worker["MAX_RESULT_MB"] * 1e6), worker["MAX_GRAMMAR_KIB"] * 1024),
        chunk_bytes=worker["STREAM_CHUNK_KIB"] * 1024,
        sdk_fast_start=worker["SDK_FAST_START"] == "on", stream_posts=worker["STREAM_POSTS_PER_SECOND"],
        incremental=given.on("--incremental-streaming-output"),
        start=StartSettings.of(worker),
        allowed_routes=worker["ALLOWED_ROUTES"], log_level=worker["WORKER_LOG_LEVEL"], secrets=secrets,
        notices=tuple(notices))


def _line(problem: Problem, secrets: tuple[str, ...]) -> str:
    # Masked before it is cut or quoted: afterwards a secret could no longer be found.
    value = MASK if flags.is_secret(problem.name) else _masked(problem.value, secrets)
    value = value if len(value) <= 80 else value[:80] + "…"
    return f"{problem.name}{'=' + _quoted(value) if problem.value else ''}: {_masked(problem.reason, secrets)}"


def _quoted(word: str) -> str:
    return word if MASK in word else shlex.quote(word)


def _masked(text: str, secrets: tuple[str, ...]) -> str:
    # Shorter ones are masked only where they stand as a value, as utils.hide explains.
    for secret in sorted((s for s in secrets if len(s) >= 4), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def _unknown_options(items: list[flags.Item], snapshot: dict) -> list[Notice]:
    known = [name for entry in snapshot["flags"].values() for name in entry["names"]]
    return [("warn", f"SGLANG_EXTRA_ARGS: {item.spelled} is no option of SGLang {snapshot['sglang']}"
                     f"{nearest(item.spelled, known)}; it is passed on as it is") for item in items if not item.flag]


def _likely_typos(environ: Mapping[str, str], snapshot: dict) -> list[Notice]:
    # What cannot be set is nothing to suggest: SSL_CERT_FILE, say, is OpenSSL's own variable.
    known = known_variables(snapshot) - {flags.variable(flag) for flag in flags.REFUSED}
    # A family with many members of its own, of which none is the worker's.
    foreign = re.compile(r"^(RUNPOD|NVIDIA|CUDA|NCCL|HF|PYTHON|TORCH|LC|XDG|AWS|SSH|KUBERNETES|npm)_|^_")
    lines = []
    for name in sorted(environ):
        if name in known or name in flags.NOT_READ or foreign.match(name) or not environ[name].strip():
            continue
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
        if close:
            lines.append(("warn", f"{name} is not read: did you mean {close[0]}?"))
    return lines


def known_variables(snapshot: dict) -> set[str]:
    """Every variable that configures this worker."""
    own = {setting.name for setting in WORKER_SETTINGS}
    return own | {*flags.variables(snapshot), "ENABLE_FLASHINFER_MLA"}


def _secrets(environ: Mapping[str, str], given: flags.Given) -> tuple[str, ...]:
    # By its name alone a variable may also be a switch ("…_DISABLE_TOKEN=true"): masking such a word everywhere
    # would spoil the log. A flag that names a key always holds one.
    from_names = {value.strip() for name, value in environ.items()
                  if flags.is_secret(name) and boolean(value) is None and len(value.strip()) >= 8}
    from_flags = {value for item in given.items if _hidden(item) for value in item.values}
    return tuple(sorted((from_names | from_flags) - {""}))


def _hidden(item: flags.Item) -> bool:
    return flags.is_secret(item.flag or item.spelled)


def describe(settings: Settings) -> str:
    """The resolved server command, one option a line and ready to paste, and the settings; secrets as ***."""
    command = [[_quoted(_masked(word, settings.secrets)) for word in settings.launch_command]]
    hidden = False
    for word in settings.server_args:
        spelled, equals, _ = word.partition("=")
        option = re.match(r"--?[a-zA-Z]", word) is not None
        if option:
            hidden = flags.is_secret(spelled)
            command.append([])
        if hidden and (equals or not option):
            word = f"{spelled}={MASK}" if option else MASK
        command[-1].append(_quoted(_masked(word, settings.secrets)))
    shown = {name: getattr(settings, name) for name in (
        "model", "revision", "served_model_name", "offline", "port", "is_embedding", "lora_enabled",
        "skip_tokenizer_init", "apply_chat_template", "startup_timeout", "max_concurrency", "idle_timeout",
        "request_timeout", "shutdown_timeout", "wait_timeout", "retry_timeout", "keepalive", "max_restarts",
        "restart_window", "hang_timeout", "chunk_bytes", "stream_posts", "sdk_fast_start", "incremental",
        "limits", "allowed_routes", "start", "log_level")}
    shown |= {name: MASK if getattr(settings, name) else None for name in ("api_key", "admin_api_key")}
    text = ["command:", "  " + " \\\n    ".join(map(" ".join, command)), "settings:"]
    text += [f"  {name} = {_masked(str(value), settings.secrets)}" for name, value in shown.items()]
    text += ["notes:"] * bool(settings.notices)
    text += [f"  {level}: {_masked(line, settings.secrets)}" for level, line in settings.notices]
    return "\n".join(text)


def engine_environ(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """The server's environment: `environ` without what is only the worker's business.

    The worker's own settings go (SGLang would take SGLANG_PORT for the base of its internal ports,
    get_open_port in srt/utils/network.py), and so do RunPod's credentials and job addresses, and keys that
    reach the server as arguments. Tokens for downloads stay.
    """
    own = {setting.name for setting in WORKER_SETTINGS} | {"RUNPOD_AI_API_KEY", "RUNPOD_API_KEY"}
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
    kept |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"} if settings.offline else {}
    return {**kept, "PYTHONUNBUFFERED": "1"}
