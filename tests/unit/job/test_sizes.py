"""Bytes of inputs and results as they are posted, and prompts that are too many or too long."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from job import limits, shape
from job.limits import ResultBudget, check_input, check_prompts, json_bytes, text_bytes
from job.model import ModelFacts
from settings.limits import Limits
from utils import JobError

PLENTY = 10**9
VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
                      | st.text(max_size=8),
                      lambda inner: (st.lists(inner, max_size=6)
                                     | st.dictionaries(st.text(max_size=4), inner, max_size=6)),
                      max_leaves=30)


def posted(value) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(VALUES)
@example([True, False, None, 0, -1, 1.5, 1e300, 10**30])
@example({"a\"\\\n\x00é字😀": ["\x7f", {"": []}, [[]], {}]})
def test_bytes_are_those_of_the_json(value):
    assert json_bytes(value, PLENTY) == posted(value)


@pytest.mark.parametrize("value", [[1] * 5000, ["é"] * 4097, [[1]] * 4096, {str(i): i for i in range(9000)},
                                   "é\n" * 131_073, "a" * (2**18 + 1), {"x" * 262_145: ["y" * 262_145]}])
def test_large_values_are_counted_as_exactly(value):
    assert json_bytes(value, PLENTY) == posted(value)


@pytest.mark.parametrize("text", ["", "a", "\"", "\\", "\n\r\t\b\f", "\x00\x1f", "\x7f", "é", "字", "😀", "\ud800",
                                  "a" * 2**18, "é" * (2**18 + 3), "\n" * 2**18 + "\""])
def test_bytes_of_a_string(text):
    assert text_bytes(text) == posted(text)


def test_counting_ends_once_there_is_enough():
    class Untouched(list):
        def __len__(self):
            raise AssertionError("looked at")

    assert json_bytes(["x" * 50, Untouched()], 40) == 55
    assert json_bytes("x" * 50, 10) == 52 and json_bytes(None, 0) == 4


def refusal(value, **bounds) -> JobError | None:
    try:
        check_input(value, Limits(**bounds))
    except JobError as error:
        assert error.param == "input"
        return error
    return None


@pytest.mark.parametrize("value", [
    {"input_ids": [1] * 500}, {"text": "\"\n\\" * 100}, {"a": 1.5, "b": [True, None]}, "x" * 100, 12345, ["字"] * 20])
def test_an_input_may_be_as_large_as_its_json(value):
    size = posted(value)
    assert refusal(value, input_bytes=size) is None
    error = refusal(value, input_bytes=size - 1)
    assert error.code == 413 and error.type == "request_too_large"
    assert error.message == f"The input is larger than {(size - 1) / 1e6:g} MB (MAX_INPUT_MB)."


def nested(depth: int):
    value: list = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_an_input_may_be_nested_as_deep_as_the_limit():
    assert refusal(nested(5), depth=5) is None and refusal({"a": {"b": {"c": {"d": {"e": 1}}}}}, depth=5) is None
    for value in (nested(6), {"a": {"b": {"c": {"d": {"e": {}}}}}}, [1, {"a": nested(5)}]):
        error = refusal(value, depth=5)
        assert error.code == 400 and error.type == "invalid_request_error"
        assert error.message == "The input is nested deeper than 5 levels (MAX_INPUT_DEPTH)."


def test_of_numbers_every_digit_counts():
    assert refusal({"input_ids": [1] * 49_000}, input_bytes=100_000) is None  # not four bytes a number
    assert refusal({"input_ids": [123_456] * 30_000}, input_bytes=200_000).code == 413


@pytest.mark.parametrize("chunks", [
    ["data: {\"a\": \"b\\n\"}\n\n"] * 9, ["x" * 50, "é" * 20, "😀"], [[{"a": None}]],
    [{"text": "é\"", "ids": [1, 2]}], ["\ud800"], [""], []])
def test_a_result_is_counted_as_the_sdk_posts_it(chunks):
    body = json.dumps({"output": chunks}, ensure_ascii=False).encode("utf-8", "surrogatepass")
    slack = 2 if chunks else 0  # a comma that the last chunk has not
    exact = ResultBudget(Limits(result_bytes=len(body) + slack))
    for chunk in chunks:
        exact.spend(chunk)
    if chunks:
        short = ResultBudget(Limits(result_bytes=len(body) + slack - 1))
        with pytest.raises(JobError) as raised:
            for chunk in chunks:
                short.spend(chunk)
        assert raised.value.code == 413 and raised.value.type == "request_too_large"
        assert raised.value.message == (
            f"The result is larger than {(len(body) + slack - 1) / 1e6:g} MB (MAX_RESULT_MB), more than RunPod "
            "delivers: ask for less, or stream a route that is not cumulative.")


FACTS = ModelFacts(vocabulary=512, context=2048)
LONGEST = 32 * 2048  # characters; for shorter contexts it is the same
SMALL = Limits(batch=4)


def too_much(path, body, facts=FACTS, bounds=SMALL) -> str | None:
    try:
        check_prompts(path, body, shape.of(path, body), facts, bounds)
    except JobError as error:
        assert error.code == 400 and f"`{error.param}`" in error.message
        return error.param
    return None


@pytest.mark.parametrize("path, body, name", [
    ("/generate", lambda n: {"text": ["x"] * n}, "text"),
    ("/v1/completions", lambda n: {"prompt": [[1]] * n}, "prompt"),
    ("/v1/score", lambda n: {"items": ["x"] * n}, "items"),
    ("/v1/rerank", lambda n: {"documents": ["x"] * n}, "documents"),
    ("/v1/tokenize", lambda n: {"prompt": ["x"] * n}, "prompt"),
    ("/v1/detokenize", lambda n: {"tokens": [[1]] * n}, "tokens"),
    ("/generate", lambda n: {"input_embeds": [[[0.5]]] * n}, "input_embeds"),
    ("/v1/chat/completions", lambda n: {"messages": [{}], "tools": [{}] * n}, "tools"),
    ("/v1/decisions", lambda n: {"input": "x", "questions": [{}] * n}, "questions"),
    ("/v1/systemone", lambda n: {"state": "x", "questions": {str(i): {} for i in range(n)}}, "questions"),
    ("/opened", lambda n: {"prompt": ["x"] * n}, "prompt")])
def test_prompts_are_at_most_as_many_as_the_limit(path, body, name):
    assert too_much(path, body(4)) is None and too_much(path, body(5)) == name


@pytest.mark.parametrize("path, body, name", [
    ("/v1/embeddings", lambda n: {"input": ["x"] * n}, "input"), ("/encode", lambda n: {"text": ["x"] * n}, "text"),
    ("/classify", lambda n: {"input_ids": [[1]] * n}, "input_ids"),
    ("/v1/classify", lambda n: {"input": ["x"] * n}, "input"),
    ("/encode", lambda n: {"image_data": [["x"]] * n}, "image_data")])
def test_where_nothing_is_generated_they_may_be_twice_as_many(path, body, name):
    assert too_much(path, body(8)) is None and too_much(path, body(9)) == name
    assert too_much(path, {**body(1), "tools": [{}] * 5}) == "tools"


def test_the_number_is_in_the_message():
    body = {"input": ["x"] * 9}
    with pytest.raises(JobError) as raised:
        check_prompts("/v1/embeddings", body, shape.of("/v1/embeddings", body), FACTS, SMALL)
    assert raised.value.message == "`input` holds 9 entries; the limit is 8 (MAX_BATCH)."


@pytest.mark.parametrize("path, body, name", [
    ("/generate", lambda t: {"text": t}, "text"), ("/generate", lambda t: {"text": ["a", t]}, "text"),
    ("/v1/completions", lambda t: {"prompt": t}, "prompt"), ("/v1/embeddings", lambda t: {"input": ["b", t]}, "input"),
    ("/v1/embeddings", lambda t: {"input": [{"text": t}]}, "input"),
    ("/v1/tokenize", lambda t: {"prompt": t}, "prompt"),
    ("/v1/score", lambda t: {"query": "", "items": [t]}, "items"),
    ("/v1/score", lambda t: {"query": t, "items": [""]}, "items"),
    ("/v1/rerank", lambda t: {"query": t, "documents": [""]}, "documents"),
    ("/v1/responses", lambda t: {"input": t}, "input"),
    ("/v1/systemone", lambda t: {"state": t}, "state"), ("/v1/messages", lambda t: {"messages": t}, "messages"),
    *(("/v1/chat/completions", lambda t, name=name: {"messages": [], name: t}, name)
      for name in ("system", "instructions", "tools", "chat_template_kwargs", "questions", "instruct"))])
def test_a_text_is_at_most_far_longer_than_the_context(path, body, name):
    assert too_much(path, body("x" * LONGEST)) is None and too_much(path, body("x" * (LONGEST + 1))) == name
    assert too_much(path, body("x" * (LONGEST + 1)), ModelFacts()) is None
    with pytest.raises(JobError) as raised:
        check_prompts(path, body("x" * (LONGEST + 1)), shape.of(path, body("x" * (LONGEST + 1))), FACTS, SMALL)
    assert raised.value.message == f"`{name}` is far longer than the model's context of 2048 tokens."


def test_texts_of_a_prompt_are_counted_together_and_those_of_a_batch_apart():
    half = "x" * (LONGEST // 2)
    assert too_much("/v1/embeddings", {"input": [half] * 4}) is None
    assert too_much("/v1/score", {"query": half, "items": [half]}) is None
    assert too_much("/v1/score", {"query": half, "items": ["", half + "x"]}) == "items"
    one = {"role": "user", "content": half}
    assert too_much("/v1/responses", {"input": [one]}) is None
    assert too_much("/v1/responses", {"input": [one, one]}) == "input"
    assert too_much("/v1/chat/completions", {"messages": [one, one]}) == "messages"
    assert too_much("/v1/chat/completions", {"messages": [], "tools": [{half: [half + "x"]}]}) == "tools"


@pytest.mark.parametrize("context, longest", [(1, 2**16), (2048, 2**16), (2049, 32 * 2049), (32_768, 2**20)])
def test_the_longest_text_follows_the_context(context, longest):
    facts = ModelFacts(context=context)
    assert too_much("/generate", {"text": "x" * longest}, facts) is None
    assert too_much("/generate", {"text": "x" * (longest + 1)}, facts) == "text"


@pytest.mark.parametrize("path, field", [("/v1/chat/completions", "messages"), ("/v1/responses", "input")])
def test_messages_are_at_most_as_many_as_the_context_has_tokens(path, field):
    facts = ModelFacts(context=20)
    assert too_much(path, {field: [{}] * 20}, facts) is None and too_much(path, {field: [{}] * 21}, facts) == field
    assert too_much("/v1/embeddings", {"input": ["a"] * 21}, facts, Limits()) is None


@pytest.mark.parametrize("name, path", [
    ("input_ids", "/generate"), ("prompt", "/v1/completions"), ("query", "/v1/score"), ("input", "/v1/embeddings"),
    ("tokens", "/v1/detokenize"), ("items", "/v1/score"), ("input_ids", "/v1/chat/completions")])
def test_ids_are_at_most_as_many_as_the_context_has_tokens(name, path):
    facts = ModelFacts(context=20)
    for ids in ([1] * 20, [[1] * 20, [1] * 3]):
        assert too_much(path, {name: ids}, facts) is None
    for ids in ([1] * 21, [[1], [1] * 21]):
        assert too_much(path, {name: ids}, facts) == name
    assert too_much(path, {name: [1] * 21}, ModelFacts()) is None
    assert too_much(path, {name: [[], [1]]}, facts) is None
    with pytest.raises(JobError) as raised:
        check_prompts(path, {name: [1] * 21}, shape.of(path, {}), facts, SMALL)
    assert raised.value.message == f"`{name}` holds 21 token ids; the model's context is 20."


def test_the_limits_are_what_the_documents_say():
    assert (Limits().input_bytes, Limits().depth, Limits().batch, Limits().result_bytes, Limits().grammar_bytes) == (
        20_000_000, 100, 1024, 19_000_000, 65_536)
    assert 2 * Limits().batch == 2048  # OpenAI's own limit for embeddings
    assert limits.check_prompts("/v1/models", {}, shape.of("/v1/models", {}), FACTS, Limits()) is None
