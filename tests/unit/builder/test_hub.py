"""The Hub's two files: valid after the Hub's format, up to date, and promising only what the worker takes."""

import json
from pathlib import Path

import jsonschema
import pytest

from builder import curated, presets
from job import routes
from settings import config, flags
from settings.worker_settings import WORKER_SETTINGS

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = json.loads(Path(__file__).with_name("hub.schema.json").read_text(encoding="utf-8"))
SNAPSHOT = json.loads((ROOT / "builder/flags.json").read_text(encoding="utf-8"))
HUB = json.loads((ROOT / ".runpod/hub.json").read_text(encoding="utf-8"))
TESTS = json.loads((ROOT / ".runpod/tests.json").read_text(encoding="utf-8"))
FORM = curated.read()
FIELDS = {field["key"]: field["input"] for field in HUB["config"]["env"]}

# RunPod's names of the GPUs in the pools that the form names (its documentation, GPU types).
GPUS = {
    "ADA_24": ("NVIDIA GeForce RTX 4090",),
    "ADA_48_PRO": ("NVIDIA L40", "NVIDIA L40S", "NVIDIA RTX 6000 Ada Generation"),
    "AMPERE_80": ("NVIDIA A100 80GB PCIe", "NVIDIA A100-SXM4-80GB"),
    "ADA_80_PRO": ("NVIDIA H100 PCIe", "NVIDIA H100 80GB HBM3", "NVIDIA H100 NVL"),
}

# The documented settings, with the default that each promises. None: left to the model, the GPUs or SGLang.
DOCUMENTED = {
    "MODEL_PATH": None, "TOKENIZER_PATH": None, "TOKENIZER_MODE": "auto", "LOAD_FORMAT": "auto", "DTYPE": "auto",
    "CONTEXT_LENGTH": None, "QUANTIZATION": None, "SERVED_MODEL_NAME": None, "CHAT_TEMPLATE": None,
    "MEM_FRACTION_STATIC": None, "MAX_RUNNING_REQUESTS": None, "MAX_TOTAL_TOKENS": None,
    "CHUNKED_PREFILL_SIZE": None, "MAX_PREFILL_TOKENS": 16384, "SCHEDULE_POLICY": "fcfs",
    "SCHEDULE_CONSERVATIVENESS": 1.0, "TENSOR_PARALLEL_SIZE": None, "STREAM_INTERVAL": 1, "RANDOM_SEED": None,
    "LOG_LEVEL": "info", "LOG_LEVEL_HTTP": None, "API_KEY": None, "FILE_STORAGE_PATH": "sglang_storage",
    "DATA_PARALLEL_SIZE": 1, "LOAD_BALANCE_METHOD": "round_robin", "SKIP_TOKENIZER_INIT": False,
    "TRUST_REMOTE_CODE": False, "LOG_REQUESTS": False, "SHOW_TIME_COST": False, "DISABLE_RADIX_CACHE": False,
    "DISABLE_CUDA_GRAPH": False, "DISABLE_OUTLINES_DISK_CACHE": False, "ENABLE_TORCH_COMPILE": False,
    "ENABLE_P2P_CHECK": False, "ENABLE_FLASHINFER_MLA": False, "TRITON_ATTENTION_REDUCE_IN_FP32": False,
}


def validator(part: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{part}"})


def text(value) -> str:
    """A form's value as the platform puts it into the environment."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def form(**changes) -> dict[str, str]:
    """The environment of an endpoint deployed from the untouched form, every field sent, empty ones too."""
    values = {key: field.get("default", "") for key, field in FIELDS.items()} | changes
    return {key: text(value) for key, value in values.items()}


@pytest.mark.parametrize(("part", "document"), [("hub", HUB), ("tests", TESTS)])
def test_file_follows_the_hub_format(part, document):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert [error.message for error in validator(part).iter_errors(document)] == []


@pytest.mark.parametrize("broken", [
    {"key": "DTYPE", "input": {"type": "text", "name": "Type", "description": "No such input type"}},
    {"key": "DTYPE", "input": {"type": "number", "name": "Type", "description": "Options of a number",
                               "options": [{"label": "a", "value": "a"}, {"label": "b", "value": "b"}]}},
    {"key": "DTYPE", "input": {"type": "boolean", "name": "Type", "description": "Text for truth",
                               "default": "false"}},
    {"key": "DTYPE", "value": "auto", "input": {"type": "string", "name": "Type", "description": "Both"}},
    {"key": "DTYPE"},
    {"key": "dtype", "value": "auto"},
])
def test_schema_refuses_a_broken_field(broken):
    assert not validator("field").is_valid(broken)


def test_every_field_is_a_setting_that_the_worker_takes():
    assert set(FIELDS) - set(FORM.platform) - config.known_variables(SNAPSHOT) == set()
    assert len(FIELDS) == len(HUB["config"]["env"]), "a key appears twice"


@pytest.mark.parametrize(("key", "default"), DOCUMENTED.items())
def test_every_documented_setting_is_offered_with_its_default(key, default):
    # A text with options shows its unset state as an empty one.
    assert FIELDS[key].get("default") == default or (default is None and FIELDS[key].get("default") == "")


def test_every_worker_setting_is_offered():
    assert {setting.name for setting in WORKER_SETTINGS} - set(FIELDS) == set(FORM.hidden)


def test_options_are_values_that_this_sglang_takes():
    for key, field in FIELDS.items():
        flag = flags.variables(SNAPSHOT).get(key)
        choices = SNAPSHOT["flags"][flag].get("choices") if flag else None
        if choices is not None:
            offered = [option["value"] for option in field["options"]]
            off = next((field.off for field in FORM.fields if field.key == key), "")
            assert set(offered) - {"", off} <= set(choices), key
            assert not off or off in offered or "" in offered, f"{key} cannot be turned off in the form"
            for option in offered:
                config.load({key: option}, SNAPSHOT, 1, "python3")
            assert field["default"] in offered, key
            assert field["default"] or offered[0] == "", key


def test_booleans_send_words_that_the_worker_reads():
    booleans = [field for field in FIELDS.values() if field["type"] == "boolean"]
    assert booleans
    assert {(field["trueValue"], field["falseValue"]) for field in booleans} == {("true", "false")}


def test_secrets_have_no_default():
    secret = {key: field for key, field in FIELDS.items() if flags.is_secret(key)}
    assert {"HF_TOKEN", "API_KEY"} <= set(secret)
    assert not any("default" in field for field in secret.values())


def test_untouched_form_is_a_valid_configuration():
    settings = config.load(form(), SNAPSHOT, 1, "python3")
    assert settings.model == settings.served_model_name == FIELDS["MODEL_NAME"]["default"]
    assert [line for level, line in settings.notices if level != "info"] == []


def test_hub_tests_run_on_the_default_image_where_the_form_would_run_with_the_preset_for_tests():
    hub, tests = HUB["config"], TESTS["config"]
    assert tests["allowedCudaVersions"] == hub["allowedCudaVersions"]
    assert tests["gpuCount"] == hub["gpuCount"]
    pool = next(pool for pool, names in GPUS.items() if tests["gpuTypeId"] in names)
    (preset,) = (preset for preset in presets.read() if "for tests" in preset.about)
    assert pool in hub["gpuIds"].split(",") and pool in preset.pools
    assert preset.disk <= hub["containerDiskInGb"]
    environ = {entry["key"]: entry["value"] for entry in tests["env"]}
    assert environ.items() <= {key: str(value) for key, value in preset.settings.items()}.items()
    assert config.load(environ, SNAPSHOT, 1, "python3").model == environ["MODEL_NAME"] == preset.model


@pytest.mark.parametrize("job", TESTS["tests"], ids=lambda job: job["name"])
def test_hub_test_is_a_job_that_the_worker_takes(job):
    model = next(entry["value"] for entry in TESTS["config"]["env"] if entry["key"] == "MODEL_NAME")
    request = routes.plan(job["input"], routes.Context(served_model_name=model, model=model), "hub")
    assert request.path in routes.ROUTES
