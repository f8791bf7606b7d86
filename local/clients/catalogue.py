"""Which clients there are, and what each needs to be told. Data only; docs/clients.md has the same settings."""

from __future__ import annotations

from typing import NamedTuple

BOTH = ("queue", "http")
PYTHON, NODE = "python", "node"
URL, BASE = "URL", "URL/v1"  # what stands before the routes, without and with their version


class Client(NamedTuple):
    """title: as its users call it; program: in programs/; package: whose version is shown, "" for none; at: whose
    package it is; settings: what its user sets; fronts: that it can talk to; embeds: whether it is tried on an
    embedding server too."""

    title: str
    program: str
    package: str
    at: str
    settings: str
    fronts: tuple[str, ...] = BOTH
    embeds: bool = False


CLIENTS: tuple[Client, ...] = (
    Client("openai for Python", "openai_python.py", "openai", PYTHON, f"`base_url={BASE}`", embeds=True),
    Client("openai for Node", "openai_node.mjs", "openai", NODE, f"`baseURL: {BASE}`", embeds=True),
    Client("anthropic for Python", "anthropic_python.py", "anthropic", PYTHON, f"`base_url={URL}`, `auth_token`"),
    Client("anthropic for Node", "anthropic_node.mjs", "@anthropic-ai/sdk", NODE, f"`baseURL: {URL}`, `authToken`"),
    Client("Vercel AI SDK", "ai_node.mjs", "ai", NODE,
           f"`createOpenAICompatible({{baseURL: {BASE}, supportsStructuredOutputs: true}})`", embeds=True),
    Client("LangChain", "langchain_python.py", "langchain-openai", PYTHON,
           f"`ChatOpenAI(base_url={BASE})`; `OpenAIEmbeddings(check_embedding_ctx_length=False)`", embeds=True),
    Client("LiteLLM", "litellm_python.py", "litellm", PYTHON,
           f"`openai/MODEL` with `api_base={BASE}`, or `anthropic/MODEL` with `api_base={URL}`", embeds=True),
    Client("Claude Code", "claude_code.py", "@anthropic-ai/claude-code", NODE,
           f"`ANTHROPIC_BASE_URL={URL}`, `ANTHROPIC_AUTH_TOKEN`, `ANTHROPIC_MODEL` and `ANTHROPIC_SMALL_FAST_MODEL`"),
    Client("Codex", "codex.py", "@openai/codex", NODE,
           f"a provider with `base_url = {BASE}`, `wire_api = \"responses\"`"),
    Client("ollama for Python", "ollama_python.py", "ollama", PYTHON, f"`host={URL}`, the key in `headers`"),
    Client("ollama for Node", "ollama_node.mjs", "ollama", NODE, f"`host: {URL}`, the key in `headers`"),
    Client("runpod for Python", "runpod_python.py", "runpod", PYTHON, "the endpoint's id", ("queue",), embeds=True),
    Client("Open WebUI's requests", "open_webui.py", "", PYTHON, f"a connection of OpenAI's kind to `{BASE}`"),
    Client("curl", "curl.py", "", PYTHON, f"`{BASE}/…`", embeds=True),
)
