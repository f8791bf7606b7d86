"""The resolved configuration as a text to read and to paste from, with secrets as ***. Pure."""

from __future__ import annotations

import re

from settings import flags
from settings.masking import masked, quoted
from settings.resolved import Settings
from utils import MASK


def describe(settings: Settings) -> str:
    """The resolved server command, one option a line and ready to paste, and the settings; secrets as ***."""
    command = [[quoted(masked(word, settings.secrets)) for word in settings.launch_command]]
    option_of = ""
    for word in settings.server_args:
        spelled, equals, value = word.partition("=")
        option = re.match(r"--?[a-zA-Z]", word) is not None
        if option:
            option_of = spelled
            command.append([])
        if (equals or not option) and flags.is_secret(option_of, value if option else word):
            word = f"{spelled}={MASK}" if option else MASK
        command[-1].append(quoted(masked(word, settings.secrets)))
    shown = {name: getattr(settings, name) for name in (
        "model", "revision", "served_model_name", "model_names", "offline", "port", "is_embedding", "lora_enabled",
        "skip_tokenizer_init", "apply_chat_template", "startup_timeout", "max_concurrency", "idle_timeout",
        "request_timeout", "shutdown_timeout", "wait_timeout", "retry_timeout", "keepalive", "max_restarts",
        "restart_window", "hang_timeout", "chunk_bytes", "stream_posts", "limits", "media", "http",
        "nodes", "lora", "allowed_routes", "allowed_listeners", "start", "log_level", "telemetry")}
    shown |= {name: MASK if getattr(settings, name) else None for name in ("api_key", "admin_api_key")}
    text = ["command:", "  " + " \\\n    ".join(map(" ".join, command)), "settings:"]
    text += [f"  {name} = {masked(str(value), settings.secrets)}" for name, value in shown.items()]
    text += ["notes:"] * bool(settings.notices)
    text += [f"  {level}: {masked(line, settings.secrets)}" for level, line in settings.notices]
    return "\n".join(text)
