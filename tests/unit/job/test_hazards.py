"""Each check of input that harms the engine, at its bounds and by its words."""

import json
import math

import pytest

from job import hazards
from job.hazards import check
from job.model import ModelFacts
from settings.limits import Limits
from utils import JobError

FACTS = ModelFacts(vocabulary=512, context=20_000, width=2)
EMBEDDER = ModelFacts(vocabulary=512, generates=False, context=20_000)
BOUNDS = Limits(batch=6, grammar_bytes=100)
CHAT = [{"role": "user", "content": "Hi"}]


GENERATING = ("/generate", "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/invocations")


def refusal(path, body, facts=FACTS, limits=BOUNDS) -> JobError | None:
    try:
        check(path, body, facts, limits)
    except JobError as error:
        assert error.code == 400 and error.type == "invalid_request_error"
        return error
    return None


BIAS = "`logit_bias` takes numbers from -10000 to 10000."


def text(**fields):
    return {"text": "x", **fields}


@pytest.mark.parametrize("value, read", [
    (1, 1.0), (1.5, 1.5), ("1.5", 1.5), ("-3", -3.0), ("x", None), (None, None), (True, None), ([1], None),
    (10**400, math.inf), ("1e999", math.inf), ("", None)])
def test_numbers_are_read_as_the_engine_reads_them(value, read):
    assert hazards.number(value) == read


def test_the_last_id_is_the_vocabularys_or_else_the_largest_there_can_be():
    assert hazards.largest_id(FACTS) == 511 and hazards.largest_id(ModelFacts()) == 2**31 - 1


def test_a_request_without_a_body_is_no_hazard():
    assert refusal("/v1/models", None) is None and refusal("/generate", {}, EMBEDDER) is None


@pytest.mark.parametrize("path", GENERATING)
def test_generating_routes_need_a_model_that_generates(path):
    body = {"messages": CHAT, "text": "x", "prompt": "x", "input": "x"}
    assert refusal(path, body) is None or refusal(path, body).param in ("prompt", "input")
    assert refusal(path, body, EMBEDDER).message == (
        f"{path} needs a model that generates; this endpoint serves one that only embeds.")
    assert refusal("/v1/embeddings", {"input": "x"}, EMBEDDER) is None


@pytest.mark.parametrize("name", ["positional_embed_overrides", "query_embed_overrides", "item_embed_overrides",
                                  "token_indices_to_pool"])
def test_internals_of_the_engine_are_not_open(name):
    for value in ([], {}, 0, "x"):
        error = refusal("/generate", text(**{name: value}))
        assert error.param == name
        assert error.message == f"`{name}` is not open to jobs: a wrong shape of it ends the engine."
    assert refusal("/generate", text(**{name: None})) is None


@pytest.mark.parametrize("name, path", [
    ("input_ids", "/generate"), ("stop_token_ids", "/v1/completions"), ("prompt", "/v1/completions"),
    ("input", "/v1/embeddings"), ("query", "/v1/score"), ("items", "/v1/score")])
@pytest.mark.parametrize("wrap", [
    lambda one: [one], lambda one: [[1], [2, one]], lambda one: [1] * 4095 + [one], lambda one: [1] * 4096 + [one],
    lambda one: [[1] * 4096 + [one]], lambda one: [1, [one]], lambda one: [1, [2, [one]]], lambda one: [[1], one]])
def test_ids_are_found_wherever_they_stand(name, path, wrap):
    for right in (0, 1, 511):
        assert refusal(path, {"prompt": "x", "input": "x", "items": ["x"], name: wrap(right)}) is None
    for wrong in (-1, 512, 0.5, True, 2**63):
        error = refusal(path, {"prompt": "x", "input": "x", "items": ["x"], name: wrap(wrong)})
        assert error.param == name
        assert error.message == f"`{name}` holds {wrong}, which is no token id of this model: they go from 0 to 511."


@pytest.mark.parametrize("ids, named", [([0, 511, 512], 512), ([511, 0, -1], -1), ([0, True], True),
                                        ([0, 511, "x"], "str")])
def test_the_id_that_is_named_is_the_wrong_one(ids, named):
    assert f"holds {named}, which" in refusal("/generate", text(input_ids=ids)).message


@pytest.mark.parametrize("name", ["input_ids", "stop_token_ids"])
@pytest.mark.parametrize("wrong, named", [("600", "str"), ({}, "dict"), (None, "NoneType"), (2**70, "int"),
                                          (2**70 - 1, str(2**70 - 1)), (-(2**70), "int"), (1.5, "1.5")])
def test_what_is_no_id_is_named_shortly(name, wrong, named):
    assert f"`{name}` holds {named}, which" in refusal("/generate", text(**{name: [wrong]})).message
    assert f"`{name}` holds {named}, which" in refusal("/generate", text(**{name: [[1], [wrong]]})).message
    params = {"text": ["x", "y"], "sampling_params": [{}, {"stop_token_ids": [wrong]}]}
    assert refusal("/generate", params).param == "stop_token_ids"


def test_text_may_stand_where_ids_may():
    assert refusal("/v1/completions", {"prompt": ["600", "x"]}) is None
    assert refusal("/v1/score", {"query": "q", "items": ["600"]}) is None
    assert refusal("/generate", text(input_ids=5)) is None
    assert refusal("/generate", text(input_ids=512)).param == "input_ids"
    assert refusal("/generate", text(stop_token_ids=None)) is None


@pytest.mark.parametrize("bias, right", [
    ({"0": 1}, True), ({"511": -100}, True), ({"512": 1}, False), ({"-1": 1}, False), ({"x": 1}, False),
    ({"1" * 20: 1}, False), ({"5": 1e4}, True), ({"5": -1e4}, True), ({"5": 10_000.5}, False), ({"5": -10_001}, False),
    ({"5": "1.5"}, True), ({"5": "x"}, False), ({"5": None}, False), ({"5": True}, False), ({"5": "inf"}, False),
    ({"5": math.nan}, False), ({"5": "1e5"}, False), ({}, True), ("x", True), ([5], True)])
def test_a_bias_is_for_ids_of_the_model_and_of_a_size_that_it_bears(bias, right):
    for path, body in (("/v1/completions", {"prompt": "x", "logit_bias": bias}),
                       ("/generate", text(sampling_params={"logit_bias": bias})),
                       ("/encode", text(sampling_params=[{"logit_bias": bias}]))):
        error = refusal(path, body)
        assert (error is None) is right
        if error:
            assert error.param == "logit_bias" and ("from 0 to 511" in error.message
                                                    or error.message == BIAS)


@pytest.mark.parametrize("name, low, high", [
    ("top_logprobs_num", -1, 512), ("top_logprobs", -1, 512), ("logprobs", -1, 512),
    ("logprob_start_len", -1, 2**31 - 1), ("top_k", -1, 2**31 - 1), ("repetition_penalty", 1e-6, 1e300)])
def test_numbers_between_their_bounds(name, low, high):
    for right in (low, high, str(low), str(high), "x", None, True):
        assert refusal("/generate", text(**{name: right})) is None
        assert refusal("/generate", text(sampling_params={name: right})) is None
    for wrong in ([low - 1, str(low - 1), -(10**400)] if name != "repetition_penalty" else [0, -1, 9e-7]) + (
            [high + 1, str(high + 1), 10**400] if high < 1e300 else []):
        error = refusal("/generate", {"text": ["x", "y"], name: [None, wrong]})
        shown = math.inf if name == "repetition_penalty" else high
        assert error.param == name and error.message == f"`{name}` goes from {low} to {shown}."
        assert refusal("/generate", text(sampling_params={name: wrong})).param == name


def test_without_a_known_vocabulary_a_thousand_log_probabilities_are_enough():
    assert refusal("/generate", text(top_logprobs_num=1000), ModelFacts()) is None
    assert "from -1 to 1000" in refusal("/generate", text(top_logprobs_num=1001), ModelFacts()).message


@pytest.mark.parametrize("body, n", [(text(), 6), ({"text": ["a", "b"]}, 3), ({"input_ids": [[1], [2], [3]]}, 2),
                                     ({"text": ["a"]}, 6)])
def test_answers_to_all_prompts_are_bounded_together(body, n):
    for params in ({"n": n}, {"sampling_params": {"n": n}}, {"sampling_params": [{}, {"n": str(n)}]}, {"n": None}):
        assert refusal("/generate", {**body, **params}) is None
    for params in ({"n": n + 1}, {"sampling_params": {"n": n + 1}}, {"sampling_params": [{}, {"n": str(n + 1)}]}):
        error = refusal("/generate", {**body, **params})
        assert error.param == "n" and error.message.startswith("`n` times the number of prompts is ")
        assert error.message.endswith("; the limit is 6 (MAX_BATCH).")
    assert refusal("/v1/chat/completions", {"messages": CHAT * 4, "n": 6}) is None
    assert "is 14; the limit" in refusal("/generate", {"text": ["a", "b"], "n": 7}).message


def test_stop_strings_and_patterns():
    assert refusal("/generate", text(stop="x" * 4096)) is None
    for stop in ("x" * 4097, ["a", "x" * 4097]):
        assert refusal("/generate", text(stop=stop)).message == "A `stop` string has at most 4096 characters."
        assert refusal("/generate", text(sampling_params={"stop": stop})).param == "stop"
    for name, path in (("stop", "/generate"), ("stop_sequences", "/v1/messages")):
        assert refusal(path, {"messages": CHAT, name: ["x" * 4096] * 4}) is None
        assert refusal(path, {"messages": CHAT, name: ["x" * 4097]}).param == name
        assert "together" in refusal(path, {"messages": CHAT, name: ["x" * 4096] * 4 + ["y"]}).message
    dear = "(?:" + "a?" * 10 + ")b"
    assert refusal("/generate", text(sampling_params={"stop_regex": dear, "stop": "x" * 11})) is None
    assert refusal("/generate", text(sampling_params={"stop_regex": dear, "stop": "x" * 400})).param == "stop_regex"
    assert refusal("/generate", text(stop=[5, None])) is None


def test_stop_patterns_of_many_answers_are_counted_together():
    def refused(**body):
        return refusal("/generate", body, limits=Limits())

    empty_line, many = r"\n\s*\n", ["x"] * 1024
    assert refused(text=many[:400], sampling_params={"stop_regex": empty_line}) is None
    assert refused(text=many, sampling_params={"stop_regex": r"END\d{1,3}"}) is None
    for body in ({"text": many, "sampling_params": {"stop_regex": empty_line}},
                 {"text": many, "sampling_params": [{"stop_regex": empty_line}] * 1024},
                 {"text": "x", "sampling_params": {"stop_regex": empty_line, "n": 1024}},
                 {"text": many[:64], "sampling_params": {"stop_regex": empty_line, "n": 16}}):
        assert "in so many answers" in refused(**body).message
    wide = [{"stop_regex": f"[\x01-\uffff]{number}"} for number in range(16)]
    assert "classes of so many" in refused(text=many[:16], sampling_params=wide).message
    assert refused(text=many[:16], sampling_params=wide[:1] * 16) is None


def test_stop_patterns_and_their_types():
    for regex in ("(a*)*", ["a", "(a*)*"]):
        assert refusal("/v1/chat/completions", {"messages": CHAT, "stop_regex": regex}).param == "stop_regex"
        assert refusal("/generate", text(sampling_params={"stop_regex": regex})).param == "stop_regex"
    for regex in (["a", "b+"], None, []):
        assert refusal("/generate", text(stop_regex=regex)) is None
    assert refusal("/generate", text(stop_regex=5)).param == "stop_regex"


@pytest.mark.parametrize("name", ["regex", "ebnf", "json_schema", "structural_tag", "response_format", "guided_json",
                                  "output_config"])
def test_grammars_are_bounded(name):
    for right in ("x" * 100, None, {"a": "x" * 92}):  # 100 bytes of JSON
        assert refusal("/generate", text(**{name: right})) is None
    for wrong in ("x" * 101, {"a": "x" * 93}, ["x" * 97]):
        for body in (text(**{name: wrong}), text(sampling_params={name: wrong})):
            error = refusal("/generate", body)
            assert error.param == name
            assert error.message == f"`{name}` is larger than 0.0976562 KiB (MAX_GRAMMAR_KIB)."


def test_what_a_schema_says_to_its_readers_is_not_compiled():
    def schema(**fields):
        return text(response_format={"type": "json_schema", "json_schema": {"schema": fields}})

    long = "x" * 200
    assert refusal("/generate", schema(description=long, title=long, **{"$comment": long})) is None
    assert refusal("/generate", schema(anyOf=[{"description": long}, {"title": long}])) is None
    for compiled in ({"pattern": long}, {"const": {"description": long}}, {"enum": [{"title": long}]},
                     {"description": {"pattern": long}}, {"title": [long]}):
        assert refusal("/generate", schema(**compiled)).param == "response_format"
    assert refusal("/generate", text(json_schema='{"description": "' + long + '"}')).param == "json_schema"


def test_a_format_of_responses_is_a_grammar_and_a_text_is_none():
    assert refusal("/v1/responses", {"input": "x", "text": {"format": "x" * 200}}).param == "text"
    assert refusal("/generate", {"text": "x" * 200}) is None and refusal("/generate", {"text": ["x" * 200]}) is None


@pytest.mark.parametrize("path", [*GENERATING, "/encode", "/classify", "/v1/embeddings", "/v1/classify"])
@pytest.mark.parametrize("name", ["text", "input_ids", "prompt", "input"])
def test_a_prompt_is_not_empty(path, name):
    for empty in ("", [], [""], ["a", ""], [[]], [[1], []], [[], [1]], [["", ""]], [[[]]]):
        error = refusal(path, {name: empty})
        text_in_ids = name == "input_ids" and '""' in json.dumps(empty)
        assert error.param == name
        assert text_in_ids or error.message == f"`{name}` is empty, or holds an empty prompt."
    right = [[1], [2]] if name == "input_ids" else "a"
    assert refusal(path, {name: right}) is None
    assert refusal("/v1/tokenize", {name: []}) is None


def test_of_a_query_and_an_item_one_may_be_empty():
    def score(query, items):
        return refusal("/v1/score", {"query": query, "items": items})

    for query, items in (("", ["a"]), ("q", ["", "a"]), ("q", []), ("", []), ([], [[1]]), ([1], [[]]), (None, ["a"]),
                         ("", ""), ("", "a"), ("", None), ("q", [""]), ([1], [[], [2]]), ("", [[1]])):
        assert score(query, items) is None
    for query, items in (("", [""]), ("", ["a", ""]), (None, ["", "a"]), ([], [[]]), ([], [[1], []]),
                         (None, [[], [1]])):
        assert score(query, items).param == "items"
        assert score(query, items).message == (
            "`items` holds an empty item, and `query` is empty too: there is nothing to score.")
    assert refusal("/v1/rerank", {"query": "", "documents": [""]}) is None  # the engine says so itself
    assert refusal("/generate", text(query="", items=[""])) is None  # no fields of this route


@pytest.mark.parametrize("name", ["logprob_start_len", "top_logprobs_num", "return_hidden_states", "lora_id"])
def test_lists_of_settings_need_a_list_of_prompts(name):
    for one in (text(), {"input_ids": [1]}, {"input_embeds": [[0.5, 1]]}):
        error = refusal("/generate", {**one, name: [0]})
        assert error.param == name and error.message == f"`{name}` is a list, but there is only one prompt."
        assert refusal("/generate", {**one, name: 0}) is None
    for several in ({"text": ["x"]}, {"input_ids": [[1]]}, {"input_embeds": [[[0.5, 1]]]}, {"text": ["x", "y"]}):
        assert refusal("/generate", {**several, name: [0]}) is None
    assert refusal("/v1/tokenize", {"prompt": "x", name: [0]}) is None


def test_a_logit_processor_is_a_string_or_a_list():
    for right in ("x", ["x"], None):
        assert refusal("/generate", text(custom_logit_processor=right)) is None
    for wrong, said in (({}, "must be a string."), (5, "must be a string."), ([], "is empty.")):
        error = refusal("/generate", text(custom_logit_processor=wrong))
        assert error.param == "custom_logit_processor" and error.message == f"`custom_logit_processor` {said}"


@pytest.mark.parametrize("embeds, right", [
    ([[0.5, 1]], True), ([[0.5, 1], [2, 3]], True), ([[[0.5, 1]], [[2, 3]]], True), ([[[1, 2], [3, 4]]], True),
    ([[1.0]], False), ([[1, 2, 3]], False), ([[1, 2], [3]], False), ([[[1, 2]], [[3]]], False), ([], False),
    ([[]], False), ([[[]]], False), ("x", False), ([1, 2], False), ([["1", 2]], False), ([[True, 2]], False),
    ([[None, 2]], False),
    ([[9e37, -9e37]], True), ([[1e38, 0]], False), ([[0, -1e38]], False), ([[math.nan, 0]], False), ({}, False),
    ([[1, 2], 3], False), ([[math.inf, 0]], False)])
def test_embeds_are_equal_rows_of_the_models_width(embeds, right):
    error = refusal("/generate", {"input_embeds": embeds})
    assert (error is None) is right
    if error:
        assert error.param == "input_embeds"
        assert error.message == "`input_embeds` must be rows of 2 finite numbers."


def test_embeds_of_an_unknown_width_are_equal_rows():
    for right in ([[1, 2, 3], [4, 5, 6]], [[1, 2]], [[[1, 2]], [[3, 4]]]):
        assert refusal("/generate", {"input_embeds": right}, ModelFacts()) is None
    assert "rows of 3 finite" in refusal("/generate", {"input_embeds": [[1, 2, 3], [4]]}, ModelFacts()).message
    assert "equally many" in refusal("/generate", {"input_embeds": 5}, ModelFacts()).message


@pytest.mark.parametrize("name", ["rid", "request_id"])
def test_the_health_checks_name_is_the_engines_own(name):
    for wrong in ("HEALTH_CHECK", "HEALTH_CHECK_1", ["a", "HEALTH_CHECK_1"]):
        error = refusal("/generate", text(**{name: wrong}))
        assert error.param == name and error.message == f"`{name}` may not begin with HEALTH_CHECK."
    for right in ("a HEALTH_CHECK", "health_check", ["a"], None, 5):
        assert refusal("/generate", text(**{name: right})) is None


def test_too_many_and_too_long_prompts_are_refused_as_well():
    assert refusal("/generate", {"text": ["x"] * 7}).param == "text"
    assert refusal("/generate", {"text": "x" * 640_001}).param == "text"
