"""The last words of real servers that ended at their start, and the setting that each is to name.

failed_starts.txt: "## how it was provoked -> words of the advice", then the end of SGLang 0.5.23's output on a CPU.
"""

import json
import re
from pathlib import Path

import pytest

from server.causes import CAUSES, STAGES
from server.diagnosis import diagnose, last_resort
from settings import config

SNAPSHOT = json.loads((Path(__file__).parents[3] / "builder" / "flags.json").read_text(encoding="utf-8"))
ENDS = Path(__file__).with_name("failed_starts.txt").read_text(encoding="utf-8")
BEFORE = ["[2026-11-25 21:00:00] server_args={'model_path': '/models/tiny', 'tokenizer_path': '/models/tiny'}",
          "[2026-11-25 21:00:01] Init parallel begin.",
          "[2026-11-25 21:00:02] Ignore import error when loading sglang.srt.models.x: No module named 'x'"]


def ends():
    for block in ENDS.removeprefix("## ").split("\n## "):
        title, *lines = block.splitlines()
        what, advice = title.split(" -> ")
        yield pytest.param(lines, advice, id=what)


@pytest.mark.parametrize(("lines", "advice"), list(ends()))
def test_the_setting_is_named(lines, advice):
    assert advice in (diagnose(BEFORE + lines) or "no advice")


@pytest.mark.parametrize(("lines", "advice"), list(ends()))
def test_advice_needs_the_lines_of_the_cause(lines, advice):
    """Nothing in what comes before or after an error says the same by accident."""
    noise = [line for line in lines if re.match(r"\[2026", line) and "Traceback" not in line]
    assert diagnose(BEFORE + noise) is None


@pytest.mark.parametrize(("line", "advice"), [
    ("OSError: [Errno 28] No space left on device", "disk is full"),
    ("OSError: [Errno 122] Disk quota exceeded: '/runpod-volume/x'", "HF_HOME or DOWNLOAD_DIR"),
    ("ValueError: No file matching quant type 'Q9' in o/n. Available GGUF files: []", "MODEL_NAME: the part after"),
    ("sglang serve: error: argument --tp-size/--tensor-parallel-size: invalid int value: 'x'", "check TP_SIZE, or"),
    ("ValueError: parallel topology is inconsistent (set by override_permanently):", "divisible by EP_SIZE"),
    ("ValueError: Unsupported config option 'version' with action '_VersionAction'", "SGLANG_CONFIG_FILE has an"),
    ("ValueError: Could not find checkpoint files '/m/*.safetensors', only pre-sharded checkpoints are "
     "currently supported!", "LOAD_FORMAT=sharded_state"),
    ("ModuleNotFoundError: No module named 'runai_model_streamer'", "LOAD_FORMAT asks for a package"),
    ("ValueError: --reasoning-parser deepseek-v4 and --tool-call-parser deepseekv4 cannot be mixed with other parsers, "
     "got 'deepseek-r1' and 'deepseekv4'", "TOOL_CALL_PARSER=none"),
    ("ValueError: Inkling token parsing requires --reasoning-parser and --tool-call-parser to be inkling or unset, got "
     "'qwen3' and 'inkling'", "REASONING_PARSER and TOOL_CALL_PARSER"),
    ("ValueError: --foo-bar and --page-size cannot both be set", "check FOO_BAR and PAGE_SIZE."),
])
def test_single_lines(line, advice):
    assert advice in diagnose([line])


@pytest.mark.parametrize("lines", [
    ["json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)"],
    ["ZeroDivisionError: division by zero"], ["AssertionError"], ["KeyError: 'page_size'"],
    ["AssertionError: head_dim must be even"], ["[2026-11-25 21:00:00] use --page-size 1 for this"],
    ["Traceback (most recent call last):", '  File "/x/arg_groups/a.py", line 1, in f', "ValueError: 1",
     "AssertionError"],
    ["RuntimeError: CUDA error: an illegal memory access was encountered"], ["RuntimeError: Triton Error [CUDA]: x"],
    ["ImportError: /root/.cache/x.so: undefined symbol: _Z1fv"],
])
def test_what_may_have_any_cause_has_no_advice(lines):
    assert diagnose(lines) is None


def test_a_frame_of_an_older_traceback_does_not_count():
    older = ["Traceback (most recent call last):", '  File "/x/y.py", line 1, in get_tokenizer', "ValueError: x",
             "Traceback (most recent call last):", '  File "/x/z.py", line 1, in other']
    assert diagnose([*older, "json.decoder.JSONDecodeError: Expecting value: line 1"]) is None
    assert "tokenizer.json" in diagnose([*older[:2], "json.decoder.JSONDecodeError: Expecting value: line 1"])


def test_every_setting_that_is_named_is_one():
    known = config.known_variables(SNAPSHOT) | {"HF_TOKEN", "HF_HOME", "HF_HUB_OFFLINE"} | {
        "SGLANG_REQ_RUNNING_TIMEOUT", "SGLANG_REQ_WAITING_TIMEOUT"}  # SGLang's own (sglang/srt/environ.py)
    text = " ".join([cause.advice for cause in CAUSES] + [stage for _, stage in STAGES])
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z0-9]+)+\b", text))
    assert named - known == set() and len(named) > 30


# --- the last resort ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("lines", "says"), [
    (["[t] server_args={'model_path': 'x'}"], "after it had read its settings (MODEL_NAME"),
    (["[t] server_args={}", "[t] Load weight begin. avail mem=20 GB"], "while it loaded the weights (MODEL_NAME"),
    (["[t] Load weight begin.", "[t] Load weight end. elapsed=1 s", "RuntimeError: x"],
     "after it had loaded the weights"),
    (["[t] Load weight end.", "[t] KV Cache is allocated. dtype: torch.bfloat16"], "after it had allocated the KV"),
    (["[t] Memory pool end.", "[t] Capture decode CUDA graph begin. This can take"], "while it captured CUDA graphs"),
    (["[t] Init torch distributed begin."], "while its processes found each other"),
])
def test_the_last_resort_says_how_far_the_start_had_come(lines, says):
    told = last_resort(lines)
    assert told.startswith(f"The cause is not known here. It ended {says}")
    assert told.endswith(next(line for line in reversed(lines) if line.startswith("[t]"))[:200])


@pytest.mark.parametrize("lines", [
    [], ["Segmentation fault"],
    ["[t] Load weight begin.", "[t] The server is fired up and ready to roll!", "RuntimeError: x"],
])
def test_no_last_resort_for_a_server_that_was_up_or_said_nothing(lines):
    assert last_resort(lines) is None
