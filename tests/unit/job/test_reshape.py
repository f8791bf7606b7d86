"""Answers in the shapes of Jina's, Cohere's and Vertex AI's clients."""

import pytest

from job import routes
from job.routes import Context
from utils import JobError

PLAIN = Context("tiny", "org/tiny")
# As the engine answers: best first, `top_n` of them.
RANKED = [{"score": 0.9, "index": 2, "meta_info": {"prompt_tokens": 5}}, {"score": 0.1, "index": 0}]


def plan(route, body):
    return routes.plan({"openai_route": route, "openai_input": body}, PLAIN, "job-1")


@pytest.mark.parametrize("route", ["/rerank", "/v2/rerank", "/v2/rerank?x=1"])
@pytest.mark.parametrize("wanted", [True, False, None])
def test_a_ranking_has_results(route, wanted):
    documents = ["a", {"text": "b"}, {"text": "c", "title": "C"}]
    request = plan(route, {"query": "q", "documents": documents, "top_n": 2, "return_documents": wanted,
                           "model": "tiny"})
    assert request.path == "/v1/rerank"
    assert request.body == {"query": "q", "documents": ["a", "b", "c"], "top_n": 2, "return_documents": False,
                            "model": "tiny"}
    answer = request.reshape(RANKED)
    assert [(r["index"], r["relevance_score"]) for r in answer["results"]] == [(2, 0.9), (0, 0.1)]
    shown = [r.get("document") for r in answer["results"]]
    default = route == "/rerank"  # Jina's; Cohere's second version has no documents in its answers
    assert shown == ([documents[2], {"text": "a"}] if (default if wanted is None else wanted) else [None, None])
    assert (answer["id"], answer["model"], answer["usage"]["total_tokens"]) == ("job-1", "tiny", 5)


def test_documents_of_several_kinds():
    parts = [{"type": "text", "text": "x"}]
    documents = [{"image": "https://x/y.jpg"}, {"content": parts}, parts]
    body = plan("/rerank", {"query": {"text": "q"}, "documents": documents}).body
    assert body["query"] == "q"
    assert body["documents"] == [[{"type": "image_url", "image_url": {"url": "https://x/y.jpg"}}], parts, parts]


@pytest.mark.parametrize("body", [{"query": "q"}, {"query": "q", "documents": "x"}, {"query": "q", "documents": []}])
def test_what_is_no_ranking_is_the_engines_to_refuse(body):
    assert plan("/rerank", body).body == {**body, "return_documents": False}


def test_the_choice_of_documents_is_a_truth_value():
    with pytest.raises(JobError) as caught:
        plan("/rerank", {"query": "q", "documents": ["a"], "return_documents": "yes"})
    assert caught.value.param == "return_documents"


def test_the_engines_own_route_keeps_its_list():
    request = plan("/v1/rerank", {"query": "q", "documents": ["a"], "return_documents": True})
    assert request.reshape is None and request.body["return_documents"] is True


def test_a_wrong_model_is_no_ranking():
    for route in ("/rerank", "/v2/rerank", "/v1/rerank"):
        with pytest.raises(JobError) as caught:
            plan(route, {"query": "q", "documents": ["a"], "model": "rerank-v3.5"})
        assert caught.value.code == 404


def test_predictions():
    request = plan("/vertex_generate", {"instances": [{"text": "a"}, {"text": "b", "image_data": "x"}],
                                        "parameters": {"sampling_params": {"max_tokens": 5, "stop": ""}}})
    assert (request.path, request.body) == ("/generate", {
        "text": ["a", "b"], "image_data": [[], ["x"]], "sampling_params": {"max_new_tokens": 5}, "rid": "job-1"})
    assert request.reshape([{"text": "x"}]) == {"predictions": [{"text": "x"}]}


def test_what_stands_beside_the_instances_counts():
    context = Context("tiny", "org/tiny", lora=True, adapters=("sql",))
    body = {"instances": [{"text": "a", "image_data": "x"}], "model": "sql", "temperature": 0}
    request = routes.plan({"openai_route": "/vertex_generate", "openai_input": body}, context, "job-1")
    assert request.body == {"text": ["a"], "image_data": ["x"], "lora_path": "sql", "rid": "job-1",
                            "sampling_params": {"temperature": 0}}
    with pytest.raises(JobError) as caught:
        plan("/vertex_generate", {"instances": [{"text": "a"}], "model": "gpt-4"})
    assert caught.value.code == 404
    several = plan("/vertex_generate", {"instances": [{"text": "a", "image_data": ["x", "y"]},
                                                      {"text": "b", "image_data": "z"}]})
    assert several.body["image_data"] == [["x", "y"], ["z"]]


@pytest.mark.parametrize("body, param", [
    ({"instances": [{"text": "a", "sampling_params": {"temperature": 0}}]}, "instances"),
    ({"instances": []}, "instances"), ({"x": 1}, "instances"), ({"instances": ["a"]}, "instances"),
    ({"instances": [{"text": "a"}], "parameters": [1]}, "parameters"),
    ({"instances": [{"text": "a"}], "parameters": {"stream": True}}, "stream")])
def test_no_predictions(body, param):
    with pytest.raises(JobError) as caught:
        plan("/vertex_generate", body)
    assert (caught.value.code, caught.value.param) == (400, param)
