"""The worker's own settings: one table, from which they are read, checked and documented. Pure."""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

from settings import listeners
from settings.flags.values import Problem, nearest
from settings.hub_cache import RUNPOD_CACHE


class Setting(NamedTuple):
    name: str
    type: str  # "str", "int", "float" (seconds), "megabytes", "words" (as a shell), "paths", "listeners" or "choice"
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()


WORKER_SETTINGS = (
    Setting("MODEL_NAME", "str", None, "The newer name of `MODEL_PATH`: a Hugging Face repository or a folder."),
    Setting("MODEL_REVISION", "str", None, "The newer name of `REVISION`: a branch, a tag or a commit."),
    Setting("TOKENIZER_REVISION", "str", None, "The revision of a tokenizer that is in a cache of this machine; unset, "
            "the model's."),
    Setting("RUNPOD_MODEL_CACHE", "str", RUNPOD_CACHE, "The folder in which RunPod's cached models and a network "
            "volume's are looked for."),
    Setting("WORKER_MODE", "choice", "auto", "How jobs come in: from RunPod's queue, or over HTTP on `PORT` "
            "(load-balancing endpoints, Pods); `auto` goes by what the platform sets.",
            choices=("auto", "queue", "http")),
    Setting("PORT", "int", None, "The port of the HTTP front; unset, 80 on RunPod and 8000 elsewhere.", low=1,
            high=65535),
    Setting("PORT_HEALTH", "int", None, "The port of its health; unset, `PORT`.", low=1, high=65535),
    Setting("HEALTH_CHECK_PATH", "path", "/ping", "Where its health is asked."),
    Setting("HTTP_QUEUE_SECONDS", "float", 10.0, "Seconds that a request waits for room in a busy HTTP front before it "
            "is refused with 429.", low=0),
    Setting("HTTP_REQUEST_SECONDS", "float", None, "Seconds that a request to the HTTP front may take in all; unset, "
            "325 on RunPod's endpoints, which end every request after 330, and no limit elsewhere; 0 means no limit.",
            low=0),
    Setting("HTTP_PROCESSES", "int", 1, "Processes that carry the requests of the HTTP front, all on one port; 1: the "
            "worker's own. More where the one core of that is the limit (docs/scaling.md).", low=1, high=64),
    Setting("NODE_WAIT_TIMEOUT", "float", 300.0, "Seconds that the nodes of an Instant Cluster wait for one that is "
            "not there, at the start and after it was lost, before all of them end.", low=1),
    Setting("NODE_LOST_TIMEOUT", "float", 15.0, "Seconds without a word after which one of several nodes counts as "
            "lost, and the engine is ended on all of them.", low=1),
    Setting("HTTP_BODY_MEMORY_MB", "megabytes", 1024.0, "What the HTTP front holds of bodies at once, from their "
            "arrival to the end of their requests; further large ones wait unread.", low=0.001),
    Setting("WORKER_API_KEY", "str", None, "Keys of callers of the HTTP front, separated by commas, or `none`; needed "
            "outside RunPod's endpoints, where nobody else asks for a key."),
    Setting("CORS_ORIGINS", "list", (), "Origins of the browser pages that may call the HTTP front, separated by "
            "spaces or commas, or `*`; unset, none."),
    Setting("MAX_CONCURRENCY", "int", None, "Jobs that one worker runs at once; unset, it follows what the server "
            "says it can run, behind the queue up to 128.", low=1),
    Setting("REQUEST_TIMEOUT", "float", 3600.0, "Seconds that a request without streaming may take; 0 means no "
            "limit.", low=0),
    Setting("ENGINE_IDLE_TIMEOUT", "float", 600.0, "Seconds of silence inside a running stream before the job "
            "fails.", low=1),
    Setting("ENGINE_WAIT_TIMEOUT", "float", 120.0, "Seconds that a job waits for an engine that is being restarted.",
            low=0),
    Setting("RETRY_TIMEOUT", "float", 60.0, "Seconds during which a request is tried again that the engine refused for "
            "load or whose connection broke, as long as nothing of its answer was seen; 0 turns this off.", low=0),
    Setting("STREAM_KEEPALIVE", "float", 15.0, "Seconds of silence after which a stream on an OpenAI route gets an SSE "
            "comment, which clients ignore; 0 turns this off.", low=0),
    Setting("SGLANG_MAX_RESTARTS", "int", 3, "How often a server that died is restarted in place within "
            "`SGLANG_RESTART_WINDOW` before the worker gives up and exits.", low=0),
    Setting("SGLANG_RESTART_WINDOW", "float", 600.0, "Seconds over which restarts are counted.", low=1),
    Setting("SGLANG_HANG_TIMEOUT", "float", 120.0, "Seconds without any sign of life after which the server counts as "
            "hung and is restarted; 0 turns this off.", low=0),
    Setting("MAX_INPUT_MB", "megabytes", None, "The largest `input` of a job, as JSON; unset, 20, and 30 over HTTP.",
            low=0.001),
    Setting("MAX_INPUT_DEPTH", "int", 100, "How deep the lists and objects of an `input` may be nested.", low=3),
    Setting("MAX_BATCH", "int", 1024, "Prompts in one job times answers to each (`n`), at most; twice as many where "
            "nothing is generated, as in embeddings.", low=1),
    Setting("MAX_GRAMMAR_KIB", "int", 64, "The largest regular expression, JSON schema or grammar of a job, in KiB.",
            low=1),
    Setting("MAX_RESULT_MB", "megabytes", None, "The largest result of a job; unset, 19, because RunPod itself drops a "
            "result over 20 MB, and 30 over HTTP.", low=0.001),
    Setting("DRAIN_TIMEOUT", "float", 30.0, "Seconds that running jobs may take to finish when the worker is told "
            "to stop.", low=0),
    Setting("STREAM_CHUNK_KIB", "int", None, "The largest chunk of a stream, in KiB; the platform takes 1 MB; unset, "
            "512, and 64 over HTTP.", low=1, high=1000),
    Setting("STREAM_POSTS_PER_SECOND", "float", None, "Chunks a second that all streams of a worker share: many "
            "streams get larger chunks, a lone one is never held back; unset, 150, and 900 over HTTP for each of "
            "`HTTP_PROCESSES`; 0 means no limit.", low=0),
    Setting("SDK_FAST_START", "choice", "on", "Without effect: jobs are always taken and started without the "
            "pauses of the runpod SDK's own loops.", choices=("on", "off")),
    Setting("ALLOWED_ROUTES", "paths", (), "Engine routes to open beside the usual ones, separated by spaces or "
            "commas."),
    Setting("ALLOWED_LISTENERS", "listeners", (), "Variables that make the engine listen beyond loopback or connect to "
            "other machines, to be let through, separated by spaces or commas."),
    Setting("MEDIA_FETCH", "choice", "worker", "Who reads the images, videos and audio that a job names by address: "
            "the worker, from public addresses alone; or `engine`, SGLang itself, from wherever the container "
            "reaches.", choices=("worker", "engine")),
    Setting("MEDIA_FETCH_TIMEOUT", "float", 30.0, "Seconds in which all media of one job have to be fetched.", low=1),
    Setting("MAX_MEDIA_ITEMS", "int", 128, "Media that one job may name by address or path.", low=1),
    Setting("MAX_MEDIA_MB", "megabytes", 128.0, "What the worker reads for one job's media, all together; a single one "
            "is held to `MEDIA_URL_MAX_FILE_SIZE_MB`.", low=0.001),
    Setting("MEDIA_MEMORY_MB", "megabytes", 1024.0, "What all jobs may hold of such media at once; further jobs wait.",
            low=0.001),
    Setting("MAX_MEDIA_REDIRECTS", "int", 5, "How often the address of a medium may be redirected.", low=0, high=20),
    Setting("ALLOWED_MEDIA_FOLDERS", "paths", (), "Folders whose files jobs may name as media, separated by spaces or "
            "commas; unset, none."),
    Setting("LORA_SOURCES", "str", None, "LoRA adapters that jobs may name, loaded on first use: folders, whose "
            "subfolders are adapters, and repositories as `owner/name`, `owner/*` or `name=owner/name@revision`, "
            "separated by spaces or commas; unset, none."),
    Setting("LORA_LOAD_TIMEOUT", "float", 120.0, "Seconds that a job waits for its adapters to be loaded.", low=1),
    Setting("LORA_DOWNLOAD_TIMEOUT", "float", 600.0, "Seconds that the download of one adapter may take.", low=1),
    Setting("LORA_DOWNLOAD_MAX_MB", "megabytes", 2000.0, "The largest adapter that is downloaded.", low=0.001),
    Setting("WORKER_LOG_LEVEL", "choice", "info", "The worker's own log lines.",
            choices=("debug", "info", "warn", "error")),
    Setting("REQUEST_LOG", "choice", "on", "A line of JSON in the log for each request when it ends, without its "
            "prompt and answer.", choices=("on", "off")),
    Setting("OTEL_EXPORTER_OTLP_ENDPOINT", "str", None, "Where OpenTelemetry's metrics and traces of the requests go, "
            "by OTLP over HTTP; unset, nowhere. Its other variables (`OTEL_…`) count too."),
    Setting("SGLANG_PORT", "int", 30000, "The server's port on 127.0.0.1.", low=1, high=65535),
    Setting("SGLANG_STARTUP_TIMEOUT", "float", 1200.0, "Seconds the server may take to become ready.", low=1),
    Setting("START_PROFILE", "choice", "default", "`fast` adds server flags that give up steady speed for a quick "
            "first token, each only where you set nothing of the kind yourself.", choices=("default", "fast")),
    Setting("HEAD_START", "choice", "auto", "Import the libraries of the server's own child processes while the server "
            "imports its own; `auto` does so on machines with four cores or more, `off` starts the server plainly.",
            choices=("auto", "on", "off")),
    Setting("READ_AHEAD", "choice", "auto", "Read the weights into memory that is free while the server imports; `off` "
            "leaves all reading to the server.", choices=("auto", "off")),
    Setting("PACKED_WEIGHTS", "choice", "auto", "Packed copies of the weights on a network volume, a third smaller "
            "without loss, unpacked while the server imports: `auto` uses those that there are on "
            "machines with four cores or more, `on` on all, `keep` also makes missing ones once the server is up.",
            choices=("auto", "on", "keep", "off")),
    Setting("PACKED_WEIGHTS_DIR", "str", None, "Another folder for them than the volume's."),
    Setting("COMPILE_CACHE", "choice", "auto", "Keep compiled kernels on a network volume for the next worker; `off` "
            "compiles at every start.", choices=("auto", "off")),
    Setting("COMPILE_CACHE_DIR", "str", None, "Another folder for them than the volume's; unset and without a volume, "
            "nothing is kept."),
    Setting("COMPILE_CACHE_MAX_MB", "megabytes", 2048.0, "What they may take in all; the longest unused go first.",
            low=1),
    Setting("WARMUP", "choice", "on", "Run a request of each kind before the first job is taken.",
            choices=("on", "off")),
    Setting("WARMUP_TIMEOUT", "float", 30.0, "Seconds that these requests may take together.", low=1),
    Setting("START_REPORT_SVG", "str", None, "A file for a picture of the start's phases."),
    Setting("SGLANG_CONFIG_FILE", "str", None, "A YAML file of server options, passed as `--config`."),
    Setting("SGLANG_EXTRA_ARGS", "words", (), "Server arguments, passed last and as they are, split like a shell "
            "command line."),
    Setting("SGLANG_LAUNCH_COMMAND", "words", (), "The command that starts the server, in place of "
            "`python -m sglang.launch_server`."),
)


@dataclasses.dataclass(frozen=True)
class StartSettings:
    """How the worker starts. compile_cache_bytes: 0 keeps no compiled kernels; warmup_timeout: seconds, 0 for none."""

    profile: str = "default"
    head_start: str = "auto"
    read_ahead: bool = True
    packed: str = "auto"
    packed_dir: str | None = None
    compile_cache_dir: str | None = None
    compile_cache_bytes: int = 0
    warmup_timeout: float = 0.0
    svg: str | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> StartSettings:
        """From the values of `worker_values`."""
        return cls(values["START_PROFILE"], values["HEAD_START"], values["READ_AHEAD"] == "auto",
                   values["PACKED_WEIGHTS"], values["PACKED_WEIGHTS_DIR"], values["COMPILE_CACHE_DIR"],
                   round(values["COMPILE_CACHE_MAX_MB"] * 1e6) if values["COMPILE_CACHE"] == "auto" else 0,
                   values["WARMUP_TIMEOUT"] if values["WARMUP"] == "on" else 0.0, values["START_REPORT_SVG"])


def worker_values(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[Problem]]:
    """({name: value} of every setting, problems); blank means unset, and a wrong value counts as the default."""
    values, problems = {}, []
    for setting in WORKER_SETTINGS:
        text = environ.get(setting.name, "").strip()
        values[setting.name] = setting.default
        if not text:
            continue
        try:
            values[setting.name] = _read(setting, text)
        except ValueError as error:
            # Arguments may hold a key anywhere, and cannot be taken apart here.
            problems.append(Problem(setting.name, "" if setting.type == "words" else text, str(error)))
    return values, problems


def _read(setting: Setting, text: str) -> Any:
    if setting.type == "words":
        try:
            return shlex.split(text)
        except ValueError as error:
            raise ValueError(f"cannot be split like a shell command line: {error}") from None
    if setting.type == "paths":
        paths = tuple(text.replace(",", " ").split())
        wrong = next((path for path in paths if not re.fullmatch(r"(/[\w.:-]+)+", path)), None)
        if wrong is not None:
            raise ValueError(f"{wrong!r} is no path: each begins with / and has no query")
        return paths
    if setting.type == "path":
        if not re.fullmatch(r"(/[\w.:-]+)+", text):
            raise ValueError("must be a path: it begins with / and has no query")
        return text
    if setting.type == "list":
        return tuple(text.replace(",", " ").split())
    if setting.type == "listeners":
        names = tuple(text.replace(",", " ").upper().split())
        for name in names:
            if name not in listeners.NAMES:
                raise ValueError(f"{name} is none of {', '.join(sorted(listeners.NAMES))}")
        return names
    if setting.type == "choice":
        if text.lower() not in setting.choices:
            raise ValueError(f"must be one of {', '.join(setting.choices)}{nearest(text, setting.choices)}")
        return text.lower()
    if setting.name == "SGLANG_CONFIG_FILE" and not text.lower().endswith((".yaml", ".yml")):
        # ConfigArgumentMerger (srt/utils/server_args_config_parser.py) takes no other.
        raise ValueError("must be a .yaml or .yml file")
    if setting.type == "str":
        return text
    return _number(setting, text)


def bounds(setting: Setting) -> str:
    """' from 1 to 9', ' of at least 1', or '' for a setting without limits."""
    if setting.high is not None:
        return f" from {setting.low:g} to {setting.high:g}"
    return f" of at least {setting.low:g}" if setting.low is not None else ""


def _number(setting: Setting, text: str) -> int | float:
    kind = "a whole number" if setting.type == "int" else "a number"
    wrong = ValueError(f"must be {kind}{bounds(setting)}")
    try:
        value = int(text) if setting.type == "int" else float(text)
    except ValueError:
        raise wrong from None
    low = -math.inf if setting.low is None else setting.low
    high = math.inf if setting.high is None else setting.high
    if not low <= value <= high or not math.isfinite(value):
        raise wrong
    return value
