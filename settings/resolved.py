"""What a configuration comes to: the worker's settings, or everything that is wrong with them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from settings.flags.values import Notice
from settings.http import HttpSettings
from settings.limits import Limits
from settings.lora import LoraSettings
from settings.media import MediaSettings
from settings.nodes import NodeSettings
from settings.telemetry import Telemetry
from settings.worker_settings import StartSettings


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
    served_model_name: str               # the name the server answers to
    model_names: tuple[str, ...]         # by which jobs may ask for it, that one first
    port: int                            # of the server, on 127.0.0.1
    api_key: str | None = field(repr=False)
    admin_api_key: str | None = field(repr=False)
    is_embedding: bool
    lora_enabled: bool
    skip_tokenizer_init: bool
    tool_parsers: tuple[str, ...]        # what TOOL_CALL_PARSER may be, in this SGLang
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
    media: MediaSettings
    allowed_routes: tuple[str, ...]      # engine routes open beside the usual ones
    allowed_listeners: tuple[str, ...]   # variables that may open the engine to other machines
    stream_posts: float                  # chunks a second that all streams share; 0 = no limit
    http: HttpSettings
    nodes: NodeSettings
    lora: LoraSettings
    start: StartSettings
    log_level: str
    telemetry: Telemetry
    secrets: tuple[str, ...] = field(repr=False)
    notices: tuple[Notice, ...]
    sglang: str = ""                     # the version of the snapshot that all this was checked against
