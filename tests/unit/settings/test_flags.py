"""Environment variables to SGLang's arguments: every flag of the committed snapshot, and every rule."""

import copy
import json
import shlex
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from settings import flags
from settings.flags import bounds
from tests.flag_samples import parser, sample

SNAPSHOT = json.loads((Path(__file__).parents[3] / "builder" / "flags.json").read_text(encoding="utf-8"))
FLAGS = SNAPSHOT["flags"]
PARSER = parser(SNAPSHOT)


def argv(**environ):
    words, _, problems = flags.argv_for(environ, SNAPSHOT)
    assert problems == []
    return words


def reason(**environ):
    words, _, problems = flags.argv_for(environ, SNAPSHOT)
    assert len(problems) == 1, problems
    assert problems[0].name in environ
    return problems[0].reason


def warnings(**environ):
    words, notices, problems = flags.argv_for(environ, SNAPSHOT)
    assert problems == [] and {level for level, _ in notices} <= {"warn"}
    return words, [line for _, line in notices]


# Variable, documented default (None: none), another value, its arguments: every row of the README's first table.
ROWS = [
    ("MODEL_PATH", "meta-llama/Meta-Llama-3-8B-Instruct", "Qwen/Qwen3-8B", ["--model-path", "Qwen/Qwen3-8B"]),
    ("TOKENIZER_PATH", None, "/models/tok", ["--tokenizer-path", "/models/tok"]),
    ("TOKENIZER_MODE", "auto", "slow", ["--tokenizer-mode", "slow"]),
    ("LOAD_FORMAT", "auto", "safetensors", ["--load-format", "safetensors"]),
    ("LOAD_FORMAT", "auto", "pt", ["--load-format", "pt"]),
    ("LOAD_FORMAT", "auto", "npcache", ["--load-format", "npcache"]),
    ("LOAD_FORMAT", "auto", "dummy", ["--load-format", "dummy"]),
    *(("DTYPE", "auto", value, ["--dtype", value])
      for value in ("half", "float16", "bfloat16", "float", "float32")),
    ("CONTEXT_LENGTH", None, "32k", ["--context-length", "32k"]),
    *(("QUANTIZATION", None, value, ["--quantization", value])
      for value in ("awq", "fp8", "gptq", "gptq_marlin", "awq_marlin", "bitsandbytes")),
    ("QUANTIZATION", None, "marlin", []),
    ("SERVED_MODEL_NAME", None, "my model", ["--served-model-name", "my model"]),
    ("CHAT_TEMPLATE", None, "chatml", ["--chat-template", "chatml"]),
    ("CHAT_TEMPLATE", None, "./my.jinja", ["--chat-template", "./my.jinja"]),
    *(("CHAT_TEMPLATE", None, value, []) for value in ("llama3", "qwen", "openchat", "mistral-instruct")),
    ("MEM_FRACTION_STATIC", None, "0.85", ["--mem-fraction-static", "0.85"]),
    ("MAX_RUNNING_REQUESTS", None, "64", ["--max-running-requests", "64"]),
    ("MAX_TOTAL_TOKENS", None, "16384", ["--max-total-tokens", "16384"]),
    ("CHUNKED_PREFILL_SIZE", None, "-1", ["--chunked-prefill-size=-1"]),
    ("CHUNKED_PREFILL_SIZE", None, "4096", ["--chunked-prefill-size", "4096"]),
    ("MAX_PREFILL_TOKENS", "16384", "8192", ["--max-prefill-tokens", "8192"]),
    *(("SCHEDULE_POLICY", "fcfs", value, ["--schedule-policy", value]) for value in ("lpm", "random", "dfs-weight")),
    ("SCHEDULE_CONSERVATIVENESS", "1.0", "0.5", ["--schedule-conservativeness", "0.5"]),
    ("TENSOR_PARALLEL_SIZE", "1", "2", ["--tp-size", "2"]),
    ("STREAM_INTERVAL", "1", "4", ["--stream-interval", "4"]),
    ("RANDOM_SEED", None, "42", ["--random-seed", "42"]),
    ("LOG_LEVEL", "info", "debug", ["--log-level", "debug"]),
    ("LOG_LEVEL_HTTP", None, "warning", ["--log-level-http", "warning"]),
    ("API_KEY", None, "sk-123", ["--api-key", "sk-123"]),
    ("FILE_STORAGE_PATH", "sglang_storage", "/data", ["--file-storage-path", "/data"]),
    ("DATA_PARALLEL_SIZE", "1", "2", ["--dp-size", "2"]),
    ("LOAD_BALANCE_METHOD", "round_robin", "shortest_queue", ["--load-balance-method", "total_requests"]),
    *((name, "false", "true", [f"--{name.lower().replace('_', '-')}"]) for name in (
        "SKIP_TOKENIZER_INIT", "TRUST_REMOTE_CODE", "LOG_REQUESTS", "SHOW_TIME_COST", "DISABLE_RADIX_CACHE",
        "DISABLE_OUTLINES_DISK_CACHE", "ENABLE_TORCH_COMPILE", "ENABLE_P2P_CHECK",
        "TRITON_ATTENTION_REDUCE_IN_FP32")),
    ("DISABLE_CUDA_GRAPH", "false", "true",
     ["--cuda-graph-backend-decode", "disabled", "--cuda-graph-backend-prefill", "disabled"]),
    ("ENABLE_FLASHINFER_MLA", "false", "true", ["--attention-backend", "flashinfer"]),
]


@pytest.mark.parametrize(("name", "default", "value", "expected"), ROWS, ids=[f"{r[0]}={r[2]}" for r in ROWS])
def test_every_documented_row_works_and_the_server_would_take_it(name, default, value, expected):
    words = argv(**{name: value})
    assert words == expected
    PARSER.parse_args(words)
    if default is not None:
        PARSER.parse_args(argv(**{name: default}))


def test_every_flag_is_a_variable_under_each_of_its_names():
    read = 0
    for flag in sorted(set(FLAGS) - set(flags.REFUSED) - {"--disable-cuda-graph"}):
        for name in FLAGS[flag]["names"]:
            words = argv(**{flags.variable(name): sample(flag, FLAGS[flag])})
            assert getattr(PARSER.parse_args(words), flag) is not None, flag
            read += 1
    assert read > 500


@pytest.mark.parametrize("flag", sorted(set(flags.REFUSED) - {"--help", "--host", "--port", "--config"}))
def test_what_would_break_the_worker_is_refused(flag):
    text = sample(flag, FLAGS[flag])
    assert flags.REFUSED[flag] in reason(**{flags.variable(flag): text})
    assert flags.refused(flags.read([flag, text], SNAPSHOT)) == [f"{flag} cannot be set: {flags.REFUSED[flag]}"]
    if FLAGS[flag]["kind"] == "switch":
        assert argv(**{flags.variable(flag): "false"}) == []


def test_names_that_shells_and_platforms_set_are_not_read():
    assert argv(HOST="0.0.0.0", PORT="80", CONFIG="x", HELP="me", HOSTNAME="a", PATH="/bin") == []


@pytest.mark.parametrize("text", ["", " ", "\t\n"])
def test_blank_is_unset(text):
    assert argv(DTYPE=text, TRUST_REMOTE_CODE=text, LORA_PATHS=text, ENABLE_FLASHINFER_MLA=text) == []


@pytest.mark.parametrize("text", ["true", "1", "yes", "on", "TRUE", "Yes", " on "])
def test_true_words(text):
    assert argv(TRUST_REMOTE_CODE=text, DLLM_FDFO=text) == ["--dllm-fdfo", "--trust-remote-code"]


@pytest.mark.parametrize("text", ["false", "0", "no", "off", "FALSE", "No", " off "])
def test_false_words(text):
    assert argv(TRUST_REMOTE_CODE=text, DLLM_FDFO=text) == ["--no-dllm-fdfo"]


@pytest.mark.parametrize("text", ["tru", "2", "none", "y", "enabled"])
def test_other_words_are_no_booleans(text):
    assert reason(TRUST_REMOTE_CODE=text) == "must be true, 1, yes, on, or false, 0, no, off"
    assert reason(ENABLE_FLASHINFER_MLA=text) == "must be true, 1, yes, on, or false, 0, no, off"


def test_aliases_mean_the_same():
    assert argv(TP_SIZE="2") == argv(TENSOR_PARALLEL_SIZE="2") == ["--tp-size", "2"]
    assert argv(MODEL="a/b") == argv(MODEL_NAME="a/b") == argv(MODEL_PATH="a/b") == ["--model-path", "a/b"]
    assert argv(EP="2") == argv(EXPERT_PARALLEL_SIZE="2") == ["--ep-size", "2"]
    assert argv(MODEL_REVISION="v1") == argv(REVISION="v1") == ["--revision", "v1"]
    assert argv(TP_SIZE="2", TENSOR_PARALLEL_SIZE=" 2 ") == ["--tp-size", "2"]


def test_aliases_that_differ_are_a_problem():
    assert "MODEL_NAME means the same" in reason(MODEL_NAME="a/b", MODEL_PATH="c/d")
    assert "TENSOR_PARALLEL_SIZE means the same" in reason(TP_SIZE="2", TENSOR_PARALLEL_SIZE="4")


@pytest.mark.parametrize(("name", "text", "says"), [
    ("STREAM_INTERVAL", "two", "must be a whole number"),
    ("STREAM_INTERVAL", "1.5", "must be a whole number"),
    ("MEM_FRACTION_STATIC", "85%", "must be a number"),
    ("CONTEXT_LENGTH", "32 k", "must be a whole number, or one with a suffix such as 16k or 16Ki"),
    ("CONTEXT_LENGTH", "1.5Ki", "must be a whole number, or one with a suffix such as 16k or 16Ki"),
    ("DEFAULT_CHAT_TEMPLATE_KWARGS", "{enable_thinking: false}", "must be JSON"),
    ("FORWARD_HOOKS", '{"a": 1}', "must be a JSON list"),
    ("FORWARD_HOOKS", "[NaN]", "must be a JSON list"),
    ("LOG_REQUESTS_LEVEL", "9", "must be one of 0, 1, 2, 3"),
    ("DTYPE", "flaot16", "must be one of auto, half, float16, bfloat16, float, float32 (did you mean float16?)"),
    ("LOG_LEVEL", "warn", "must be one of debug, info, warning, error, critical (did you mean warning?)"),
    ("CUDA_GRAPH_BS_DECODE", "1,2,4", "element '1,2,4' must be a whole number; elements are separated by spaces"),
    ("CUDA_GRAPH_BS_DECODE", "1 x", "element 'x' must be a whole number"),
    ("ALLOWED_MEDIA_DOMAINS", "a 'b", "cannot be split like a shell command line: No closing quotation"),
    ("ALLOWED_MEDIA_DOMAINS", "[]", "has no element"),
    ("ALLOWED_MEDIA_DOMAINS", "a --host=b", "element '--host=b' cannot start with a dash"),
    ("LORA_PATHS", '{"lora_name": "a"}', """element '{"lora_name": "a"}' must have lora_name and lora_path"""),
    ("LORA_TARGET_MODULES", "qproj", "element 'qproj' must be one of"),
    ("TOKENIZER_PATH", "--", "cannot be two dashes"),
])
def test_a_wrong_value_says_what_is_allowed(name, text, says):
    assert reason(**{name: text}).startswith(says)


def test_choices_are_matched_whatever_their_case():
    assert argv(LOG_LEVEL="WARNING", SPECULATIVE_NGRAM_MATCH_TYPE="bfs") == [
        "--log-level", "warning", "--speculative-ngram-match-type", "BFS"]


def test_lists_split_like_a_shell():
    assert argv(CUDA_GRAPH_BS_DECODE="1 2  4") == ["--cuda-graph-bs-decode", "1", "2", "4"]
    assert argv(CUDA_GRAPH_BS_DECODE="[1, 2, 4]") == ["--cuda-graph-bs-decode", "1", "2", "4"]
    assert argv(DEBUG_TENSOR_DUMP_LAYERS="-1 -2") == ["--debug-tensor-dump-layers", "-1", "-2"]
    assert argv(LOG_REQUESTS_TARGET="stdout '/logs/of the day'") == [
        "--log-requests-target", "stdout", "/logs/of the day"]


@pytest.mark.parametrize("text", [
    """'{"lora_name": "a", "lora_path": "/x y"}'""",
    """{"lora_name": "a", "lora_path": "/x y"}""",
    """[{"lora_name": "a", "lora_path": "/x y"}]""",
])
def test_lora_adapters_may_be_json(text):
    (word,) = argv(LORA_PATHS=text)[1:]
    assert json.loads(word) == {"lora_name": "a", "lora_path": "/x y"}
    assert argv(LORA_PATHS="a=/x /y") == ["--lora-paths", "a=/x", "/y"]
    two = argv(LORA_PATHS='{"lora_name":"a","lora_path":"b"} {"lora_name":"c","lora_path":"d"}')
    assert [json.loads(word)["lora_name"] for word in two[1:]] == ["a", "c"]


def test_json_passes_as_it_is():
    text = '{"enable_thinking":   false, "x": "it\'s"}'
    assert argv(DEFAULT_CHAT_TEMPLATE_KWARGS=text) == ["--default-chat-template-kwargs", text]


def test_a_value_with_a_leading_dash_is_joined():
    assert argv(TOKENIZER_PATH="--port=1") == ["--tokenizer-path=--port=1"]
    assert PARSER.parse_args(argv(TOKENIZER_PATH="-x y")).__dict__["--tokenizer-path"] == "-x y"


def test_an_optional_value():
    assert argv(MODEL_CHECKSUM="true") == ["--model-checksum"]
    assert argv(MODEL_CHECKSUM="sums.json") == ["--model-checksum", "sums.json"]
    assert argv(MODEL_CHECKSUM="off") == []


@pytest.mark.parametrize(("environ", "says"), [
    ({"LOAD_BALANCE_METHOD": "shortest_queue"}, "--load-balance-method total_requests is used"),
    ({"LOAD_BALANCE_METHOD": "minimum_tokens"}, "--load-balance-method total_tokens is used"),
    ({"QUANTIZATION": "Marlin"}, "--quantization is left out, SGLang chooses the Marlin kernels itself"),
    ({"ENABLE_FLASHINFER_MLA": "1"}, "--attention-backend flashinfer is used"),
    ({"ENABLE_FLASHINFER_MLA": "1", "ATTENTION_BACKEND": "fa3"}, "ATTENTION_BACKEND decides instead"),
    ({"DISABLE_CUDA_GRAPH": "1"}, "DISABLE_CUDA_GRAPH=1 is deprecated in SGLang"),
    ({"CHAT_TEMPLATE": "qwen"}, "the model's own chat template is used"),
    ({"ENABLE_DP_ATTENTION": "on"}, "ENABLE_DP_ATTENTION=on: Deprecated. Use --attn-dp-size"),
    ({"DISABLE_FAST_IMAGE_PROCESSOR": "on"}, "DISABLE_FAST_IMAGE_PROCESSOR=on: Deprecated. Use --image-processor"),
])
def test_an_older_spelling_works_with_one_warning(environ, says):
    words, lines = warnings(**environ)
    assert len(lines) == 1 and says in lines[0]
    PARSER.parse_args(words)


def test_an_explicit_choice_wins_over_an_older_spelling():
    assert argv(ENABLE_FLASHINFER_MLA="true", ATTENTION_BACKEND="fa3") == ["--attention-backend", "fa3"]
    assert argv(DISABLE_CUDA_GRAPH="true", CUDA_GRAPH_BACKEND_DECODE="full") == [
        "--cuda-graph-backend-decode", "full", "--cuda-graph-backend-prefill", "disabled"]
    assert warnings(ENABLE_FLASHINFER_MLA="false", DISABLE_CUDA_GRAPH="0") == ([], [])


def test_what_has_no_equivalent_says_so_and_lists_what_is_valid():
    says = reason(QUANTIZATION="squeezellm")
    assert says.startswith("has no equivalent: SGLang no longer loads SqueezeLLM checkpoints")
    assert all(choice in says for choice in FLAGS["--quantization"]["choices"])
    says = reason(CHAT_TEMPLATE="chatlm")
    assert says.startswith("must be a path, or one of chatml, ") and says.endswith("(did you mean chatml?)")


def test_an_older_sglang_keeps_its_own_spellings():
    older = copy.deepcopy(SNAPSHOT)
    entries = older["flags"]
    entries["--enable-flashinfer-mla"] = {"names": ["--enable-flashinfer-mla"], "kind": "switch", "default": False}
    entries["--load-balance-method"]["choices"] = ["round_robin", "shortest_queue"]
    entries["--quantization"]["choices"] += ["marlin", "squeezellm"]
    del entries["--disable-cuda-graph"]["deprecated"], entries["--chat-template"]["builtins"]
    words, notices, problems = flags.argv_for({
        "ENABLE_FLASHINFER_MLA": "1", "LOAD_BALANCE_METHOD": "shortest_queue", "QUANTIZATION": "marlin",
        "DISABLE_CUDA_GRAPH": "1", "CHAT_TEMPLATE": "llama3"}, older)
    assert (notices, problems) == ([], [])
    assert words == ["--chat-template", "llama3", "--disable-cuda-graph", "--enable-flashinfer-mla",
                     "--load-balance-method", "shortest_queue", "--quantization", "marlin"]


def test_a_removed_flag_says_what_replaced_it():
    older = {"sglang": "0", "flags": {"--gone": {"names": ["--gone"], "kind": "removed", "default": None,
                                                  "deprecated": "use --new", "help": ""}}}
    assert flags.argv_for({"GONE": "1"}, older)[2] == [("GONE", "1", "is gone from SGLang: use --new")]


def test_secret_names():
    assert all(map(flags.is_secret, ["API_KEY", "--admin-api-key", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN",
                                     "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "--ssl-keyfile-password",
                                     "MODELSCOPE_API_TOKEN", "WATERMARK_CONFIG"]))
    assert not any(map(flags.is_secret, ["MAX_TOTAL_TOKENS", "TOKENIZER_PATH", "--bucket-time-to-first-token",
                                         "KT_MAX_DEFERRED_EXPERTS_PER_TOKEN", "SSL_KEYFILE", "CONFIG"]))


@pytest.mark.parametrize(("text", "flag", "values", "on"), [
    ("--tp 2", "--tp-size", ("2",), True),
    ("--tensor-parallel-size=2", "--tp-size", ("2",), True),
    ("--no-dllm-fdfo", "--dllm-fdfo", (), False),
    ("--cuda-graph-bs-decode 1 2", "--cuda-graph-bs-decode", ("1", "2"), True),
    ("--chunked-prefill-size -1", "--chunked-prefill-size", ("-1",), True),
    ("--served-model-name '-a b'", "--served-model-name", ("-a b",), True),
    ("--hos 0.0.0.0", "--host", ("0.0.0.0",), True),
    ("--nope 1", None, ("1",), True),
    ("--model x", "--model-path", ("x",), True),
    ("--mod x", None, ("x",), True),
    ("-h", "--help", (), True),
    ("stray", None, (), True),
])
def test_reading_arguments_as_argparse_does(text, flag, values, on):
    (item,) = flags.read(shlex.split(text), SNAPSHOT)
    assert (item.flag, item.values, item.on) == (flag, values, on)


TEXT_FLAGS = sorted(flag for flag, entry in FLAGS.items() if entry["kind"] == "value" and entry["type"] == "str"
                    and not entry.get("choices") and "nargs" not in entry and flag not in flags.REFUSED
                    and flag not in ("--chat-template", "--log-level", "--log-level-http"))


@given(st.dictionaries(st.sampled_from(TEXT_FLAGS), st.text().map(str.strip).filter(bool), max_size=4))
@settings(max_examples=100, deadline=None)
def test_any_text_reaches_the_server_unchanged(values):
    words, _, problems = flags.argv_for({flags.variable(flag): text for flag, text in values.items()}, SNAPSHOT)
    assume(not any(text == "--" for text in values.values()))
    assert problems == []
    parsed = PARSER.parse_args(shlex.split(shlex.join(words)))
    assert {flag: getattr(parsed, flag) for flag in values} == values
    assert {item.flag: item.values[0] for item in flags.read(words, SNAPSHOT)} == values


TEXTS = st.one_of(st.text(), st.text(alphabet="-=[]{}\"' ,1a\\.eNk"), st.integers().map(str),
                  st.floats().map(str), st.sampled_from(["true", "off", "[1, 2]", "-1", "{}", "[]", "1Ki"]))


@given(st.dictionaries(st.sampled_from(sorted(flags.variables(SNAPSHOT))), TEXTS, max_size=5))
@settings(max_examples=150, deadline=None)
def test_whatever_passes_the_checks_passes_the_parser(environ):
    words, _, problems = flags.argv_for(environ, SNAPSHOT)
    if not problems:
        PARSER.parse_args(words)
    assert {problem.name for problem in problems} <= set(environ)


# --- numbers ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("flag", sorted(bounds.AT_LEAST_ONE))
def test_a_size_of_nothing_is_refused(flag):
    says = "must be at least 1; leave it out for SGLang's own choice"
    assert reason(**{flags.variable(flag): "0"}) == reason(**{flags.variable(flag): "-1"}) == says
    assert FLAGS[flag]["type"] in ("int", "size") and argv(**{flags.variable(flag): "1"}) == [flag, "1"]


@pytest.mark.parametrize(("name", "wrong", "right", "says"), [
    ("MEM_FRACTION_STATIC", ["0", "-0.1", "1.1", "85"], ["0.85", "1", "0.01"], "must be above 0 and at most 1"),
    ("CHUNKED_PREFILL_SIZE", ["0", "-2"], ["-1", "1", "8192"], "must be at least 1, or -1 for prompts in one piece"),
    ("MAX_RUNNING_REQUESTS", ["-1"], ["0", "5"], "must be at least 0"), ("DP_SIZE", ["-1"], ["0", "2"], "must be at"),
    ("CONTEXT_LENGTH", ["0k", "0.0k", "0Ki"], ["1k", "0.5k", "10Ki"], "must be at least 1"),
])
def test_numbers_that_the_server_fails_on_are_refused(name, wrong, right, says):
    for text in wrong:
        assert reason(**{name: text}).startswith(says), text
    for text in right:
        assert argv(**{name: text})
