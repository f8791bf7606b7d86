"""The whole configuration: settings, the complete server command, reports, redaction, the server's environment."""

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from settings import config, flags
from settings.media import MediaSettings
from settings.worker_settings import WORKER_SETTINGS
from tests.flag_samples import parser

SNAPSHOT = json.loads((Path(__file__).parents[3] / "builder" / "flags.json").read_text(encoding="utf-8"))
PARSER = parser(SNAPSHOT)
LLAMA = "meta-llama/Meta-Llama-3-8B-Instruct"
LISTEN = ["--host", "127.0.0.1", "--port", "30000"]
DEFAULTS = ["--file-storage-path", "sglang_storage", "--load-balance-method", "round_robin", "--tool-call-parser",
            "auto"]


def load(environ=None, gpus=None, **more):
    return config.load({**(environ or {}), **more}, SNAPSHOT, gpus, "/usr/bin/python3")


def problems(environ=None, gpus=None, **more):
    with pytest.raises(config.ConfigError) as caught:
        load(environ, gpus, **more)
    return caught.value.problems


def lines(settings, level):
    return [line for at, line in settings.notices if at == level]


def test_nothing_set():
    settings = load()
    assert list(settings.server_args) == [
        "--model-path", LLAMA, "--served-model-name", LLAMA, *LISTEN, *DEFAULTS]
    assert settings.launch_command == ("/usr/bin/python3", "-m", "sglang.launch_server")
    assert (settings.model, settings.served_model_name, settings.port) == (LLAMA, LLAMA, 30000)
    assert (settings.api_key, settings.admin_api_key, settings.secrets) == (None, None, ())
    assert not (settings.is_embedding or settings.lora_enabled or settings.skip_tokenizer_init)
    assert settings.apply_chat_template is False
    assert (settings.startup_timeout, settings.idle_timeout, settings.request_timeout) == (1200, 600, 3600)
    assert (settings.shutdown_timeout, settings.chunk_bytes, settings.max_concurrency) == (30, 512 * 1024, None)
    assert (settings.log_level, settings.allowed_routes) == ("info", ())
    assert settings.notices == (("info", "tensor parallel size 1: no GPU is visible"),)


def test_worker_settings_are_read():
    settings = load(MAX_CONCURRENCY="8", REQUEST_TIMEOUT="0", ENGINE_IDLE_TIMEOUT="12.5", DRAIN_TIMEOUT="5",
                    STREAM_CHUNK_KIB="64", WORKER_LOG_LEVEL="DEBUG", SGLANG_PORT="31000", SGLANG_STARTUP_TIMEOUT="60",
                    ALLOWED_ROUTES="/v1/loads, /flush_cache", SGLANG_LAUNCH_COMMAND="/opt/'my python' -m server")
    assert (settings.max_concurrency, settings.request_timeout, settings.idle_timeout) == (8, 0, 12.5)
    assert (settings.shutdown_timeout, settings.chunk_bytes, settings.log_level) == (5, 65536, "debug")
    assert (settings.port, settings.startup_timeout) == (31000, 60)
    assert settings.allowed_routes == ("/v1/loads", "/flush_cache")
    assert settings.launch_command == ("/opt/my python", "-m", "server")
    assert settings.server_args[settings.server_args.index("--port") + 1] == "31000"


def test_media_settings_and_the_two_flags_that_bind_the_worker_too():
    assert load().media == MediaSettings()
    media = load(MEDIA_FETCH_TIMEOUT="5", MAX_MEDIA_ITEMS="3", MAX_MEDIA_MB="1.5", MEDIA_MEMORY_MB="20",
                 MAX_MEDIA_REDIRECTS="0", ALLOWED_MEDIA_FOLDERS="/media, /runpod-volume/media",
                 ALLOWED_MEDIA_DOMAINS='["a.example", "b.example"]', MEDIA_URL_MAX_FILE_SIZE_MB="8").media
    assert media == MediaSettings(False, 8 * 2**20, 1_500_000, 20_000_000, 5.0, 3, 0, ("a.example", "b.example"),
                                  ("/media", "/runpod-volume/media"))
    extra = load(SGLANG_EXTRA_ARGS="--allowed-media-domains c.example --media-url-max-file-size-mb=0").media
    assert (extra.domains, extra.file_bytes) == (("c.example",), 0)


def test_media_by_the_engine_are_said_aloud():
    settings = load(MEDIA_FETCH="Engine")
    assert settings.media.by_engine
    assert [line for line in lines(settings, "warn") if line.startswith("MEDIA_FETCH=engine: ")]
    assert not lines(load(), "warn")


@pytest.mark.parametrize(("name", "text", "says"), [
    ("MEDIA_FETCH", "proxy", "must be one of worker, engine"),
    ("ALLOWED_MEDIA_FOLDERS", "media", "'media' is no path: each begins with / and has no query"),
    ("MAX_CONCURRENCY", "0", "must be a whole number of at least 1"),
    ("STREAM_CHUNK_KIB", "1001", "must be a whole number from 1 to 1000"),
    ("SGLANG_PORT", "80000", "must be a whole number from 1 to 65535"),
    ("SGLANG_STARTUP_TIMEOUT", "20m", "must be a number of at least 1"),
    ("REQUEST_TIMEOUT", "-1", "must be a number of at least 0"),
    ("REQUEST_TIMEOUT", "nan", "must be a number of at least 0"),
    ("ENGINE_IDLE_TIMEOUT", "inf", "must be a number of at least 1"),
    ("WORKER_LOG_LEVEL", "warning", "must be one of debug, info, warn, error (did you mean warn?)"),
    ("SGLANG_CONFIG_FILE", "sglang.json", "must be a .yaml or .yml file"),
    ("ALLOWED_ROUTES", "v1/loads", "'v1/loads' is no path: each begins with / and has no query"),
])
def test_a_wrong_worker_setting_says_what_is_allowed(name, text, says):
    assert problems({name: text}) == [f"{name}={shlex.quote(text)}: {says}"]


@pytest.mark.parametrize("domain", ["http://media.example", "media.example:80", "media.example/images", "a@b.example"])
def test_a_domain_of_media_that_no_host_can_match_is_refused(domain):
    assert [line for line in problems(ALLOWED_MEDIA_DOMAINS=domain) if line.startswith("ALLOWED_MEDIA_DOMAINS")]
    assert load(ALLOWED_MEDIA_DOMAINS="media.example other.example").media.domains == ("media.example", "other.example")


def test_no_worker_setting_hides_a_flag():
    names = [setting.name for setting in WORKER_SETTINGS]
    assert len(set(names)) == len(names)
    in_snapshot = {flags.variable(name) for entry in SNAPSHOT["flags"].values() for name in entry["names"]}
    assert not set(names) & (in_snapshot - flags.NOT_READ)


def test_the_model_has_three_names_and_one_value():
    for name in ("MODEL_NAME", "MODEL_PATH", "MODEL"):
        settings = load({name: "Qwen/Qwen3-8B"})
        assert settings.model == settings.served_model_name == "Qwen/Qwen3-8B"
        assert PARSER.parse_args(settings.server_args).__dict__["--model-path"] == "Qwen/Qwen3-8B"
    assert problems(MODEL_NAME="a/b", MODEL_PATH="c/d") == [
        "MODEL_PATH=c/d: MODEL_NAME means the same and has another value; set one of them"]
    assert load(MODEL_NAME="a/b", MODEL_PATH="a/b").model == "a/b"


def test_the_served_name_is_the_users():
    assert load(MODEL_NAME="/models/llama").served_model_name == "/models/llama"
    settings = load(MODEL_NAME="/models/llama", SERVED_MODEL_NAME="gpt-4")
    assert (settings.model, settings.served_model_name) == ("/models/llama", "gpt-4")
    assert settings.server_args.count("--served-model-name") == 1


def test_the_server_listens_on_loopback_whatever_the_platform_says():
    settings = load(HOST="0.0.0.0", PORT="80", HOSTNAME="box")
    parsed = PARSER.parse_args(settings.server_args).__dict__
    assert (parsed["--host"], parsed["--port"]) == ("127.0.0.1", 30000)


def test_what_the_worker_must_know_of_the_server():
    settings = load(API_KEY="key-1234", ADMIN_API_KEY="admin-1234", IS_EMBEDDING="true", LORA_PATHS="a=/x",
                    SKIP_TOKENIZER_INIT="1", CHAT_TEMPLATE="chatml")
    assert (settings.api_key, settings.admin_api_key) == ("key-1234", "admin-1234")
    assert settings.is_embedding and settings.lora_enabled and settings.skip_tokenizer_init
    assert settings.apply_chat_template
    assert load(ENABLE_LORA="yes").lora_enabled
    assert load(CHAT_TEMPLATE="llama3").apply_chat_template


def test_extra_arguments_come_last_as_they_are_and_count():
    extra = "--model=other/model --served-model-name 'a b' --api-key from-extra --is-embedding --dtype half"
    settings = load(MODEL_NAME="a/b", API_KEY="from-variable", DTYPE="auto", SGLANG_EXTRA_ARGS=extra)
    assert settings.server_args[-7:] == tuple(shlex.split(extra))[-7:]
    assert list(settings.server_args[-len(shlex.split(extra)):]) == shlex.split(extra)
    assert (settings.model, settings.served_model_name, settings.api_key) == ("other/model", "a b", "from-extra")
    assert settings.is_embedding
    assert set(settings.secrets) == {"from-extra", "from-variable"}
    assert PARSER.parse_args(settings.server_args).__dict__["--dtype"] == "half"


@pytest.mark.parametrize(("extra", "says"), [
    ("--host 0.0.0.0", "--host cannot be set: the server listens on 127.0.0.1 only"),
    ("--port=80", "--port cannot be set: set SGLANG_PORT instead"),
    ("--config x.yaml", "--config cannot be set: set SGLANG_CONFIG_FILE instead"),
    ("--ssl-certf k", "--ssl-certf cannot be set: the server would not speak"),
    ("-h", "-h cannot be set: the server would print its help and exit"),
    ("--tp '2", "cannot be split like a shell command line: No closing quotation"),
])
def test_extra_arguments_that_would_break_the_worker(extra, says):
    (line,) = problems(SGLANG_EXTRA_ARGS=extra)
    assert line.startswith(f"SGLANG_EXTRA_ARGS: {says}")


def test_an_unknown_extra_argument_is_passed_on_with_a_warning():
    settings = load(SGLANG_EXTRA_ARGS="--tensor-paralel-size 2")
    assert settings.server_args[-2:] == ("--tensor-paralel-size", "2")
    assert lines(settings, "warn") == [
        f"SGLANG_EXTRA_ARGS: --tensor-paralel-size is no option of SGLang {SNAPSHOT['sglang']} (did you mean "
        "--tensor-parallel-size?); it is passed on as it is"]


def test_a_configuration_file_is_heard():
    settings = load(SGLANG_CONFIG_FILE="/etc/sglang.yaml", gpus=4, DTYPE="half")
    assert list(settings.server_args) == ["--config", "/etc/sglang.yaml", *LISTEN, "--dtype", "half"]
    assert (settings.model, settings.served_model_name) == ("default", "default")
    assert lines(settings, "info") == ["tensor parallel size: left to the configuration file"]
    named = load(SGLANG_CONFIG_FILE="x.yml", MODEL_NAME="a/b")
    assert list(named.server_args) == ["--config", "x.yml", "--served-model-name", "a/b", *LISTEN,
                                       "--model-path", "a/b"]
    assert lines(load(CONFIG="x.yaml"), "warn") == [
        "CONFIG is not read: SGLANG_CONFIG_FILE names SGLang's configuration file"]


@pytest.mark.parametrize(("gpus", "environ", "size", "says"), [
    (None, {}, None, "tensor parallel size 1: no GPU is visible"),
    (0, {}, None, "tensor parallel size 1: no GPU is visible"),
    (1, {}, None, "tensor parallel size 1: 1 visible GPU"),
    (4, {}, 4, "tensor parallel size 4: 4 visible GPUs"),
    (4, {"DEVICE": "cpu"}, None, "tensor parallel size 1: the device is the CPU"),
    (4, {"DATA_PARALLEL_SIZE": "2"}, 2, "tensor parallel size 2: 4 visible GPUs / data parallel 2"),
    (8, {"DP_SIZE": "2", "PP_SIZE": "2"}, 2,
     "tensor parallel size 2: 8 visible GPUs / data parallel 2 / pipeline parallel 2"),
    (4, {"DP_SIZE": "4"}, None, "tensor parallel size 1: 4 visible GPUs / data parallel 4"),
    (4, {"SGLANG_EXTRA_ARGS": "--dp 2"}, 2, "tensor parallel size 2: 4 visible GPUs / data parallel 2"),
    (8, {"ATTN_DP_SIZE": "8"}, 8, "tensor parallel size 8: 8 visible GPUs"),
    (8, {"DP_SIZE": "8", "ENABLE_DP_ATTENTION": "true"}, 8, "tensor parallel size 8: 8 visible GPUs"),
])
def test_tensor_parallel_size_is_what_the_gpus_leave(gpus, environ, size, says):
    settings = load({**environ, "TOOL_CALL_PARSER": "none"}, gpus)
    assert PARSER.parse_args(settings.server_args).__dict__["--tp-size"] == size
    of_replicas = [f"STREAM_INTERVAL=4: one process writes the streams of {says.rpartition('data parallel ')[2][0]} "
                   "replicas"] if "data parallel" in says else []
    assert lines(settings, "info") == [says, *of_replicas]


@pytest.mark.parametrize("environ", [{"TENSOR_PARALLEL_SIZE": "2"}, {"TP_SIZE": "2"},
                                     {"SGLANG_EXTRA_ARGS": "--tensor-parallel-size 2"}])
def test_an_explicit_tensor_parallel_size_wins(environ):
    settings = load(environ, 8)
    assert PARSER.parse_args(settings.server_args).__dict__["--tp-size"] == 2
    assert settings.notices == ()


def test_a_layout_that_does_not_fit_the_gpus():
    assert problems(DATA_PARALLEL_SIZE="8", gpus=4) == [
        "DATA_PARALLEL_SIZE=8: with pipeline parallel size 1 needs at least 8 GPUs, and 4 are visible"]
    assert problems(ATTN_DP_SIZE="3", gpus=4) == [
        "ATTN_DP_SIZE=3: must divide the tensor parallel size, 4 here (the visible GPUs); set TENSOR_PARALLEL_SIZE "
        "to choose another"]
    assert "1 of 5 GPUs stay idle" in lines(load(DP_SIZE="2", gpus=5), "warn")[0]
    assert "few models can be split 6 ways" in lines(load(gpus=6), "warn")[0]
    assert lines(load(TP_SIZE="4", DP_SIZE="2", gpus=4), "warn") == [
        "8 GPUs are needed and 4 visible (tensor x data x pipeline parallel size)"]


def test_all_problems_come_at_once_sorted():
    with pytest.raises(config.ConfigError) as caught:
        load(DTYPE="flaot16", TENSOR_PARALLEL_SIZE="two", SGLANG_PORT="x", MODEL_NAME="a", MODEL_PATH="b",
             SGLANG_EXTRA_ARGS="--port 1", LOG_REQUESTS="perhaps")
    assert str(caught.value).splitlines() == [
        "6 problems in the configuration:",
        "  DTYPE=flaot16: must be one of auto, half, float16, bfloat16, float, float32 (did you mean float16?)",
        "  LOG_REQUESTS=perhaps: must be true, 1, yes, on, or false, 0, no, off",
        "  MODEL_PATH=b: MODEL_NAME means the same and has another value; set one of them",
        "  SGLANG_EXTRA_ARGS: --port cannot be set: set SGLANG_PORT instead",
        "  SGLANG_PORT=x: must be a whole number from 1 to 65535",
        "  TENSOR_PARALLEL_SIZE=two: must be a whole number",
    ]


def test_a_likely_typo_is_named():
    settings = load(TENSOR_PARALEL_SIZE="2", SGLANG_EXTRA_ARG="--x", HF_TOKENS="a", PATH="/bin", MAIL="x",
                    SGLANG_LOG_MS="1", LC_ALL="C", SSL_CERT_FILE="/etc/ssl")
    assert lines(settings, "warn") == ["SGLANG_EXTRA_ARG is not read: did you mean SGLANG_EXTRA_ARGS?",
                                       "TENSOR_PARALEL_SIZE is not read: did you mean TENSOR_PARALLEL_SIZE?"]


SECRET = "sk-very-secret-1"


@pytest.mark.parametrize("environ", [
    {"API_KEY": SECRET}, {"ADMIN_API_KEY": SECRET}, {"API_KEY": "-" + SECRET},
    {"SGLANG_EXTRA_ARGS": f"--api-key {SECRET}"}, {"SGLANG_EXTRA_ARGS": f"--api-k={SECRET} --dtype half"},
    {"SGLANG_EXTRA_ARGS": f"--custom-token {SECRET}"},
    {"HF_TOKEN": SECRET, "DOWNLOAD_DIR": f"/x/{SECRET}"},
    {"AWS_ACCESS_KEY_ID": SECRET, "SGLANG_LAUNCH_COMMAND": f"env A={SECRET} python"},
    {"WATERMARK_CONFIG": json.dumps({"key": SECRET})},
    {"HF_TOKENS": SECRET}, {"DB_PASSWORD_2": SECRET}, {"API_KEY2": SECRET}, {"API_KEYS": SECRET}, {"myApiKey": SECRET},
    {"HF_TOKEN_READ": SECRET}, {"GITHUB_PAT": SECRET}, {"SSH_PASSPHRASE": SECRET}, {"SECRET_OF_MINE": SECRET},
    {"PGPASSWORD": SECRET}, {"HFTOKEN": SECRET}, {"MY_PRIVATEKEY": SECRET}, {"AWS_CREDS": SECRET}, {"myJwt": SECRET},
    {"HTTPS_PROXY": f"http://user:{SECRET}@proxy:3128"}, {"DATABASE_URL": f"postgres://me:{SECRET}@db/x"},
    {"MIRROR": f"https://{SECRET}@host/x"}, {"MODEL_NAME": f"https://user:{SECRET}@huggingface.co/o/n"},
    {"MODEL_LOADER_EXTRA_CONFIG": json.dumps({"s3": {"secret_access_key": SECRET}})},
    {"OTHER_SERVICE": json.dumps([{"api_key": SECRET}])}, {"SGLANG_EXTRA_ARGS": f"--custom-tokens {SECRET}"},
    {"SGLANG_LAUNCH_COMMAND": f"env MY_TOKEN={SECRET} python -m server --store-password {SECRET} --x-key={SECRET}"},
])
def test_secrets_are_never_shown(environ):
    settings = load(environ)
    assert any(SECRET in secret for secret in settings.secrets)
    assert SECRET not in config.describe(settings) and SECRET not in repr(settings)
    if environ.keys() & {"API_KEY", "ADMIN_API_KEY", "SGLANG_EXTRA_ARGS", "WATERMARK_CONFIG"}:
        assert "***" in config.describe(settings)
    for secret in settings.secrets:
        assert problems({**environ, "DTYPE": secret})[0].startswith("DTYPE=***: must be one of auto, ")


def test_a_secret_is_found_before_its_text_is_quoted_or_cut():
    key = "it's a secret with \"quotes\""
    environ = {"HF_TOKEN": key, "DOWNLOAD_DIR": f"/x/{key}"}
    assert "--download-dir /x/***" in config.describe(load(environ))
    assert problems({**environ, "DTYPE": "x" * 70 + key})[0].startswith(f"DTYPE={'x' * 70}***: must be")


@pytest.mark.parametrize("key", ["schl\u00fcssel", "\u20ac", "a\nb", "a\tb"])
def test_a_key_that_no_header_can_carry_is_refused(key):
    says = "must be of ASCII characters without line breaks: it is sent in a header of HTTP"
    assert problems(API_KEY=key) == [f"API_KEY: {says}"]
    assert problems(ADMIN_API_KEY=key) == [f"ADMIN_API_KEY: {says}"]


def test_a_short_key_is_not_shown_either():
    shown = config.describe(load(API_KEY="k9"))
    assert "--api-key ***" in shown and "k9" not in shown


@pytest.mark.parametrize("environ", [{"DB_PASSWORD": "root"}, {"MY_KEY": "k9"}, {"HF_TOKEN": '"hf_1"'}])
def test_short_values_are_secrets_too(environ):
    (text,) = environ.values()
    assert text.strip('"') in load(environ).secrets
    assert problems({**environ, "DTYPE": f"key={text}"})[0].replace("'", "").replace('"', "").startswith(
        "DTYPE=key=***: must be")


@pytest.mark.parametrize("environ", [
    {"MAX_TOTAL_TOKENS": "16384"}, {"MAX_TOTAL_TOKENS": "16k"}, {"STOP_TOKENS": "</s>"}, {"TOKENIZER_PATH": "org/name"},
    {"HF_TOKEN_PATH": "/root/.cache/huggingface/token"}, {"PASSWORD_FILE": "/run/secrets/db"}, {"PWD": "/app/here"},
    {"JSON_MODEL_OVERRIDE_ARGS": '{"eos_token": "</s>", "time_to_first_token": "long"}'}, {"MY_TOKEN": "none"},
    {"HTTP_PROXY": "http://proxy:3128"}, {"KEYBOARD": "querty-board"},
    {"HOTKEYS": "ctrl-c"}, {"TURNKEY_MODE": "full-size"}, {"SECRETARY": "someone"}, {"PGPASSFILE": "/root/.pgpass"},
])
def test_what_is_no_secret(environ):
    assert load(environ).secrets == ()


def test_a_switch_with_a_secret_name_is_no_secret():
    assert load(HF_HUB_DISABLE_IMPLICIT_TOKEN="true", GPG_KEY="1").secrets == ()


def test_the_description_can_be_pasted():
    settings = load(MODEL_NAME="a/b", SERVED_MODEL_NAME="my model", DEFAULT_CHAT_TEMPLATE_KWARGS='{"a": "b c"}',
                    CUDA_GRAPH_BS_DECODE="1 2", CHUNKED_PREFILL_SIZE="-1")
    text = config.describe(settings)
    command = text[text.index("\n") + 1:text.index("\nsettings:")]
    assert shlex.split(command.replace("\\\n", " ")) == [*settings.launch_command, *settings.server_args]
    assert "\n    --cuda-graph-bs-decode 1 2 \\\n" in command
    assert "  chunk_bytes = 524288\n" in text and "  info: tensor parallel size 1: no GPU is visible" in text


def test_the_servers_environment():
    environ = {"PATH": "/bin", "HF_TOKEN": "hf_12345678", "API_KEY": "sk-12345678", "SGLANG_PORT": "30001",
               "RUNPOD_AI_API_KEY": "rp", "RUNPOD_API_KEY": "rp", "RUNPOD_WEBHOOK_GET_JOB": "http://x",
               "RUNPOD_POD_ID": "pod", "SGLANG_EXTRA_ARGS": "--admin-api-key abcdefgh", "MODEL_NAME": "a/b",
               "SGLANG_LOG_MS": "1", "SGLANG_CUDA_COREDUMP_BEFORE_CRASH": "1", "DTYPE": "half"}
    assert config.engine_environ(load(environ), environ) == {
        "PATH": "/bin", "HF_TOKEN": "hf_12345678", "RUNPOD_POD_ID": "pod", "SGLANG_LOG_MS": "1", "DTYPE": "half",
        "SGLANG_CUDA_COREDUMP_BEFORE_CRASH": "1", "SGLANG_PYSPY_DUMP_BEFORE_CRASH": "0", "PYTHONUNBUFFERED": "1",
        "SGLANG_SANITIZE_NAN_LOGITS": "1", "SGLANG_REQUEST_STATE_WAIT_TIMEOUT": "1", "PYTHONSAFEPATH": "1",
        "SGLANG_UVICORN_WORKER_HEALTHCHECK_TIMEOUT": "60"}
    assert environ["SGLANG_PORT"] == "30001"
    patient = {**environ, "SGLANG_UVICORN_WORKER_HEALTHCHECK_TIMEOUT": "7"}
    assert config.engine_environ(load(patient), patient)["SGLANG_UVICORN_WORKER_HEALTHCHECK_TIMEOUT"] == "7"


NAMES = sorted(config.known_variables(SNAPSHOT) | flags.NOT_READ | {"HF_TOKEN", "TENSOR_PARALEL_SIZE"})
TEXTS = st.one_of(st.text(), st.text(alphabet="-=[]{}\"' ,1a\\.ek/"), st.integers().map(str), st.floats().map(str),
                  st.sampled_from(["true", "off", "[1, 2]", "-1", "{}", "1Ki", "--tp 2", "--config x", "--x=y z"]))


@given(st.dictionaries(st.sampled_from(NAMES), TEXTS, max_size=6), st.sampled_from([None, 0, 1, 2, 6, 8]))
@hypothesis_settings(max_examples=150, deadline=None)
def test_any_environment_loads_or_reports(environ, gpus):
    try:
        settings = load(environ, gpus)
    except config.ConfigError as error:
        assert error.problems == sorted(error.problems) and error.problems
        return
    extra = len(shlex.split(environ.get("SGLANG_EXTRA_ARGS", "")))
    own = settings.server_args[:len(settings.server_args) - extra]
    parsed = PARSER.parse_args(shlex.split(shlex.join(own))).__dict__
    assert (parsed["--host"], parsed["--port"]) == ("127.0.0.1", settings.port)
    config.describe(settings)
    config.engine_environ(settings, environ)


@pytest.mark.parametrize(("path", "kept"), [("/a:/b", "/a:/b"), (":/a", "/a"), ("/a:", "/a"), ("/a::/b", "/a:/b"),
                                            (":", ""), ("", "")])
def test_the_working_folder_is_not_on_the_servers_python_path(path, kept):
    told = config.engine_environ(load(), {"PYTHONPATH": path})
    assert (told["PYTHONPATH"], told["PYTHONSAFEPATH"]) == (kept, "1")
    assert "PYTHONPATH" not in config.engine_environ(load(), {})
    assert config.engine_environ(load(), {"PYTHONSAFEPATH": ""})["PYTHONSAFEPATH"] == ""


def test_the_server_may_write_bytecode_whatever_the_image_says():
    assert "PYTHONDONTWRITEBYTECODE" not in config.engine_environ(load(), {"PYTHONDONTWRITEBYTECODE": "1"})


@pytest.mark.parametrize(("extra", "says"), [
    ("--context-length 0", "--context-length 0 must be at least 1; leave it out for SGLang's own choice"),
    ("--max-total-tokens=0", "--max-total-tokens 0 must be at least 1; leave it out for SGLang's own choice"),
    ("--mem-fraction 2", "--mem-fraction 2 must be above 0 and at most 1, a share of the GPU's memory"),
])
def test_sizes_among_the_extra_arguments_are_looked_at(extra, says):
    assert problems(SGLANG_EXTRA_ARGS=extra) == [f"SGLANG_EXTRA_ARGS: {says}"]
