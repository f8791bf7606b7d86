"""What a job's `input` becomes for the engine: every accepted form, every refusal, and whatever JSON may come."""

import copy
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from answer.request import Request
from job import routes
from job.routes import Context
from utils import JobError

PLAIN = Context(served_model_name="tiny", model="org/tiny-model")
LORA = Context(served_model_name="tiny", model="org/tiny-model", lora=True)
TEMPLATE = Context(served_model_name="tiny", model="org/tiny-model", apply_chat_template=True)
CHAT = [{"role": "user", "content": "Hi"}]
DEFAULTS = {"model": "tiny", "rid": "job-1"}


def plan(job_input, context=PLAIN):
    return routes.plan(job_input, context, "job-1")


def refused(job_input, context=PLAIN):
    with pytest.raises(JobError) as caught:
        plan(job_input, context)
    return caught.value


# --- the forms of a job -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("job_input, path, body", [
    # OpenAI route and body, as the gateway sends them for /openai/*
    ({"openai_route": "/v1/chat/completions", "openai_input": {"messages": CHAT, "stream": True}},
     "/v1/chat/completions", {"messages": CHAT, "stream": True, **DEFAULTS}),
    ({"openai_route": "/v1/completions", "openai_input": {"model": "tiny", "prompt": "Hi"}},
     "/v1/completions", {"prompt": "Hi", **DEFAULTS}),
    ({"openai_route": "/v1/embeddings", "openai_input": {"input": ["a", "b"]}},
     "/v1/embeddings", {"input": ["a", "b"], "model": "tiny", "rid": ["job-1_0", "job-1_1"]}),
    ({"openai_route": "/v1/classify", "openai_input": {"input": "a"}}, "/v1/classify", {"input": "a", **DEFAULTS}),
    ({"openai_route": "/v1/responses", "openai_input": {"input": "Hi"}},
     "/v1/responses", {"input": "Hi", "model": "tiny", "request_id": "resp_job-1"}),
    ({"openai_route": "/v1/messages", "openai_input": {"messages": CHAT, "max_tokens": 9}},
     "/v1/messages", {"messages": CHAT, "max_tokens": 9, "model": "tiny"}),
    ({"openai_route": "/v1/messages/count_tokens", "openai_input": {"messages": CHAT}},
     "/v1/messages/count_tokens", {"messages": CHAT, "model": "tiny"}),
    ({"openai_route": "/v1/score", "openai_input": {"query": "a", "items": ["b"]}},
     "/v1/score", {"query": "a", "items": ["b"], "model": "tiny"}),
    ({"openai_route": "/v1/rerank", "openai_input": {"query": "a", "documents": ["b"]}},
     "/v1/rerank", {"query": "a", "documents": ["b"]}),
    ({"openai_route": "/v1/tokenize", "openai_input": {"prompt": "a"}},
     "/v1/tokenize", {"prompt": "a", "model": "tiny"}),
    ({"openai_route": "/detokenize", "openai_input": {"tokens": [1]}},
     "/detokenize", {"tokens": [1], "model": "tiny"}),
    ({"openai_route": "/v1/responses/resp_1/cancel", "openai_input": {}}, "/v1/responses/resp_1/cancel", {}),
    # chat, model filled in
    ({"messages": CHAT}, "/v1/chat/completions", {"messages": CHAT, **DEFAULTS}),
    ({"messages": CHAT, "model": None, "stream": True, "tools": [], "max_tokens": 5},
     "/v1/chat/completions", {"messages": CHAT, "stream": True, "tools": [], "max_tokens": 5, **DEFAULTS}),
    ({"messages": CHAT, "openai_route": None, "route": None, "text": None},
     "/v1/chat/completions", {"messages": CHAT, **DEFAULTS}),
    # native generate
    ({"text": "Hi"}, "/generate", {"text": "Hi", "rid": "job-1"}),
    ({"text": ["a", "b"], "sampling_params": {"max_new_tokens": 64, "temperature": 0.0}, "stream": False},
     "/generate", {"text": ["a", "b"], "sampling_params": {"max_new_tokens": 64, "temperature": 0.0},
                   "stream": False, "rid": "job-1"}),
    ({"text": ["a", "b"], "sampling_params": [{"max_tokens": 1}, {"temperature": 0}]},
     "/generate", {"text": ["a", "b"], "sampling_params": [{"max_new_tokens": 1}, {"temperature": 0}],
                   "rid": "job-1"}),
    ({"input_ids": [1, 2], "return_logprob": True}, "/generate",
     {"input_ids": [1, 2], "return_logprob": True, "rid": "job-1"}),
    ({"input_embeds": [[0.5]]}, "/generate", {"input_embeds": [[0.5]], "rid": "job-1"}),
    ({"text": "Hi", "image_data": "http://image"}, "/generate",
     {"text": "Hi", "image_data": "http://image", "rid": "job-1"}),
    ({"text": "Hi", "model": "tiny"}, "/generate", {"text": "Hi", "rid": "job-1"}),
    # anything else, as it is
    ({"session_params": {"id": "s"}, "lora_path": "x"}, "/generate",
     {"session_params": {"id": "s"}, "lora_path": "x", "rid": "job-1"}),
    # as worker-vllm takes them
    ({"prompt": "Hi"}, "/v1/completions", {"prompt": "Hi", **DEFAULTS}),
    ({"prompt": "Hi", "sampling_params": {"max_tokens": 9, "temperature": 0.5}, "max_batch_size": 4,
      "min_batch_size": 1, "batch_size_growth_factor": 3, "use_openai_format": True},
     "/v1/completions", {"prompt": "Hi", "max_tokens": 9, "temperature": 0.5, **DEFAULTS}),
    ({"messages": CHAT, "sampling_params": {"max_tokens": 9, "top_k": 3}, "stream": True},
     "/v1/chat/completions", {"messages": CHAT, "max_tokens": 9, "top_k": 3, "stream": True, **DEFAULTS}),
    ({"prompt": "Hi", "apply_chat_template": True, "sampling_params": {"max_tokens": 9}},
     "/v1/chat/completions", {"messages": CHAT, "max_tokens": 9, **DEFAULTS}),
    ({"prompt": ["a", "b"], "apply_chat_template": False}, "/v1/completions", {"prompt": ["a", "b"], **DEFAULTS}),
    ({"route": "/v1/completions", "body": {"prompt": "Hi"}}, "/v1/completions", {"prompt": "Hi", **DEFAULTS}),
    ({"route": "/v1/completions", "body": {"prompt": "Hi"}, "method": "post"},
     "/v1/completions", {"prompt": "Hi", **DEFAULTS}),
    ({"route": "/generate", "body": {"text": "Hi"}}, "/generate", {"text": "Hi", "rid": "job-1"}),
    # native names beside messages and prompt
    ({"messages": CHAT, "sampling_params": {"max_new_tokens": 9, "min_new_tokens": 2, "sampling_seed": 7}},
     "/v1/chat/completions", {"messages": CHAT, "max_tokens": 9, "min_tokens": 2, "seed": 7, **DEFAULTS}),
    ({"prompt": "Hi", "max_tokens": 3, "sampling_params": {"max_new_tokens": 9}},
     "/v1/completions", {"prompt": "Hi", "max_tokens": 9, **DEFAULTS}),  # sampling_params win
    ({"prompt": "Hi", "max_tokens": 3, "sampling_params": {"max_new_tokens": None}},
     "/v1/completions", {"prompt": "Hi", "max_tokens": 3, **DEFAULTS}),
])
def test_accepted_forms(job_input, path, body):
    before = copy.deepcopy(job_input)
    request = plan(job_input)
    assert (request.method, request.path, request.body, request.template_texts) == ("POST", path, body, ())
    assert job_input == before


READS = ["/v1/models", "/v1/models/org/tiny-model", "/v1/models/tiny", "/v1/responses/resp_1", "/health",
         "/health_generate", "/ready", "/ping"]


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("nothing", [{}, {"openai_input": None}, {"openai_input": {}}],
                         ids=["absent", "null", "empty"])
def test_reads_take_no_body(path, nothing):
    assert plan({"openai_route": path, **nothing}) == Request("GET", path, openai=True)


@pytest.mark.parametrize("job_input", [
    {"route": "/v1/models"}, {"route": "/v1/models", "method": "GET"}, {"route": "/v1/models", "method": "get"},
    {"route": "/v1/models/", "body": {}}, {"openai_route": "/v1/models/"},
])
def test_reads_by_route(job_input):
    request = plan(job_input)
    assert (request.method, request.path, request.body) == ("GET", "/v1/models", None)


@pytest.mark.parametrize("nothing", [{}, {"openai_input": None}, {"openai_input": {}}],
                         ids=["absent", "null", "empty"])
def test_cancel_takes_no_body(nothing):
    request = plan({"openai_route": "/v1/responses/resp_1/cancel", **nothing})
    assert (request.method, request.path, request.body or {}) == ("POST", "/v1/responses/resp_1/cancel", {})


@pytest.mark.parametrize("path, field", [("/v1/embeddings", "input"), ("/encode", "text"), ("/classify", "text")])
def test_a_batch_of_embeddings_has_an_id_for_each(path, field):
    request = plan({"openai_route": path, "openai_input": {field: ["x", "y"]}})
    assert request.body["rid"] == ["job-1_0", "job-1_1"] and request.rids == ("job-1_0", "job-1_1")


@pytest.mark.parametrize("rid, fields, expected", [
    (None, {"text": "x"}, ("job-1",)),
    (None, {"input_ids": [1, 2]}, ("job-1",)),
    (None, {"input_embeds": [[0.1], [0.2]]}, ("job-1",)),
    (None, {"messages": [{"role": "user", "content": "x"}]}, ("job-1",)),
    # The engine names the parts of a batch itself (io_struct.py, _normalize_rid).
    (None, {"text": ["x", "y"]}, ("job-1_0", "job-1_1")),
    (None, {"text": ["x"]}, ("job-1_0",)),
    (None, {"input_ids": [[1], [2]]}, ("job-1_0", "job-1_1")),
    (None, {"input_embeds": [[[0.1]], [[0.2]]]}, ("job-1_0", "job-1_1")),
    (None, {"prompt": ["x", "y"]}, ("job-1_0", "job-1_1")),
    # The engine aborts by prefix, so only an id that is nobody else's beginning is aborted by name.
    ("an-id-of-the-callers-own", {"text": "x"}, ("an-id-of-the-callers-own",)),
    ("job", {"text": "x"}, ()),
    (["a", "b"], {"text": ["x", "y"]}, ()),
])
def test_a_request_has_an_id_and_a_callers_own_is_kept(rid, fields, expected):
    request = plan({**fields, **({"rid": rid} if rid else {})})
    assert request.body["rid"] == (rid or "job-1")
    assert request.rids == expected


@pytest.mark.parametrize("body, request_id, rids", [
    ({"input": "x"}, "resp_job-1", ("resp_job-1",)),
    ({"input": [{"role": "user", "content": "x"}]}, "resp_job-1", ("resp_job-1",)),
    ({"input": "x", "request_id": "resp_of-the-callers-own"}, "resp_of-the-callers-own", ("resp_of-the-callers-own",)),
    ({"input": "x", "request_id": "resp_"}, "resp_", ()),
    # It goes on in the engine when the job is over.
    ({"input": "x", "background": True}, "resp_job-1", ()),
])
def test_a_response_is_named_by_its_own_field(body, request_id, rids):
    request = plan({"openai_route": "/v1/responses", "openai_input": body})
    assert (request.body["request_id"], request.rids) == (request_id, rids)
    assert "rid" not in request.body


# --- OpenAI's names beside `text` ---------------------------------------------------------------------------------

@pytest.mark.parametrize("name, value, native", [
    ("max_tokens", 5, "max_new_tokens"), ("max_completion_tokens", 5, "max_new_tokens"),
    ("min_tokens", 2, "min_new_tokens"), ("seed", 7, "sampling_seed"), ("temperature", 0, "temperature"),
    ("top_p", 0.5, "top_p"), ("top_k", 3, "top_k"), ("min_p", 0.1, "min_p"), ("n", 2, "n"), ("stop", ["\n"], "stop"),
    ("stop_token_ids", [2], "stop_token_ids"), ("frequency_penalty", 0.1, "frequency_penalty"),
    ("presence_penalty", 0.1, "presence_penalty"), ("repetition_penalty", 1.1, "repetition_penalty"),
    ("ignore_eos", True, "ignore_eos"), ("regex", "a+", "regex"), ("ebnf", "root ::= 'a'", "ebnf"),
    ("json_schema", "{}", "json_schema"), ("skip_special_tokens", False, "skip_special_tokens"),
    ("logit_bias", {"1": 2}, "logit_bias"),
])
def test_openai_names_beside_text(name, value, native):
    for job_input in ({"text": "Hi", name: value}, {"text": "Hi", "sampling_params": {name: value}},
                      {"text": "Hi", name: value, "sampling_params": None}):
        assert plan(job_input).body == {"text": "Hi", "sampling_params": {native: value}, "rid": "job-1"}


@pytest.mark.parametrize("beside, inside, expected", [
    ({"temperature": 1}, {"top_k": 3}, {"temperature": 1, "top_k": 3}),
    ({"temperature": 1}, {"temperature": 0}, {"temperature": 0}),
    ({"max_tokens": 5}, {"max_tokens": 6}, {"max_new_tokens": 6}),
    # one setting under two names: what stands inside wins here as well
    ({"max_tokens": 5}, {"max_new_tokens": 6}, {"max_new_tokens": 6}),
    ({"max_tokens": None}, {"max_new_tokens": 6}, {"max_new_tokens": 6}),
    ({"seed": 1}, {"sampling_seed": 2}, {"sampling_seed": 2}),
])
def test_sampling_params_win_over_names_beside_text(beside, inside, expected):
    assert plan({"text": "Hi", **beside, "sampling_params": inside}).body["sampling_params"] == expected


# --- the chat template on native text -----------------------------------------------------------------------------

@pytest.mark.parametrize("context, job_input, texts, one", [
    (PLAIN, {"text": "Hi"}, (), True),
    (PLAIN, {"text": "Hi", "apply_chat_template": True}, ("Hi",), True),
    (PLAIN, {"text": ["a", "b"], "apply_chat_template": True}, ("a", "b"), False),
    (PLAIN, {"text": ["a"], "apply_chat_template": True}, ("a",), False),
    (PLAIN, {"text": "", "apply_chat_template": True}, ("",), True),
    (TEMPLATE, {"text": "Hi"}, ("Hi",), True),
    (TEMPLATE, {"text": "Hi", "apply_chat_template": None}, ("Hi",), True),
    (TEMPLATE, {"text": "Hi", "apply_chat_template": False}, (), True),
    (TEMPLATE, {"text": "Hi", "image_data": "x"}, (), True),
])
def test_chat_template(context, job_input, texts, one):
    request = plan(job_input, context)
    assert (request.path, request.template_texts, request.one_text) == ("/generate", texts, one)
    assert "apply_chat_template" not in request.body


@pytest.mark.parametrize("job_input", [
    {"messages": CHAT}, {"prompt": "Hi"}, {"input_ids": [1]}, {"input_embeds": [[0.5]]}, {"foo": 1},
])
def test_chat_template_by_default_is_for_native_text_alone(job_input):
    request = plan(job_input, TEMPLATE)
    assert request == plan(job_input, PLAIN)
    assert request.template_texts == ()


# --- models -------------------------------------------------------------------------------------------------------

MODEL_ROUTES = sorted(path for path, route in routes.ROUTES.items() if route.model)
SAID = {"/v1/audio/transcriptions": {"file": "aGk="},
        "/api/chat": {"messages": CHAT}, "/api/generate": {"prompt": "Hi"}}  # without, they only load the model


@pytest.mark.parametrize("path", MODEL_ROUTES)
def test_model_is_filled_in_and_checked(path):
    for body in ({"x": 1}, {"x": 1, "model": None}, {"x": 1, "model": "tiny"}):
        assert plan({"openai_route": path, "openai_input": {**SAID.get(path, {}), **body}}).body["model"] == "tiny"
    error = refused({"openai_route": path, "openai_input": {"model": "gpt-4"}})
    assert (error.code, error.type, error.param) == (404, "not_found_error", "model")
    assert "gpt-4" in error.message and "tiny" in error.message


def test_the_configured_name_reaches_the_engine_as_the_served_one():
    # SGLang's Responses route answers 404 to any name but the served one.
    assert plan({"openai_route": "/v1/responses", "openai_input": {"model": "org/tiny-model", "input": "Hi"}}
                ).body["model"] == "tiny"


@pytest.mark.parametrize("context, model, code", [
    (PLAIN, "org/tiny-model", None), (PLAIN, "", None), (PLAIN, "default", None),
    (PLAIN, "Tiny", 404), (PLAIN, "tiny ", 404),
    (PLAIN, "tiny:adapter", 404), (LORA, "tiny:adapter", None), (LORA, "org/tiny-model:adapter", None),
    (LORA, "adapter", 404), (LORA, "other:adapter", 404), (LORA, "tinyadapter", 404),
    (PLAIN, 5, 400), (PLAIN, ["tiny"], 400), (PLAIN, {"a": 1}, 400), (PLAIN, True, 400),
])
@pytest.mark.parametrize("kind", [{"messages": CHAT}, {"prompt": "Hi"}, {"text": "Hi"}], ids=["chat", "prompt", "text"])
def test_model_names(kind, context, model, code):
    if code is None:
        assert plan({**kind, "model": model}, context).method == "POST"
    else:
        error = refused({**kind, "model": model}, context)
        assert (error.code, error.param) == (code, "model")


def test_an_adapter_named_beside_text_is_not_dropped():
    # /generate takes no `model`: there the adapter goes by `lora_path`.
    assert plan({"text": "Hi", "model": "tiny:adapter"}, LORA).body.get("lora_path") == "adapter"


# --- refusals -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("job_input, code, param", [
    *((value, 400, "input") for value in (None, {}, [], [1], "text", 5, 1.5, True)),
    *(({field: value}, 400, field) for field in ("openai_route", "route") for value in (5, 1.5, True, False, [], {})),
    *(({"openai_route": "/v1/completions", "openai_input": body}, 400, "openai_input")
      for body in (None, {}, [], "x", 5, True, [{"prompt": "a"}])),
    *(({"route": "/v1/completions", "body": body}, 400, "body") for body in (None, {}, [], "x", 5)),
    *(({"openai_route": "/v1/models", "openai_input": body}, 405, "openai_input") for body in ({"a": 1}, [1], "x", 5)),
    *(({"route": "/v1/completions", "body": {"prompt": "a"}, "method": method}, 405, "method")
      for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD", "CONNECT", "", " POST", "POST\r\n", 5, [], {})),
    ({"route": "/v1/models", "method": "POST"}, 405, "method"),
    ({"route": "/generate", "method": "PUT", "body": {"text": "a"}}, 405, "method"),
    ({"messages": CHAT, "text": "a"}, 400, "text"),
    ({"messages": CHAT, "prompt": "a"}, 400, "prompt"),
    ({"text": "a", "input_ids": [1]}, 400, "input_ids"),
    *(({"messages": CHAT, "sampling_params": value}, 400, "sampling_params") for value in ([], [{}], "x", 5, True)),
    *(({"text": "a", "sampling_params": value}, 400, "sampling_params") for value in ("x", 5, True)),
    ({"text": ["a"], "sampling_params": [{}], "temperature": 1}, 400, "temperature"),
    *(({**kind, "stream": value}, 400, "stream") for value in ("true", 1, 0, [], {})
      for kind in ({"messages": CHAT}, {"prompt": "a"}, {"text": "a"}, {"foo": 1})),
    ({"openai_route": "/v1/messages", "openai_input": {"stream": "yes"}}, 400, "stream"),
    *(({kind: "a", "apply_chat_template": value}, 400, "apply_chat_template") for value in ("true", 1, [], {})
      for kind in ("text", "prompt")),
    *(({"text": value, "apply_chat_template": True}, 400, "text") for value in (5, {}, [], [5], ["a", None], True)),
    ({"input_ids": [1], "apply_chat_template": True}, 400, "text"),
    ({"text": "a", "video_data": "x", "apply_chat_template": True}, 400, "apply_chat_template"),
    *(({"prompt": value, "apply_chat_template": True}, 400, "prompt") for value in (5, {}, [], ["a"], True)),
])
def test_refusals(job_input, code, param):
    error = refused(job_input)
    assert (error.code, error.param) == (code, param)
    assert error.message


def test_nesting_too_deep_to_print_is_refused():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert refused({"route": "/v1/models", "method": deep}).code == 405


OPEN = [*routes.ROUTES, "/v1/models/tiny", "/v1/responses/resp_1", "/v1/responses/resp_1/cancel"]
HOSTILE = [
    "", "/", "v1/models", "//", "//evil.com", "//evil.com/v1/models", "///v1/models", "@evil.com", "@evil.com/v1",
    "http://evil.com", "http://evil.com/v1/models", "https://127.0.0.1:30000/v1/models", "file:///etc/passwd",
    "/v1/../v1/models", "/v1/models/..", "/v1/models/../flush_cache", "/v1/models/../../flush_cache",
    "/v1/models/a/../../../flush_cache", "/v1/models/%2e%2e/flush_cache", "/v1/models/..%2fflush_cache",
    "/v1%2fmodels", "/v1/models%00", "/v1/models/a%00",
    "/v1/models#", "/v1/models/a#b", "/v1/models/a;b", "/v1/models\\", "\\v1\\models",
    "/v1/models/a\\b", "/v1/models/..\\flush_cache", "/v1/models//evil.com", "/v1/models/a//b", "/v1/models/ ",
    "/v1/models/a b", " /v1/models", "/v1/models ", "/v1/models\n", "/v1/models\r\nHost: evil.com", "/v1/models/a\nb",
    "/v1/models/a\tb", "/v1/models\x00", "\x00", "/v1/models/\x00", "/v1/models/a\x7fb", "/v1/models/\ud800",
    "/V1/MODELS", "/v1/ｍodels", "／v1／models", "/v1∕models", "/v1/modelѕ", "/v1/models\u200b", "/v1/models\u2028",
    "/v1/responses/..", "/v1/responses/a.b", "/v1/responses/a/b", "/v1/responses//cancel",
    "/v1/responses/../cancel", "/v1/responses/a%2fcancel", "/v1/responses/a?stream=true", "/v1/responses/a/cancel?x",
    "/v1/chat/completions/..", "/v1/chat//completions", "/v1/chat/./completions",
    "/generate#", "/health/../flush_cache", "/v1/models/" + "a" * 600, "/" * 100_000,
    "/v1/models/" + "a/" * 50_000, "/v1/models/" + "../" * 34_000, "%" * 100_000,
]


@pytest.mark.parametrize("field", ["openai_route", "route"])
@pytest.mark.parametrize("route", HOSTILE, ids=lambda r: ascii(r)[:40])
def test_hostile_routes(route, field):
    for body in (None, {}, {"a": 1}):
        error = refused({field: route, {"openai_route": "openai_input", "route": "body"}[field]: body})
        assert error.code in (400, 404) and error.param == field
        assert len(error.message) < 1500
        assert error.message.isprintable()


@pytest.mark.parametrize("name", ["org/name", "a.b_c-d", "name:adapter", "@scope/name", "a+b", "модель", "模型"])
def test_a_name_in_a_path_stays_a_name(name):
    path = plan({"openai_route": f"/v1/models/{name}"}).path
    assert re.fullmatch(r"/v1/models/[A-Za-z0-9._:@+%/-]+", path) and path.count("/") == 3 + name.count("/")


# What SGLang serves beside inference, and what it serves that this worker does not offer (entrypoints/http_server.py,
# v1_loads.py, elastic_ep.py, and the framework's own pages).
CLOSED = [
    "/abort_request", "/add_external_corpus", "/begin_weight_update", "/close_session", "/configure_logging",
    "/continue_generation", "/destroy_weights_update_group", "/dump_expert_distribution_record", "/dumper/reset",
    "/end_weight_update", "/flush_cache", "/freeze_gc", "/get_hicache_l3_cache_layout", "/get_model_info",
    "/get_remote_instance_transfer_engine_info", "/get_server_info", "/get_weights_by_name",
    "/hicache/storage-backend", "/hicache/storage-backend/clear", "/init_weights_send_group_for_remote_instance",
    "/init_weights_update_group", "/is_scaling_elastic_ep", "/list_external_corpora", "/load_lora_adapter",
    "/load_lora_adapter_from_tensors", "/metrics", "/model_info", "/open_session", "/pause_generation",
    "/pd_role_switch", "/release_memory_occupation", "/remote_instance_transfer_engine_info",
    "/remove_external_corpus", "/resume_memory_occupation", "/scale_elastic_ep", "/send_weights_to_remote_instance",
    "/server_info", "/set_internal_state", "/set_trace_level", "/slow_down", "/start_expert_distribution_record",
    "/start_profile", "/stop_expert_distribution_record", "/stop_profile", "/unload_lora_adapter",
    "/update_weight_version", "/update_weights_from_disk", "/update_weights_from_distributed",
    "/update_weights_from_ipc", "/update_weights_from_tensor", "/v1/loads", "/weights_checker", "/docs",
    "/docs/oauth2-redirect", "/openapi.json", "/redoc",
    "/v1/audio/translations", "/v1/audio/speech", "/v1/realtime",
]


@pytest.mark.parametrize("route", CLOSED)
def test_management_routes_are_closed(route):
    for job_input in ({"openai_route": route}, {"openai_route": route, "openai_input": {"a": 1}},
                      {"route": route, "body": {"a": 1}, "method": "POST"}, {"route": route + "/", "method": "GET"}):
        error = refused(job_input)
        assert (error.code, error.type) == (404, "not_found_error")


def test_the_operator_opens_routes_by_name():
    context = Context("tiny", "org/tiny-model", extra_routes=("/flush_cache", "/server_info"))
    assert plan({"route": "/flush_cache", "body": {"timeout": 1}}, context) == Request(
        "POST", "/flush_cache", {"timeout": 1})
    for other in ("/load_lora_adapter", "/flush_cache/x", "/flush_cache?timeout=1", "//flush_cache"):
        assert refused({"route": other, "body": {"a": 1}}, context).code == 404


def test_an_opened_route_can_be_read():
    context = Context("tiny", "org/tiny-model", extra_routes=("/server_info",))
    for job_input in ({"route": "/server_info"}, {"openai_route": "/server_info", "openai_input": {}},
                      {"route": "/server_info", "method": "GET"}):
        request = plan(job_input, context)
        assert (request.method, request.path, request.body) == ("GET", "/server_info", None)


# --- whatever JSON may come ---------------------------------------------------------------------------------------

FIELDS = ["openai_route", "openai_input", "route", "body", "method", "messages", "prompt", "text", "input_ids",
          "input_embeds", "sampling_params", "apply_chat_template", "model", "stream", "rid", "image_data",
          "max_tokens", "max_new_tokens", "temperature", "seed", "stop", "extra_body", "guided_json", "guided_choice",
          "structured_outputs", "grammar", "response_format", "type", "schema", "json_schema", "value", "functions",
          "function_call", "tools", "tool_choice", "tool_calls", "function", "arguments", "role", "content", "name",
          "thinking", "documents", "query", "return_documents", "instances", "parameters", "lora_path", "adapter_id",
          "chat_template_kwargs", "enable_thinking", "reasoning", "reasoning_effort", "output_config", "suffix",
          "do_sample", "best_of", "n", "text_format", "stop_sequences", "structural_tag", "index", "score"]
KNOWN = st.sampled_from([*OPEN, *HOSTILE[:60], "tiny", "org/tiny-model", "tiny:a", "GET", "POST", "job-1", "developer",
                         "function", "json_schema", "json_object", "json", "regex", "{}", "system"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | KNOWN
KEYS = st.sampled_from(FIELDS) | st.text(max_size=4)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
                      max_leaves=12)
BODIES = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6)
INPUTS = BODIES | VALUES | st.builds(
    lambda route, body: {"openai_route": route, "openai_input": body}, st.sampled_from(OPEN), BODIES)
LEARNED = Context("tiny", "org/tiny-model", lora=True, adapters=("a",), reasoning=False, developer=(True, False))
PATHS = re.compile(r"/v1/models/[A-Za-z0-9._:@+%/-]+|/v1/responses/[A-Za-z0-9_%-]+(/cancel)?")


def is_open(path):
    return path in routes.ROUTES or (PATHS.fullmatch(path) and ".." not in path.split("/"))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(INPUTS, st.sampled_from([PLAIN, LORA, TEMPLATE, LEARNED]))
def test_any_json_is_planned_or_refused(job_input, context):
    before = repr(job_input)
    try:
        request = plan(job_input, context)
    except JobError as error:
        told = json.loads(error.to_json("job-1").encode())
        assert told["message"] and told["code"] in (400, 404, 405) and told["job_id"] == "job-1"
    else:
        assert is_open(request.path)
        assert (request.method, request.body) == ("GET", None) or request.method == "POST"
        assert all(isinstance(rid, str) for rid in request.rids)
        assert all(isinstance(text, str) for text in request.template_texts)
    assert repr(job_input) == before


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet=st.characters(categories=None) | st.sampled_from("/.%?#@\\:\0\n"), max_size=30)
       | st.builds("{}{}".format, st.sampled_from(OPEN), st.text("/.%?#@\\:\0\nab", max_size=8)))
def test_any_route_is_in_the_table_or_refused(route):
    try:
        path, _ = routes.match(route)
    except JobError as error:
        assert error.code in (400, 404)
        error.to_json(None).encode()
    else:
        assert is_open(path)


def test_an_extra_body_inside_another_counts_and_what_stands_further_out_wins():
    job_input = {"messages": CHAT, "temperature": 0.5, "extra_body": {
        "top_k": 5, "temperature": 0.9, "extra_body": {"min_p": 0.1, "top_k": 9, "nvext": {"top_p": 0.3}}}}
    body = plan(job_input).body
    assert (body["temperature"], body["top_k"], body["min_p"], body["top_p"]) == (0.5, 5, 0.1, 0.3)
    assert "extra_body" not in body and "nvext" not in body
