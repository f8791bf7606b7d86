"""What clients mean, said as the engine takes it, and nothing else changed."""

import copy

import pytest

from job.amend import amended, without_unknown_stops
from job.model import ModelFacts
from job.routes import Context, plan

FACTS = ModelFacts(vocabulary=512)
CHAT = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize("before, after", [
    ({"logit_bias": {"5": "-100", "6": 1, "7": "1.5"}}, {"logit_bias": {"5": -100.0, "6": 1, "7": 1.5}}),
    ({"logit_bias": {"5": "x", "6": None, "7": True}}, {"logit_bias": {"5": "x", "6": None, "7": True}}),
    ({"logit_bias": "x"}, {"logit_bias": "x"}),
    ({"top_p": 0}, {"top_k": 1}), ({"top_p": 0.0, "top_k": 40}, {"top_k": 1}), ({"top_p": "0"}, {"top_k": 1}),
    ({"top_k": 0}, {"top_k": -1}), ({"top_k": "0"}, {"top_k": -1}),
    ({"top_k": 0, "top_p": 0.0}, {"top_k": 1}),
    ({"top_k": 1}, {"top_k": 1}), ({"top_k": False}, {"top_k": False}),
    ({"top_p": 0.5}, {"top_p": 0.5}), ({"top_p": 1e-9}, {"top_p": 1e-9}), ({"top_p": -1}, {"top_p": -1}),
    ({"top_p": False}, {"top_p": False}), ({"top_p": None}, {"top_p": None}),
    ({"stop_regex": "a+b"}, {"stop_regex": "(?:a)b"}),
    ({"stop_regex": ["a+b", "c", 5]}, {"stop_regex": ["(?:a)b", "c", 5]}),
    ({"stop_regex": 5}, {"stop_regex": 5}), ({"temperature": 0}, {"temperature": 0})])
def test_sampling_fields_wherever_they_stand(before, after):
    unchanged = copy.deepcopy(before)
    assert amended("/v1/completions", {"prompt": "x", **before}) == {"prompt": "x", **after}
    assert amended("/generate", {"text": "x", "sampling_params": before}) == {"text": "x", "sampling_params": after}
    several = {"text": ["x", "y"], "sampling_params": [before, {"n": 1}, 7]}
    assert amended("/generate", several)["sampling_params"] == [after, {"n": 1}, 7]
    assert before == unchanged  # the job keeps its own


def test_an_empty_text_of_an_embedding_is_none():
    body = {"input": [{"text": "", "image": "x"}, {"text": "a"}, {"text": ""}, {"text": None}, "b"]}
    assert amended("/v1/embeddings", body)["input"] == [{"image": "x"}, {"text": "a"}, {}, {"text": None}, "b"]
    assert body["input"][0]["text"] == ""
    assert amended("/v1/embeddings", {"input": ["", "a"]}) == {"input": ["", "a"]}
    assert amended("/v1/responses", {"input": [{"text": ""}]}) == {"input": [{"text": ""}]}


@pytest.mark.parametrize("ids, kept", [
    ([0, 511], [0, 511]), ([512, -1, 2**31, 2**63], []), (["5", "600", "+7", "-3"], [5, 7]), ([5, 1.5], [5, 1.5]),
    ([True, False], [True, False]), (["x", None], ["x", None]), (["9" * 41], ["9" * 41]), (["9" * 40], []), ([], [])])
def test_stop_ids_that_the_model_does_not_have_are_left_out(ids, kept):
    body = {"text": "x", "stop_token_ids": ids, "sampling_params": {"stop_token_ids": ids}}
    out = without_unknown_stops("/generate", body, FACTS)
    assert out["stop_token_ids"] == kept and out["sampling_params"] == {"stop_token_ids": kept}
    assert [type(one) for one in out["stop_token_ids"]] == [type(one) for one in kept]
    assert body["stop_token_ids"] is ids
    listed = {"text": ["x"], "sampling_params": [{"stop_token_ids": ids}]}
    assert without_unknown_stops("/generate", listed, FACTS)["sampling_params"] == [{"stop_token_ids": kept}]


def test_without_a_known_vocabulary_only_what_no_model_has_is_left_out():
    body = {"prompt": "x", "stop_token_ids": [2**31 - 1, 2**31, -1]}
    assert without_unknown_stops("/v1/completions", body, ModelFacts())["stop_token_ids"] == [2**31 - 1]
    assert without_unknown_stops("/v1/completions", {"stop_token_ids": 5}, FACTS) == {"stop_token_ids": 5}


def test_the_body_of_a_route_that_the_operator_opened_is_its_senders_own():
    body = {"top_p": 0, "stop_token_ids": [600], "input": [{"text": ""}]}
    assert amended("/opened", body) == body == without_unknown_stops("/opened", body, FACTS)


@pytest.mark.parametrize("job_input", [
    {"messages": CHAT, "top_p": 0}, {"text": "x", "top_p": 0}, {"text": "x", "sampling_params": {"top_p": 0}},
    {"openai_route": "/v1/messages", "openai_input": {"messages": CHAT, "max_tokens": 5, "top_p": 0}},
    {"openai_route": "/v1/responses", "openai_input": {"input": "x", "top_p": 0}}])
def test_every_planned_request_is_amended(job_input):
    body = plan(job_input, Context("tiny", "tiny"), "job").body
    params = body.get("sampling_params", body)
    assert params["top_k"] == 1 and "top_p" not in params
