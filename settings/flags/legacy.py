"""Settings that older SGLangs took, and vLLM takes, turned into what this one accepts, each with one warning line.

Pure. Every rule looks at the snapshot first, so that it rests where the SGLang at hand still has the old
spelling, and never asks for a value that it does not have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from settings.flags.values import BOOLEANS, Notice, Problem, Snapshot, boolean, nearest

Given = dict[str, tuple[str, str]]     # canonical flag -> (variable, its text)

# None leaves the flag out. `marlin` asked for the Marlin kernels, whatever the checkpoint's own method: SGLang
# now picks them by itself for GPTQ and AWQ (override_quantization_method in srt/layers/quantization), while
# either present name would refuse the checkpoints of the other.
_VALUES = {
    ("--load-balance-method", "shortest_queue"): ("total_requests", "its present name"),
    ("--load-balance-method", "minimum_tokens"): ("total_tokens", "its present name"),
    ("--quantization", "marlin"): (None, "SGLang chooses the Marlin kernels itself for GPTQ and AWQ weights"),
    # vLLM's words, where SGLang has the same under another name (the choice of "None" in worker-vllm's form is none).
    ("--device", "auto"): (None, "as the server finds its device itself"),
    ("--quantization", "none"): (None, "which means that the model's own files decide"),
    ("--kv-cache-dtype", "fp8"): ("fp8_e4m3", "which vLLM calls so"),
    **{(f"--{kind}-parser", theirs): (ours, "SGLang's name of it") for kind, theirs, ours in (
        ("tool-call", "llama3_json", "llama3"), ("tool-call", "llama4_pythonic", "pythonic"),
        ("tool-call", "deepseek_v3", "deepseekv3"), ("tool-call", "deepseek_v31", "deepseekv31"),
        ("tool-call", "qwen3_xml", "qwen3_coder"), ("tool-call", "openai", "gpt-oss"),
        ("reasoning", "deepseek_r1", "deepseek-r1"), ("reasoning", "deepseek_v3", "deepseek-v3"),
        ("reasoning", "hunyuan_a13b", "hunyuan"), ("reasoning", "openai_gptoss", "gpt-oss"))},
}
_NO_EQUIVALENT = {("--quantization", "squeezellm"): "SGLang no longer loads SqueezeLLM checkpoints; it "}
# Once documented as values of CHAT_TEMPLATE, never files: the checkpoints they were for bring their own.
_TEMPLATES = {"llama3", "llama-3", "qwen", "openchat", "mistral-instruct"}


def modernise(given: Given, environ: Mapping[str, str],
              snapshot: Snapshot) -> tuple[Given, list[Notice], list[Problem]]:
    """(`given` with older spellings replaced, notices, problems); a problem says what is valid today."""
    rules = Rules(dict(given), snapshot)
    rules.values()
    rules.flashinfer_mla(environ.get("ENABLE_FLASHINFER_MLA", "").strip())
    rules.cuda_graph()
    rules.chat_template()
    return rules.given, rules.notices, rules.problems


class Rules:
    def __init__(self, given: Given, snapshot: Snapshot):
        self.given, self.flags, self.version = given, snapshot["flags"], snapshot["sglang"]
        self.notices: list[Notice] = []
        self.problems: list[Problem] = []

    def _moved(self, name: str, text: str, becomes: str) -> None:
        self.notices.append(("warn", f"{name}={text} is not in SGLang {self.version}: {becomes}"))

    def _choices(self, flag: str) -> list[Any]:
        choices: list[Any] = self.flags.get(flag, {}).get("choices", [])
        return choices

    def values(self) -> None:
        for (flag, old), (new, why) in _VALUES.items():
            name, text = self.given.get(flag, ("", ""))
            choices = self._choices(flag)
            if text.lower() != old or old in choices or (new is not None and new not in choices):
                continue
            self.given.pop(flag)
            if new is not None:
                self.given[flag] = (name, new)
            self._moved(name, text, f"{flag} {new} is used, {why}" if new else f"{flag} is left out, {why}")
        for (flag, old), why in _NO_EQUIVALENT.items():
            name, text = self.given.get(flag, ("", ""))
            if text.lower() == old and old not in self._choices(flag):
                self.given.pop(flag)
                listed = ", ".join(map(str, self._choices(flag)))
                self.problems.append(Problem(name, text, f"has no equivalent: {why}must be one of {listed}"))

    def flashinfer_mla(self, text: str) -> None:
        # The flag chose FlashInfer's MLA kernels for models with latent attention; the attention backend of that
        # name chooses them now (create_flashinfer_backend in srt/layers/attention/attention_registry.py).
        name = "ENABLE_FLASHINFER_MLA"
        if not text or "--enable-flashinfer-mla" in self.flags:
            return
        if boolean(text) is None:
            self.problems.append(Problem(name, text, f"must be {BOOLEANS}"))
        elif boolean(text) and "--attention-backend" in self.given:
            self._moved(name, text, f"{self.given['--attention-backend'][0]} decides instead")
        elif boolean(text):
            self.given["--attention-backend"] = (name, "flashinfer")
            self._moved(name, text, "--attention-backend flashinfer is used, which covers MLA")

    def cuda_graph(self) -> None:
        # As in SGLang's own resolution (arg_groups/cuda_graph_hook.py): a phase that is set wins over this one.
        phases = [f"--cuda-graph-backend-{phase}" for phase in ("decode", "prefill")]
        name, text = self.given.get("--disable-cuda-graph", ("", ""))
        retired = self.flags.get("--disable-cuda-graph", {}).get("deprecated")
        if not boolean(text) or not retired or not all("disabled" in self._choices(phase) for phase in phases):
            return
        self.given.pop("--disable-cuda-graph")
        for phase in phases:
            self.given.setdefault(phase, (name, "disabled"))
        self.notices.append(("warn", f"{name}={text} is deprecated in SGLang {self.version}: "
                                     f"{' and '.join(phases)} disabled are used"))

    def chat_template(self) -> None:
        # A name that is neither built in nor a path stops the server only after it has loaded the weights.
        builtins = self.flags.get("--chat-template", {}).get("builtins", [])
        name, text = self.given.get("--chat-template", ("", ""))
        if not builtins or not text or text in builtins or re.search(r"[./\\{]", text):
            return
        self.given.pop("--chat-template")
        if text.lower() in _TEMPLATES:
            self._moved(name, text, "the model's own chat template is used")
        else:
            listed = f"must be a path, or one of {', '.join(builtins)}{nearest(text, builtins)}"
            self.problems.append(Problem(name, text, listed))
