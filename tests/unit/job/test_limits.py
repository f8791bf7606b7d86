"""Size, depth and counts of a job, and input that ends the engine."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from job.hazards import check
from job.limits import ResultBudget, check_input
from job.model import ModelFacts, from_config
from settings.limits import Limits
from utils import JobError

FACTS = ModelFacts(vocabulary=512, context=2048, width=2)
EMBEDDER = ModelFacts(vocabulary=512, generates=False, context=2048)
LIMITS = Limits(input_bytes=1000, depth=5, batch=4, result_bytes=100)
CHAT = [{"role": "user", "content": "Hi"}]


def refused(path, body, facts=FACTS) -> JobError:
    with pytest.raises(JobError) as raised:
        check(path, body, facts, LIMITS)
    assert raised.value.code == 400
    return raised.value


@pytest.mark.parametrize("value", [{"text": "x" * 989}, {"a": [[[1]]]}, {"ids": list(range(100))}, None, [], "x"])
def test_ordinary_input_passes(value):
    check_input(value, LIMITS)


@pytest.mark.parametrize("value", [{"text": "x" * 990}, {"text": "é" * 600}, {"a": ["x" * 400] * 3},
                                   {str(i): "y" * 9 for i in range(100)}, {"ids": [12345] * 1000}])
def test_large_input_is_refused_by_name(value):
    with pytest.raises(JobError) as raised:
        check_input(value, LIMITS)
    assert raised.value.code == 413 and "MAX_INPUT_MB" in raised.value.message


@pytest.mark.parametrize("levels", [7, 100_000])
def test_deep_input_is_refused_by_name(levels):
    value: list = []
    for _ in range(levels):
        value = [value]
    with pytest.raises(JobError) as raised:
        check_input({"a": value}, LIMITS)
    assert "MAX_INPUT_DEPTH" in raised.value.message
    while value:  # taken apart by hand: the interpreter frees nested lists recursively
        value = value.pop()


def test_a_result_has_a_budget():
    budget = ResultBudget(LIMITS)
    budget.spend("x" * 60)
    budget.spend({"a": 1})
    with pytest.raises(JobError) as raised:
        budget.spend("é" * 20)
    assert raised.value.code == 413 and "MAX_RESULT_MB" in raised.value.message


TEXTS = st.lists(st.one_of(st.text(max_size=40), st.text(alphabet='"\\\n\x01é\U0001f99c\ud800', max_size=40),
                            st.dictionaries(st.text(max_size=3), st.integers(), max_size=3)), max_size=30)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(outputs=TEXTS, limit=st.integers(20, 1500))
def test_a_result_is_refused_at_the_very_output_that_makes_its_json_too_large(outputs, limit):
    budget, given_back = ResultBudget(Limits(result_bytes=limit)), []
    for output in outputs:
        given_back.append(output)
        posted = json.dumps({"output": given_back}, ensure_ascii=False).encode("utf-8", "surrogatepass")
        if len(posted) + len(", ") > limit:  # the comma after the last one is counted too
            with pytest.raises(JobError):
                budget.spend(output)
            return
        budget.spend(output)


OUTSIDE = [-1, 512, 2**31, 2**63, 1.5, True]


@pytest.mark.parametrize("number", OUTSIDE)
@pytest.mark.parametrize("path, body", [
    ("/generate", lambda n: {"input_ids": [1, n]}),
    ("/generate", lambda n: {"input_ids": [[1], [2, n]]}),
    ("/generate", lambda n: {"text": "x", "sampling_params": {"stop_token_ids": [n]}}),
    ("/generate", lambda n: {"text": ["x", "y"], "sampling_params": [{}, {"stop_token_ids": [n]}]}),
    ("/generate", lambda n: {"text": "x", "sampling_params": {"logit_bias": {str(n): 1}}}),
    ("/v1/completions", lambda n: {"prompt": [1, n]}),
    ("/v1/completions", lambda n: {"prompt": [[1, 2], [n]]}),
    ("/v1/completions", lambda n: {"prompt": "x", "stop_token_ids": [n]}),
    ("/v1/chat/completions", lambda n: {"messages": CHAT, "input_ids": [n]}),
    ("/v1/chat/completions", lambda n: {"messages": CHAT, "logit_bias": {str(n): 5}}),
    ("/v1/embeddings", lambda n: {"input": [n]}),
    ("/v1/score", lambda n: {"query": [n], "items": [[1]], "label_token_ids": [1]}),
    ("/v1/score", lambda n: {"query": [1], "items": [[n]], "label_token_ids": [1]}),
])
def test_a_token_id_that_the_model_does_not_have_is_refused(path, body, number):
    error = refused(path, body(number))
    assert "511" in error.message and error.param


def test_without_a_known_vocabulary_ids_are_still_numbers_that_fit():
    check("/generate", {"input_ids": [200_000]}, ModelFacts(), LIMITS)
    for number in (-1, 2**31, 0.5):
        refused("/generate", {"input_ids": [number]}, ModelFacts())


@pytest.mark.parametrize("path, body, name", [
    ("/generate", {"text": ""}, "text"), ("/generate", {"text": ["a", ""]}, "text"),
    ("/generate", {"input_ids": []}, "input_ids"), ("/generate", {"input_ids": [[1], []]}, "input_ids"),
    ("/v1/completions", {"prompt": ""}, "prompt"), ("/v1/embeddings", {"input": [[]]}, "input"),
    ("/v1/score", {"query": "", "items": ["a", ""]}, "items"), ("/encode", {"text": ""}, "text"),
    ("/generate", {"text": "x", "top_logprobs_num": 513}, "top_logprobs_num"),
    ("/generate", {"text": ["x"], "top_logprobs_num": [2**63]}, "top_logprobs_num"),
    ("/v1/chat/completions", {"messages": CHAT, "top_logprobs": 10**6}, "top_logprobs"),
    ("/v1/completions", {"prompt": "x", "logprobs": 10**6}, "logprobs"),
    ("/generate", {"text": "x", "logprob_start_len": -5}, "logprob_start_len"),
    ("/generate", {"text": "x", "sampling_params": {"top_k": 2**31}}, "top_k"),
    ("/v1/chat/completions", {"messages": CHAT, "logit_bias": {"5": 1e308}}, "logit_bias"),
    ("/v1/chat/completions", {"messages": CHAT, "logit_bias": {"5": float("nan")}}, "logit_bias"),
    ("/v1/chat/completions", {"messages": CHAT, "logit_bias": {"5": "inf"}}, "logit_bias"),
    ("/v1/chat/completions", {"messages": CHAT, "n": 5}, "n"),
    ("/generate", {"text": "x", "sampling_params": {"n": 10**9}}, "n"),
    ("/generate", {"text": ["x"] * 5}, "text"),
    ("/generate", {"text": "x", "positional_embed_overrides": {}}, "positional_embed_overrides"),
    ("/v1/score", {"query": "x", "items": ["y"], "item_embed_overrides": [[[1.0]]]}, "item_embed_overrides"),
    ("/v1/chat/completions", {"messages": CHAT, "input_ids": ["600"]}, "input_ids"),
    ("/generate", {"text": "x", "sampling_params": {"stop_token_ids": ["99999"]}}, "stop_token_ids"),
    ("/generate", {"text": [["", ""]]}, "text"),
    ("/v1/chat/completions", {"messages": CHAT, "top_k": "2147483648"}, "top_k"),
    ("/v1/completions", {"prompt": "x", "logprobs": "1000000"}, "logprobs"),
    ("/generate", {"text": "x", "logprob_start_len": [0]}, "logprob_start_len"),
    ("/generate", {"text": "x", "top_logprobs_num": [1]}, "top_logprobs_num"),
    ("/encode", {"text": "x", "sampling_params": {"logit_bias": {"1": "x"}}}, "logit_bias"),
    ("/generate", {"text": "x", "sampling_params": {"repetition_penalty": 1e-46}}, "repetition_penalty"),
    ("/generate", {"input_embeds": [[0.1, 0.2, 0.3]]}, "input_embeds"),
    ("/generate", {"input_embeds": [[0.1, 0.2], [0.1]]}, "input_embeds"),
    ("/generate", {"input_embeds": [[0.1, 1e308]]}, "input_embeds"),
    ("/generate", {"input_embeds": [[0.1, "NaN"]]}, "input_embeds"),
    ("/generate", {"text": "x", "custom_logit_processor": []}, "custom_logit_processor"),
    ("/v1/chat/completions", {"messages": CHAT, "stop_regex": r"(.*.*)*\x00"}, "stop_regex"),
    ("/v1/chat/completions", {"messages": CHAT, "stop": ["x" * 5000]}, "stop"),
    ("/v1/chat/completions", {"messages": CHAT, "regex": "a" * 70_000}, "regex"),
    ("/v1/responses", {"input": "x", "text": {"format": {"schema": {"enum": ["y" * 70_000]}}}}, "text"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x" * 70_000}]}, "messages"),
    ("/v1/chat/completions", {"messages": CHAT * 3000}, "messages"),
    ("/v1/responses", {"input": [{"role": "user", "content": "x" * 40_000}] * 2}, "input"),
    ("/v1/chat/completions", {"messages": CHAT, "tools": [{"function": {"description": "x" * 70_000}}]}, "tools"),
    ("/v1/messages", {"messages": [{"content": [{"type": "tool_result", "content": [{"text": "x" * 70_000}]}]}]},
     "messages"),
    ("/v1/rerank", {"query": "x", "documents": ["y", "x" * 70_000]}, "documents"),
    ("/v1/tokenize", {"prompt": "x" * 70_000}, "prompt"),
    ("/generate", {"input_ids": [1] * 3000}, "input_ids"),
    ("/v1/chat/completions", {"messages": CHAT, "tools": [{}] * 5}, "tools"),
    ("/generate", {"text": ["x", "y"], "sampling_params": {"n": 3}}, "n"),
    ("/generate", {"text": "x", "rid": "HEALTH_CHECK_1"}, "rid"),
    ("/v1/responses", {"input": "x", "request_id": "HEALTH_CHECK_1"}, "request_id"),
])
def test_what_ends_the_engine_or_is_over_a_limit_is_refused(path, body, name):
    assert refused(path, body).param == name


@pytest.mark.parametrize("path", ["/generate", "/v1/chat/completions", "/v1/completions", "/v1/responses",
                                  "/v1/messages"])
def test_generation_is_refused_by_a_model_that_only_embeds(path):
    assert path in refused(path, {"messages": CHAT, "text": "x", "prompt": "x", "input": "x"}, EMBEDDER).message


@pytest.mark.parametrize("path, body", [
    ("/generate", {"text": "x", "sampling_params": {"stop_token_ids": [0, 511], "logit_bias": {"7": -100}, "top_k": -1,
                                                    "n": 4, "stop_regex": "a+b", "stop": ["\n"]},
                   "logprob_start_len": -1, "top_logprobs_num": 5}),
    ("/generate", {"text": ["x", "y"], "logprob_start_len": [0, 1], "top_logprobs_num": ["3", 2]}),
    ("/generate", {"input_ids": list(range(512))}), ("/generate", {"input_embeds": [[0.1, 0.2]]}),
    ("/v1/chat/completions", {"messages": CHAT, "logprobs": True, "top_logprobs": 20, "top_k": 40, "n": None}),
    ("/v1/completions", {"prompt": ["a", "b"], "logprobs": None}),
    ("/v1/responses", {"input": [{"role": "user", "content": "x"}], "text": {"format": {"type": "text"}}}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 500_000}}]}]}),
    ("/v1/embeddings", {"input": ["x" * 60_000] * 4}),
    ("/v1/messages", {"messages": CHAT, "max_tokens": 5}), ("/v1/tokenize", {"prompt": ""}), ("/v1/models", None),
    ("/v1/rerank", {"query": "x", "documents": ["a", "b"]}),
])
def test_ordinary_requests_pass(path, body):
    check(path, body, FACTS, LIMITS)
    if path in ("/v1/embeddings", "/v1/rerank", "/v1/tokenize"):
        check(path, body, EMBEDDER, LIMITS)


VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                      lambda inner: (st.lists(inner, max_size=4)
                                     | st.dictionaries(st.text(max_size=4), inner, max_size=4)),
                      max_leaves=12)
NAMES = st.sampled_from(["input_ids", "text", "prompt", "input", "sampling_params", "logit_bias", "stop_token_ids", "n",
                         "top_k", "logprobs", "top_logprobs_num", "query", "items", "embed_overrides", "messages"])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(["/generate", "/v1/completions", "/v1/score", "/encode"]),
       st.dictionaries(NAMES, VALUES, max_size=5))
def test_anything_is_checked_or_refused_and_never_altered(path, body):
    before = repr(body)
    try:
        check(path, body, FACTS, LIMITS)
    except JobError as error:
        json.loads(error.to_json("j"))
    assert repr(body) == before


@pytest.mark.parametrize("config, size", [
    ({"vocab_size": 512}, 512), ({"text_config": {"vocab_size": 7}}, 7),
    ({"thinker_config": {"text_config": {"vocab_size": 9}}}, 9), ({}, None), ([], None)])
def test_the_vocabulary_of_a_folder(tmp_path, config, size):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert from_config(str(tmp_path), {}).vocabulary == size


@pytest.mark.parametrize("revision, size", [(None, 1), ("v2", 2), ("c" * 40, 3)])
def test_the_vocabulary_of_a_downloaded_model(tmp_path, revision, size):
    model = tmp_path / "hub" / "models--org--name"
    for number, commit in ((1, "a" * 40), (2, "b" * 40), (3, "c" * 40)):
        (model / "snapshots" / commit).mkdir(parents=True)
        (model / "snapshots" / commit / "config.json").write_text(json.dumps({"vocab_size": number}))
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("a" * 40)
    (model / "refs" / "v2").write_text("b" * 40)
    assert from_config("org/name", {"HF_HOME": str(tmp_path)}, revision).vocabulary == size
    assert from_config("org/name", {"HF_HUB_CACHE": str(tmp_path / "hub")}, revision).vocabulary == size
    assert from_config("org/other", {"HF_HOME": str(tmp_path)}) == ModelFacts()


def test_every_character_is_counted_as_json_writes_it():
    for number in (*range(0x300), 0x2028, 0x20AC, 0xD800, 0xFFFF, 0x1F99C):
        text = f"a{chr(number)}b"
        size = len(json.dumps({"output": [text]}, ensure_ascii=False).encode("utf-8", "surrogatepass")) + len(", ")
        ResultBudget(Limits(result_bytes=size)).spend(text)
        with pytest.raises(JobError):
            ResultBudget(Limits(result_bytes=size - 1)).spend(text)
