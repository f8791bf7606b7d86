"""docs/migrating.md: what the older worker-sglang and worker-vllm document is given to this worker, and happens as the
page says."""

import json

import pytest

from builder import generate, migration
from builder.migration import MESSAGES, SAME, WORKERS, PassedOver, of_input, of_parameter, of_variable
from job import routes
from job.context import Context
from settings import config, flags, snapshots
from tests.unit.settings.test_incoming import SNAPSHOT, lines, load, value

DOCUMENT = (generate.ROOT / "docs/migrating.md").read_text(encoding="utf-8")
VARIABLES = [(worker, name, text) for worker, told in WORKERS.items()
             for name, values in told["variables"].items() for text in values]


@pytest.mark.parametrize(("worker", "name", "text"), VARIABLES)
def test_no_documented_variable_is_passed_over_without_a_word(worker, name, text):
    outcome = of_variable(name, text, SNAPSHOT)
    assert f"`{name}`" in DOCUMENT and outcome
    if outcome == SAME:
        assert name in config.known_variables(SNAPSHOT) | {"HF_TOKEN"}
        # It arrives: with it something is other than without it, but for what is so by default.
        base = {} if name in migration.MODELS else {"MODEL_NAME": "org/base"}
        assert load(**base, **{name: text}) != load(**base) or text in _AS_BY_DEFAULT.get(name, ())


_AS_BY_DEFAULT = {"HF_TOKEN": (), "LOAD_BALANCE_METHOD": ("round_robin",), "TOKENIZER_REVISION": ("v2",),
                  "DISABLE_CUSTOM_ALL_REDUCE": ("0",), "REQUEST_TIMEOUT": ("3600",)}


def test_one_that_would_be_is_an_error_and_no_page_is_made_of_it(monkeypatch, capsys):
    with pytest.raises(PassedOver, match="MAX_PADDINGS"):
        of_variable("MAX_PADDINGS", "256", SNAPSHOT)
    monkeypatch.setitem(WORKERS["worker-vllm"]["variables"], "MAX_PADDINGS", ["256"])
    assert generate.main(["--check"]) == 1
    assert "MAX_PADDINGS is passed over without a word" in capsys.readouterr().err


def test_nor_by_the_image_with_the_older_sglang():
    older, silent = snapshots.read(snapshots.FOLDER / "flags-0.5.19.json"), set()
    for _, name, text in VARIABLES:
        try:
            of_variable(name, text, older)
        except PassedOver:
            silent.add(name)
    assert silent == {"TRUST_REQUEST_CHAT_TEMPLATE"}  # a flag that came later, without which templates are refused too


@pytest.mark.parametrize("worker", WORKERS)
def test_everything_that_the_form_of_its_hub_sets_is_borne_at_once(worker):
    settings = load(MODEL_NAME="org/model", **WORKERS[worker]["form"])
    assert settings.model == "org/model"
    given = flags.Given(list(settings.server_args), SNAPSHOT)
    assert "--device" not in given and given.value("--tp-size") in (None, "1")


def test_all_variables_of_a_whole_endpoint_together():
    settings = load(
        MODEL_NAME="org/model", OPENAI_SERVED_MODEL_NAME_OVERRIDE="mine", MAX_MODEL_LEN="8192", KV_CACHE_DTYPE="fp8",
        TOOL_CALL_PARSER="llama3_json", ENABLE_AUTO_TOOL_CHOICE="true", REASONING_PARSER="deepseek_r1",
        MAX_NUM_SEQS="64", MAX_CONCURRENCY="30", QUANTIZATION="None", DEVICE="auto", GPU_MEMORY_UTILIZATION="0.95",
        ENFORCE_EAGER="false", ENABLE_LORA="true",
        LORA_MODULES='[{"name": "a", "path": "org/a", "base_model_name": "org/model"}]')
    assert settings.served_model_name == "mine" and settings.max_concurrency == 30 and settings.lora_enabled
    assert {flag: value(settings, flag) for flag in (
        "--context-length", "--kv-cache-dtype", "--tool-call-parser", "--reasoning-parser", "--max-running-requests",
        "--quantization", "--device", "--mem-fraction-static")} == {
        "--context-length": "8192", "--kv-cache-dtype": "fp8_e4m3", "--tool-call-parser": "llama3",
        "--reasoning-parser": "deepseek-r1", "--max-running-requests": "64", "--quantization": None, "--device": None,
        "--mem-fraction-static": None}
    [line] = [line for line in lines(settings) if line.startswith("GPU_MEMORY_UTILIZATION")]
    assert line.startswith("GPU_MEMORY_UTILIZATION is not read: set MEM_FRACTION_STATIC")


@pytest.mark.parametrize(("name", "theirs", "ours"), [
    ("TOOL_CALL_PARSER", "deepseek_v31", "deepseekv31"), ("TOOL_CALL_PARSER", "openai", "gpt-oss"),
    ("REASONING_PARSER", "openai_gptoss", "gpt-oss"), ("REASONING_PARSER", "deepseek_v3", "deepseek-v3")])
def test_a_parser_of_vllm_is_turned_where_the_format_is_the_same(name, theirs, ours):
    settings = load(**{name: theirs})
    assert value(settings, f"--{name.lower().replace('_', '-')}") == ours
    assert [line for line in lines(settings) if name in line] == [
        f"{name}={theirs} is not in SGLang {SNAPSHOT['sglang']}: --{name.lower().replace('_', '-')} {ours} is used, "
        "SGLang's name of it"]


def test_whether_requests_overlap_and_what_a_stream_tells_are_read_from_vllms_words():
    assert "--disable-overlap-schedule" in load(ASYNC_SCHEDULING="0").server_args
    assert "--disable-overlap-schedule" not in load(ASYNC_SCHEDULING="1").server_args
    assert "--stream-response-default-include-usage" in load(ENABLE_FORCE_INCLUDE_USAGE="true").server_args
    assert load(VLLM_PORT="8123").port == 8123 and load(STREAM_READ_TIMEOUT="300").idle_timeout == 300


# --- inputs ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("job_input", [entry for told in WORKERS.values() for entry in told["inputs"]], ids=json.dumps)
def test_each_documented_input_is_a_request_or_refused_by_name(job_input):
    outcome = of_input(job_input)
    assert outcome.startswith(("`POST /", "`GET /")) or "`" in outcome and outcome.startswith("refused: ")


@pytest.mark.parametrize(("name", "text"), [("best_of", 2), ("use_beam_search", True), ("bad_words", ["bad"])])
def test_a_parameter_that_sglang_has_nothing_of_is_refused_with_what_to_use(name, text):
    for prompt in ({"messages": MESSAGES}, {"prompt": "a"}):
        assert of_parameter(name, text, prompt).startswith(f"refused: `{name}`")


def test_what_worker_vllm_took_for_its_own_streams_is_left_out():
    own = {"max_batch_size": 50, "min_batch_size": 1, "batch_size_growth_factor": 3, "use_openai_format": True}
    plain = Context(served_model_name="org/model", model="org/model")
    assert routes.plan({"prompt": "a", **own}, plain, "job") == routes.plan({"prompt": "a"}, plain, "job")
