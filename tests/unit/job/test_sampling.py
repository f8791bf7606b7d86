"""One table of names, both ways, everywhere; null means unset; an empty stop string is none."""

import re

import pytest

from job import routes, sampling
from job.route_table import ROUTES
from job.routes import Context
from utils import JobError

PLAIN = Context("tiny", "org/tiny")
Q = [{"role": "user", "content": "Hi"}]
# Path, what has to be there, and where its route reads the most new tokens, the fewest, the seed, and stop strings.
READ = {
    "/generate": ({"text": "Hi"}, "max_new_tokens", "min_new_tokens", "sampling_seed", "stop"),
    "/v1/chat/completions": ({"messages": Q}, "max_tokens", "min_tokens", "seed", "stop"),
    "/invocations": ({"messages": Q}, "max_tokens", "min_tokens", "seed", "stop"),
    "/v1/completions": ({"prompt": "Hi"}, "max_tokens", "min_tokens", "seed", "stop"),
    "/v1/responses": ({"input": "Hi"}, "max_output_tokens", None, None, "stop"),
    "/v1/messages": ({"messages": Q}, "max_tokens", None, None, "stop_sequences"),
}
MOST = ["max_tokens", "max_new_tokens", "max_completion_tokens", "max_output_tokens", "max_tokens_to_sample",
        "max_gen_len", "max_gen_toks", "n_predict", "num_predict", "request_output_len", "maxTokens", "maxNewTokens",
        "maxOutputTokens", "maxCompletionTokens"]


def settings_of(path, job_input):
    body = routes.plan(job_input, PLAIN, "job-1").body
    return body.get("sampling_params", {}) if path == "/generate" else body


def forms(path, fields):
    """The ways in which a job may give settings to a route."""
    body = READ[path][0]
    yield {"openai_route": path, "openai_input": {**body, **fields}}
    yield {"route": path, "body": {**body, "sampling_params": fields}}
    if path in ("/generate", "/v1/chat/completions", "/v1/completions"):
        yield {**body, **fields}
        yield {**body, "sampling_params": fields}
    yield {"openai_route": path, "openai_input": {**body, "extra_body": fields}}


@pytest.mark.parametrize("path", READ)
@pytest.mark.parametrize("names, place", [
    (MOST, 1), (["min_tokens", "min_new_tokens", "minTokens"], 2), (["seed", "sampling_seed", "random_seed"], 3)])
def test_each_name_is_understood_on_each_route(path, names, place):
    read = READ[path][place]
    if read is None:
        return
    for name in names:
        for job_input in forms(path, {name: 7}):
            settings = settings_of(path, job_input)
            own = read if not (name == "max_completion_tokens" and "chat" in ROUTES[path].kind) else name
            assert settings[own] == 7 and not (set(names) - {own}) & set(settings), (name, job_input)


@pytest.mark.parametrize("path", READ)
@pytest.mark.parametrize("name", [
    "stop", "stop_sequences", "stop_strings", "stopSequences", "stop_sequence", "stop_words", "stopping_strings",
    "custom_stopping_strings"])
@pytest.mark.parametrize("given, kept", [
    (["a", "b"], ["a", "b"]), (["", "a", None, ""], ["a"]), ("a", "a"), ("", None), ([""], None), ([], None),
    ([None], None), (["", ""], None)])
def test_stop_strings_under_both_names_without_empty_ones(path, name, given, kept):
    read = READ[path][4]
    for job_input in forms(path, {name: given}):
        settings = settings_of(path, job_input)
        expected = [kept] if path == "/v1/messages" and isinstance(kept, str) else kept
        assert settings.get(read) == expected
        assert not ({"stop", "stop_sequences", "stop_strings", "stopSequences"} - {read}) & set(settings)


def test_empty_stop_strings_in_a_list_of_sampling_params():
    body = routes.plan({"text": ["a", "b"], "sampling_params": [{"stop": [""]}, {"stop": ["", "x"], "max_tokens": 1}]},
                       PLAIN, "job-1").body
    assert body["sampling_params"] == [{}, {"stop": ["x"], "max_new_tokens": 1}]
    # beside a list every setting is refused, but one that says nothing
    assert routes.plan({"text": ["a"], "stop": "", "sampling_params": [{}]}, PLAIN, "x").body["sampling_params"] == [{}]
    with pytest.raises(JobError) as caught:
        routes.plan({"text": ["a"], "max_new_tokens": 1, "sampling_params": [{}]}, PLAIN, "x")
    assert caught.value.param == "max_new_tokens"


def test_an_empty_stop_regex_is_none():
    for value in ("", [""], []):
        assert "stop_regex" not in routes.plan({"messages": Q, "stop_regex": value}, PLAIN, "x").body
        assert routes.plan({"text": "a", "stop_regex": value}, PLAIN, "x").body == {"text": "a", "rid": "x"}


@pytest.mark.parametrize("name", sampling.SAMPLING)
def test_everything_of_sampling_params_may_stand_beside_text(name):
    value = {"stop": "x", "stop_sequences": "x", "stop_strings": "x", "json_schema": "{}", "regex": "a",
             "ebnf": "root ::= \"a\"", "structural_tag": "{}"}.get(name, 1)
    beside = routes.plan({"text": "Hi", name: value}, PLAIN, "x").body
    inside = routes.plan({"text": "Hi", "sampling_params": {name: value}}, PLAIN, "x").body
    assert beside == inside and set(beside) == {"text", "sampling_params", "rid"}
    assert len(beside["sampling_params"]) == 1


@pytest.mark.parametrize("fields, expected", [
    ({"max_tokens": 1, "max_new_tokens": 2}, {"max_tokens": 1}),                # the route's own name wins
    ({"max_tokens": None, "max_new_tokens": 2}, {"max_tokens": 2}),
    ({"max_tokens": 1, "max_completion_tokens": 2}, {"max_tokens": 1, "max_completion_tokens": 2}),
    ({"max_completion_tokens": 1, "sampling_params": {"max_new_tokens": 2}}, {"max_tokens": 2}),
    ({"max_tokens": 1, "sampling_params": {"max_completion_tokens": 2}}, {"max_completion_tokens": 2}),
    ({"stop": ["a"], "sampling_params": {"stop_sequences": ["b"]}}, {"stop": ["b"]}),
])
def test_one_setting_under_two_names(fields, expected):
    body = routes.plan({"messages": Q, **fields}, PLAIN, "x").body
    assert {k: v for k, v in body.items() if k not in ("messages", "model", "rid")} == expected


@pytest.mark.parametrize("path", [path for path in READ if path != "/v1/messages"])
@pytest.mark.parametrize("name", ["repetition_penalty", "repeat_penalty"])
def test_the_penalty_of_repetition_under_both_names(path, name):
    for job_input in forms(path, {name: 1.5}):
        settings = settings_of(path, job_input)
        assert settings["repetition_penalty"] == 1.5 and "repeat_penalty" not in settings


@pytest.mark.parametrize("value, name", [(True, "no_stop_trim"), (False, "no_stop_trim")])
def test_vllms_name_for_keeping_the_stop_string(value, name):
    for job_input in ({"messages": Q}, {"prompt": "a"}):
        assert routes.plan({**job_input, "include_stop_str_in_output": value}, PLAIN, "x").body[name] is value
    native = {"text": "a", "sampling_params": {"include_stop_str_in_output": value}}
    assert routes.plan(native, PLAIN, "x").body["sampling_params"] == {name: value}


# Nullable in OpenAI's published schemas, and some of SGLang's and Anthropic's own.
NULLS = re.findall(r"\w+", (
    "audio background best_of conversation echo ebnf frequency_penalty function_call functions ignore_eos include "
    "instructions json_schema logit_bias logprobs lora_path max_completion_tokens max_output_tokens max_tokens "
    "max_tool_calls metadata min_p min_tokens modalities model n parallel_tool_calls prediction presence_penalty "
    "previous_response_id reasoning reasoning_effort regex repetition_penalty response_format seed service_tier "
    "stop stop_sequences store stream stream_options suffix system temperature text thinking tool_choice tools "
    "top_k top_logprobs top_p truncation user verbosity web_search_options guided_json extra_body sampling_params "
    "return_documents top_n encoding_format dimensions "))


@pytest.mark.parametrize("path", [path for path, entry in ROUTES.items() if entry.method == "POST"])
def test_null_means_unset_on_every_route(path):
    good = {**READ.get(path, ({"input": "Hi", "query": "a", "documents": ["b"]},))[0]}
    if path == "/api/chat":
        good = {"messages": Q}
    if path == "/v1/audio/transcriptions":
        good = {"file": "aGk="}
    if path == "/vertex_generate":
        good = {"instances": [{"text": "Hi"}]}
    bare = routes.plan({"openai_route": path, "openai_input": good}, PLAIN, "x").body
    nulls = {name: None for name in NULLS if name not in good}
    assert routes.plan({"openai_route": path, "openai_input": {**nulls, **good}}, PLAIN, "x").body == bare


def test_null_means_unset_in_options_and_tools_but_not_in_schemas():
    schema = {"type": "object", "default": None}
    tool = {"type": "function", "function": {"name": "f", "strict": None, "description": None, "parameters": schema}}
    answer = {"type": "json_schema", "json_schema": {"name": "x", "strict": None, "schema": schema}}
    given = {"messages": [{"role": "assistant", "content": None}], "tools": [tool], "response_format": answer,
             "stream_options": {"include_usage": None}}
    body = routes.plan({"openai_route": "/v1/chat/completions", "openai_input": given}, PLAIN, "x").body
    assert body["tools"] == [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    assert body["response_format"]["json_schema"] == {"name": "x", "schema": schema}
    assert body["stream_options"] == {} and body["messages"] == given["messages"]
    assert tool["function"]["strict"] is None  # the job's own input is left as it is
    assert answer["json_schema"]["strict"] is None


def test_what_the_operator_opened_is_carried_as_it_is():
    context = Context("tiny", "org/tiny", extra_routes=("/update_weights_from_disk",))
    body = {"model_path": "x", "abort": None, "stop": ""}
    assert routes.plan({"route": "/update_weights_from_disk", "body": body}, context, "x").body == body


@pytest.mark.parametrize("path", READ)
@pytest.mark.parametrize("name, others", [
    ("temperature", ["temp"]), ("top_p", ["topP", "p"]), ("top_k", ["topK", "k"]), ("min_p", ["minP"]),
    ("repetition_penalty", ["repeat_penalty", "rep_pen", "repetitionPenalty"]), ("n", [
        "num_return_sequences", "candidate_count", "candidateCount"]),
    ("frequency_penalty", ["frequencyPenalty"]), ("presence_penalty", ["presencePenalty"])])
def test_the_names_that_are_the_same_on_every_route(path, name, others):
    for other in others:
        for job_input in forms(path, {other: 2}):
            try:
                settings = settings_of(path, job_input)
            except JobError as error:  # which has the caller's own name
                assert path in ("/v1/responses", "/v1/messages") and error.param == other
            else:
                assert settings[name] == 2 and other not in settings


def test_ids_to_stop_at():
    for path in ("/generate", "/v1/chat/completions", "/v1/completions"):
        for name, value in (("eos_token_id", 5), ("eos_token_id", [5]), ("end_id", 5), ("stop_token_ids", 5)):
            for job_input in forms(path, {name: value}):
                assert settings_of(path, job_input)["stop_token_ids"] == [5]


def test_log_probabilities_as_the_openai_routes_ask_for_them():
    def native(fields):
        body = routes.plan({"text": "a", **fields}, PLAIN, "x").body
        assert not {"logprobs", "top_logprobs"} & (set(body) | set(body.get("sampling_params", {})))
        return body.get("return_logprob"), body.get("top_logprobs_num")

    for wrap in (lambda fields: fields, lambda fields: {"sampling_params": fields}):
        assert native(wrap({"logprobs": True})) == (True, None)
        assert native(wrap({"logprobs": True, "top_logprobs": 3})) == native(wrap({"logprobs": 3})) == (True, 3)
        assert native(wrap({"logprobs": 0})) == (True, 0) and native(wrap({"top_logprobs": 2})) == (True, 2)
        assert native(wrap({"logprobs": False})) == native(wrap({"logprobs": None})) == (None, None)
        for wrong in ({"logprobs": "x"}, {"top_logprobs": True}, {"logprobs": [1]}):
            with pytest.raises(JobError) as caught:
                native(wrap(wrong))
            assert caught.value.param == next(iter(wrong))
    body = routes.plan({"messages": Q, "top_logprobs": 3}, PLAIN, "x").body
    assert (body["logprobs"], body["top_logprobs"]) == (True, 3)
    body = routes.plan({"messages": Q, "logprobs": 5}, PLAIN, "x").body
    assert (body["logprobs"], body["top_logprobs"]) == (True, 5)


def test_how_many_of_the_ranked_documents_come_back():
    for path in ("/v1/rerank", "/rerank", "/v2/rerank"):
        body = routes.plan({"openai_route": path, "openai_input": {"query": "a", "texts": ["b", "c"], "top_k": 1}},
                           PLAIN, "x").body
        assert body["top_n"] == 1 and body["documents"] == ["b", "c"] and not {"top_k", "texts"} & set(body)


def test_a_bias_of_null_is_none():
    for path in ("/generate", "/v1/chat/completions", "/v1/completions"):
        for job_input in forms(path, {"logit_bias": {"5": None, "6": 1}}):
            assert settings_of(path, job_input)["logit_bias"] == {"6": 1}
