"""Models and adapters: what one route lists, every route serves or refuses by name."""

import pytest

from job import names, reshape, routes
from job.route_table import ROUTES
from job.routes import Context
from lora.sources import Sources
from settings.lora import places
from utils import JobError

Q = [{"role": "user", "content": "Hi"}]
LORA = Context("tiny", "org/tiny", lora=True, adapters=("a", "b"))
BODIES = {"/v1/chat/completions": {"messages": Q}, "/invocations": {"messages": Q},
          "/v1/completions": {"prompt": "x"}, "/v1/messages": {"messages": Q, "max_tokens": 5},
          "/v1/embeddings": {"input": "x"}}
IGNORED = ["/v1/responses", "/v1/score", "/v1/decisions", "/v1/systemone", "/v1/classify", "/v1/rerank", "/rerank",
           "/v2/rerank"]
POSTS = [path for path, entry in ROUTES.items() if entry.method == "POST"]
SAID = {"/v1/audio/transcriptions": {"file": "aGk="},
        "/api/chat": {"messages": [{"role": "user", "content": "Hi"}]}, "/api/generate": {"prompt": "Hi"}}


def post(path, body, context=LORA):
    if path == "/vertex_generate":
        body = {"instances": [{"text": "Hi"}], "parameters": body}
    return routes.plan({"openai_route": path, "openai_input": {"x": 1, **SAID.get(path, {}), **body}}, context, "job-1")


def refused(path, body, context=LORA):
    with pytest.raises(JobError) as caught:
        post(path, body, context)
    return caught.value


@pytest.mark.parametrize("name", ["a", "tiny:a", "org/tiny:a"])
@pytest.mark.parametrize("path", sorted(BODIES))
def test_an_adapter_reaches_the_engine_in_the_models_name(path, name):
    assert post(path, {**BODIES[path], "model": name}).body["model"] == "tiny:a"


@pytest.mark.parametrize("name", ["a", "tiny:a", "org/tiny:a"])
@pytest.mark.parametrize("path", ["/generate", "/encode", "/classify", "/vertex_generate"])
def test_an_adapter_reaches_the_native_routes_as_their_own_field(path, name):
    body = post(path, {"model": name}).body
    assert body["lora_path"] == "a" and "model" not in body


@pytest.mark.parametrize("path", IGNORED)
@pytest.mark.parametrize("body, param", [
    ({"model": "a"}, "model"), ({"model": "tiny:a"}, "model"), ({"lora_path": "a"}, "lora_path"),
    ({"model": "tiny", "lora_path": ["a", None]}, "lora_path"), ({"adapter_id": "a"}, "lora_path"),
])
def test_an_adapter_is_refused_where_the_engine_would_ignore_it(path, body, param):
    error = refused(path, body)
    assert (error.code, error.param) == (400, param) and path in error.message and "no LoRA adapter" in error.message


@pytest.mark.parametrize("path", ["/v1/tokenize", "/tokenize", "/detokenize", "/v1/messages/count_tokens"])
def test_an_adapter_does_not_change_tokens(path):
    assert post(path, {"model": "a"}).body["model"] == post(path, {"model": "tiny:b"}).body["model"] == "tiny"


@pytest.mark.parametrize("path", POSTS)
def test_an_unknown_adapter_is_404_on_every_route(path):
    for name in ("zz", "tiny:zz", "org/tiny:zz", "tiny:a:b", "b:a", "tiny:"):
        error = refused(path, {"model": name})
        assert (error.code, error.type, error.param) == (404, "not_found_error", "model")
        assert "'a', 'b'" in error.message


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/generate", "/v1/completions", "/v1/messages", "/encode"])
def test_an_unknown_adapter_in_lora_path_is_404(path):
    for value in ("zz", ["a", "zz"]):
        error = refused(path, {**BODIES.get(path, {}), "lora_path": value})
        assert (error.code, error.param) == (404, "lora_path")


def test_the_adapter_of_a_message_may_stand_in_lora_path():
    # AnthropicMessagesRequest has no such field, and would answer with the base model.
    body = post("/v1/messages", {"messages": Q, "max_tokens": 5, "lora_path": "b"}).body
    assert body["model"] == "tiny:b" and "lora_path" not in body


def test_two_adapters_in_one_request_are_refused():
    assert refused("/v1/chat/completions", {"messages": Q, "model": "a", "lora_path": "b"}).param == "lora_path"
    assert post("/generate", {"text": "x", "model": "a", "lora_path": "a"}).body["lora_path"] == "a"
    assert post("/generate", {"text": "x", "adapter_id": "b"}).body["lora_path"] == "b"


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("name", [None, "", "default", "tiny", "org/tiny"])
def test_the_model_itself_has_four_names_on_every_route(path, name):
    body = post(path, {} if name is None else {"model": name}).body or {}
    assert body.get("model", "tiny") in ("tiny", name) and "lora_path" not in body


def test_an_adapter_named_as_sglang_names_the_model_is_meant():
    assert post("/v1/chat/completions", {"messages": Q, "model": "default"},
                Context("tiny", "org/tiny", adapters=("default",))).body["model"] == "tiny:default"


def test_adapters_that_are_loaded_later_are_the_engines_to_refuse():
    context = Context("tiny", "org/tiny", lora=True, adapters=("a",), extra_routes=("/load_lora_adapter",))
    assert post("/v1/chat/completions", {"messages": Q, "model": "tiny:new"}, context).body["model"] == "tiny:new"
    assert refused("/v1/chat/completions", {"messages": Q, "model": "new"}, context).code == 404
    assert refused("/v1/responses", {"model": "tiny:new"}, context).code == 400


def test_a_server_without_adapters_has_none():
    context = Context("tiny", "org/tiny", adapters=())
    assert refused("/v1/chat/completions", {"messages": Q, "model": "tiny:a"}, context).code == 404
    assert refused("/v1/chat/completions", {"messages": Q, "lora_path": "a"}, context).code == 404


def test_a_callers_name_is_shortened():
    error = refused("/v1/chat/completions", {"messages": Q, "model": "secret" * 1000})
    assert len(error.message) < 250 and "…" in error.message


@pytest.mark.parametrize("asked, adapter", [("a", "a"), ("tiny:b", "b"), ("tiny%3Ab", "b"), ("a?x=1", "a")])
def test_an_adapter_is_read_from_the_list_of_models(asked, adapter):
    request = routes.plan({"openai_route": f"/v1/models/{asked}"}, LORA, "job-1")
    assert (request.method, request.path) == ("GET", "/v1/models")
    cards = [{"id": "tiny", "parent": None}, {"id": "a", "parent": "tiny"}, {"id": "b", "parent": "tiny"}]
    card = request.reshape({"object": "list", "data": cards})
    assert card["parent"] == "tiny" and card["id"] in (adapter, f"tiny:{adapter}")
    with pytest.raises(JobError) as caught:
        request.reshape({"object": "list", "data": cards[:1]})
    assert caught.value.code == 404


def test_any_other_model_is_read_from_the_engine():
    for name in ("tiny", "zz", "tiny:zz", "org/tiny"):
        request = routes.plan({"openai_route": f"/v1/models/{name}"}, LORA, "job-1")
        assert (request.path, request.reshape) == (f"/v1/models/{name}", None)


@pytest.mark.parametrize("name", ["gpt-oss-120b", "gpt-oss:120b", "org/name", "org/name:Q4_K_M"])
@pytest.mark.parametrize("path", sorted(BODIES))
def test_a_name_that_the_server_cannot_have_may_be_asked_for(path, name):
    context = Context("gpt-oss-120b", "org/name:Q4_K_M", lora=True, adapters=("a",),
                      also=("gpt-oss-120b", "gpt-oss:120b", "org/name"))
    assert post(path, {**BODIES[path], "model": name}, context).body["model"] == "gpt-oss-120b"
    adapted = post(path, {**BODIES[path], "model": f"{name}:a"}, context).body["model"]
    assert adapted == "gpt-oss-120b:a"
    assert refused(path, {**BODIES[path], "model": "gpt-oss"}, context).code == 404


def test_one_adapter_in_a_list_on_the_messages_route_is_used_and_anything_else_refused():
    context = Context("tiny", "org/tiny", lora=True, adapters=("sql",))

    def plan_with(path):
        return routes.plan({"openai_route": "/v1/messages", "openai_input": {
            "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9, "lora_path": path}}, context, "x").body

    assert plan_with(["sql"])["model"] == plan_with("sql")["model"] == "tiny:sql"
    assert plan_with("")["model"] == plan_with([None])["model"] == "tiny"
    for wrong in (["sql", "sql"], [], 5, {"a": "sql"}):
        with pytest.raises(JobError) as caught:
            plan_with(wrong)
        assert caught.value.param == "lora_path"


def test_an_adapter_behind_a_name_that_has_a_colon_itself():
    context = Context("tiny", "org/tiny", lora=True, adapters=("sql",), also=("org/tiny:Q4",))
    body = routes.plan({"messages": [{"role": "user", "content": "Hi"}], "model": "org/tiny:Q4:sql"}, context, "x").body
    assert body["model"] == "tiny:sql"


SOURCES = Context("tiny", "org/tiny", lora=True, adapters=("a", "b"), sources=Sources(
    places("/vol/adapters team/* pinned/x@v1 nick=team/long also=/vol/adapters/sql"), {"a": "/x/a", "b": "/x/b"}))


@pytest.mark.parametrize("name, engine", [
    ("sql", "also"), ("fr", "fr"), ("team/fr", "team/fr"), ("nick", "nick"), ("team/long", "nick"), ("also", "also"),
    ("pinned/x", "pinned/x"), ("pinned/x@v1", "pinned/x"), ("a", "a")])
def test_what_may_be_loaded_is_named_as_what_is(name, engine):
    for model in (name, f"tiny:{name}", f"org/tiny:{name}"):
        for path, body in BODIES.items():
            assert post(path, {**body, "model": model}, SOURCES).body["model"] == f"tiny:{engine}"
        assert post("/generate", {"model": model}, SOURCES).body["lora_path"] == engine
    assert post("/generate", {"lora_path": [name, None, "b", ""]}, SOURCES).body["lora_path"] == [engine, None, "b", ""]
    assert post("/v1/messages", {"messages": Q, "max_tokens": 5, "lora_path": name}, SOURCES).body["model"] == (
        f"tiny:{engine}")


@pytest.mark.parametrize("name", ["../sql", "sql/..", "other/x", "team/../x", "pinned/x@v2", "team/x@main", "a/b/c",
                                  "/vol/adapters", "team/", "/etc/passwd", "x" * 200, "ümlaut ohne", "a\x00b", ".ssh"])
def test_what_may_not_be_loaded_is_404(name):
    for path, body in BODIES.items():
        for model in (name, f"tiny:{name}"):
            assert refused(path, {**body, "model": model}, SOURCES).code == 404
        assert refused(path, {**body, "lora_path": ["a", name]}, SOURCES).code == 404


def test_the_models_own_names_are_no_adapters():
    for name in ("tiny", "org/tiny", "", "default", None):
        assert post("/v1/chat/completions", {"messages": Q, "model": name}, SOURCES).body["model"] == "tiny"
    adapter = post("/v1/chat/completions", {"messages": Q, "model": "tiny:default"}, SOURCES)
    assert adapter.body["model"] == "tiny:default"  # with the model's name before it, it is one


def test_an_adapter_of_the_start_with_two_names_is_asked_for_by_the_one_that_is_held():
    # The other may be unloaded while it is in use: nobody would hold it.
    context = Context("tiny", "org/tiny", lora=True, adapters=("a", "b"), sources=Sources(
        places("/vol/adapters"), {"a": "/x/a", "b": "/x/a"}))
    for model in ("b", "tiny:b", "org/tiny:b"):
        for path, body in BODIES.items():
            assert post(path, {**body, "model": model}, context).body["model"] == "tiny:a"
    assert post("/generate", {"lora_path": "b"}, context).body["lora_path"] == "a"


@pytest.mark.parametrize("path, one, two", [
    ("/generate", {"text": "a"}, {"text": ["a", "b"]}), ("/generate", {"input_ids": [1]}, {"input_ids": [[1], [2]]}),
    ("/encode", {"text": "a"}, {"text": ["a", "b"]}), ("/v1/completions", {"prompt": "a"}, {"prompt": ["a", "b"]}),
    ("/v1/embeddings", {"input": "a"}, {"input": ["a", "b"]}),
    ("/v1/embeddings", {"input": [{"text": "a"}]}, {"input": [{"text": "a"}, {"text": "b"}]}),
    ("/v1/chat/completions", {"messages": Q}, None)])
@pytest.mark.parametrize("context", [SOURCES, LORA])
def test_the_list_of_adapters_is_as_long_as_the_list_of_prompts(path, one, two, context):
    # A list for one prompt ends the engine, a list that is too long counts adapters in use for ever.
    assert post(path, {**one, "lora_path": ["a"]}, context).body["lora_path"] == "a"
    assert post(path, {**one, "lora_path": [None]}, context).body.get("lora_path") is None
    for wrong in (["a", "a"], ["a", None], ["a"] * 3):
        assert refused(path, {**one, "lora_path": wrong}, context).param == "lora_path"
    if two:
        several = {name: value[:1] for name, value in two.items()}
        assert post(path, {**several, "lora_path": ["a"]}, context).body["lora_path"] == "a"
        assert post(path, {**two, "lora_path": ["a", None]}, context).body["lora_path"] == ["a", None]
        assert "number of prompts is 2" in refused(path, {**two, "lora_path": ["a"]}, context).message
        assert refused(path, {**two, "lora_path": ["a"] * 3}, context).param == "lora_path"


@pytest.mark.parametrize("path", ["/generate", "/encode", "/classify"])
@pytest.mark.parametrize("number", ["x", ["x"], "", 0])
def test_the_engines_own_number_of_an_adapter_is_refused(path, number):
    assert refused(path, {"text": ["a"], "lora_id": number}, LORA).param == "lora_id"
    post(path, {"text": ["a"], "lora_id": None}, LORA)


@pytest.mark.parametrize("path, body, used", [
    ("/v1/chat/completions", {"model": "tiny:sql"}, ("sql",)), ("/v1/chat/completions", {"model": "tiny"}, ()),
    ("/v1/completions", {"model": "tiny", "lora_path": ["x", None, "y", "x", ""]}, ("x", "y")),
    ("/v1/completions", {"model": "tiny:sql", "lora_path": "x"}, ("sql",)),
    ("/generate", {"lora_path": "sql"}, ("sql",)), ("/generate", {}, ()), ("/encode", {"lora_path": "a"}, ("a",)),
    ("/v1/tokenize", {"model": "tiny:sql"}, ()), ("/v1/models", None, ()), ("/v1/rerank", {"lora_path": "a"}, ()),
    ("/opened", {"lora_path": "a"}, ()), ("/generate", {"lora_path": 7}, ())])
def test_what_a_request_uses(path, body, used):
    assert names.used(path, body, SOURCES) == used
    assert names.used(path, body, LORA) == ()  # where nothing is loaded on first use the engine alone knows


def test_the_list_has_what_may_be_loaded():
    cards = {"object": "list", "data": [{"id": "tiny", "parent": None}, {"id": "a", "parent": "tiny", "root": "/x/a"}]}
    listed = reshape.with_adapters({"a": "/other", "sql": "/vol/adapters/sql"}, None)(cards)
    assert [(card["id"], card["parent"]) for card in listed["data"]] == [("tiny", None), ("a", "tiny"), ("sql", "tiny")]
    assert listed["data"][1]["root"] == "/x/a" and listed["data"][2]["root"] == "/vol/adapters/sql"
    assert set(listed["data"][2]) == {"id", "object", "created", "owned_by", "root", "parent", "max_model_len"}
    card = reshape.with_adapters({"sql": "/s"}, reshape.model_card("sql", "tiny:sql"))
    assert card(cards)["id"] == "tiny:sql"
    with pytest.raises(JobError):
        reshape.with_adapters({}, reshape.model_card("sql", "sql"))(cards)
    assert reshape.with_adapters({"x": "/y"}, None)({"error": "no"}) == {"error": "no"}
