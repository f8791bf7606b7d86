"""What planning a request has to know of this worker. Pure."""

from __future__ import annotations

import dataclasses

from lora.sources import Sources
from settings.config import Settings


@dataclasses.dataclass(frozen=True)
class Context:
    """What `routes.plan` has to know of this worker.

    served_model_name: the name the engine answers to; model: the name the user configured; apply_chat_template:
    whether native `text` is wrapped in the chat template unless a job says otherwise; lora: adapters are in use;
    extra_routes: engine paths that the operator opened by name; adapters: the LoRA adapters that /v1/models lists, None
    when it was not asked; reasoning: the server has a reasoning parser; tools: it has one for tool calls;
    tool_parsers: what that may be; marks: the one whose marks the chat template has, "" when unknown; developer:
    whether the chat template shows a `developer` message in the first place and in a later one; suffix: the server has
    a completion template, which reads `suffix`; also: other names by which jobs may ask for the model, such as one with
    a colon, which SGLang does not serve; sources: adapters that are loaded on first use, None without any; audio: the
    model may take audio; skills: what the model can do, in Ollama's words; length: of its context in tokens, None when
    unknown; templates: callers may bring a chat template of their own; sglang: the server's version, "" when unknown.
    """

    served_model_name: str
    model: str
    apply_chat_template: bool = False
    lora: bool = False
    extra_routes: tuple[str, ...] = ()
    adapters: tuple[str, ...] | None = None
    reasoning: bool = True
    tools: bool = True
    tool_parsers: tuple[str, ...] = ()
    marks: str = ""
    developer: tuple[bool, bool] = (False, False)
    suffix: bool = False
    also: tuple[str, ...] = ()
    sources: Sources | None = None
    audio: bool = True
    skills: tuple[str, ...] = ("completion",)
    length: int | None = None
    templates: bool = True
    sglang: str = ""


def of(settings: Settings) -> Context:
    """What the settings say; what the server itself says later counts more (served.py)."""
    def given(*flags: str) -> bool:
        # With a configuration file of the server's own nothing is known.
        return any(word.split("=", 1)[0] in (*flags, "--config") for word in settings.server_args)

    return Context(settings.served_model_name, settings.model, settings.apply_chat_template, settings.lora_enabled,
                   settings.allowed_routes, reasoning=given("--reasoning-parser"),
                   tools=given("--tool-call-parser"), tool_parsers=settings.tool_parsers,
                   suffix=given("--completion-template"), also=settings.model_names,
                   templates=given("--trust-request-chat-template"), sglang=settings.sglang)
