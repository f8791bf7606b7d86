"""One description of a request's prompts, as the engine's own route reads its fields."""

import pytest

from job import shape

USER = {"role": "user", "content": "Hi"}
DATA = "data:image/png;base64,AAAA"


@pytest.mark.parametrize("path, body, field, kind, listed, count", [
    ("/generate", {"text": "a"}, "text", "text", False, 1),
    ("/generate", {"text": ["a"]}, "text", "text", True, 1),
    ("/generate", {"text": ["a", "b"], "input_ids": [[1]]}, "text", "text", True, 2),
    ("/generate", {"text": None, "input_ids": [1, 2, 3]}, "input_ids", "ids", False, 1),
    ("/generate", {"input_ids": [[1, 2]]}, "input_ids", "ids", True, 1),
    ("/generate", {"input_ids": [[1], [2], [3]]}, "input_ids", "ids", True, 3),
    ("/generate", {"input_embeds": [[0.5, 1], [2, 3]]}, "input_embeds", "embeds", False, 1),
    ("/generate", {"input_embeds": [[[0.5, 1]], [[2, 3]]]}, "input_embeds", "embeds", True, 2),
    ("/generate", {"input_embeds": [[]]}, "input_embeds", "embeds", False, 1),
    ("/generate", {"prompt": ["a", "b"]}, "", "none", False, 1),
    ("/generate", {"text": []}, "text", "none", False, 1),
    ("/generate", {"text": 5}, "text", "none", False, 1),
    ("/generate", {}, "", "none", False, 1),
    ("/encode", {"text": [["q", "d"], ["q", "e"]]}, "text", "text", True, 2),
    ("/encode", {"image_data": "x"}, "image_data", "media", False, 1),
    ("/encode", {"image_data": ["x", "y"]}, "image_data", "media", False, 1),
    ("/classify", {"video_data": [["x"], ["y"]]}, "video_data", "media", True, 2),
    ("/v1/completions", {"prompt": "a"}, "prompt", "text", False, 1),
    ("/v1/completions", {"prompt": ["a", "b"]}, "prompt", "text", True, 2),
    ("/v1/completions", {"prompt": [1, 2]}, "prompt", "ids", False, 1),
    ("/v1/completions", {"prompt": [[1], [2]]}, "prompt", "ids", True, 2),
    ("/v1/embeddings", {"input": ["a"] * 5}, "input", "text", True, 5),
    ("/v1/embeddings", {"input": [7, 8]}, "input", "ids", False, 1),
    ("/v1/embeddings", {"input": [{"text": "a"}, {"image": DATA}]}, "input", "parts", True, 2),
    ("/v1/classify", {"input": ["a", "b"]}, "input", "text", True, 2),
    ("/v1/score", {"query": "q", "items": ["a", "b"]}, "items", "text", True, 2),
    ("/v1/score", {"query": "q", "items": "a"}, "items", "text", False, 1),
    ("/v1/score", {"query": [1], "items": [[2], [3]]}, "items", "ids", True, 2),
    ("/v1/rerank", {"query": "q", "documents": ["a", "b"]}, "documents", "text", True, 2),
    ("/v1/rerank", {"query": "q", "documents": [[{"type": "text", "text": "a"}]]}, "documents", "text", True, 1),
    ("/v1/tokenize", {"prompt": ["a", "b"]}, "prompt", "text", True, 2),
    ("/tokenize", {"messages": [USER, USER]}, "messages", "conversation", False, 1),
    ("/v1/detokenize", {"tokens": [[1], [2]]}, "tokens", "ids", True, 2),
    ("/v1/chat/completions", {"messages": [USER] * 9, "input_ids": [[1], [2]]}, "messages", "conversation", False, 1),
    ("/v1/messages", {"messages": [USER] * 9}, "messages", "conversation", False, 1),
    ("/v1/responses", {"input": [USER, USER]}, "input", "conversation", False, 1),
    ("/v1/responses", {"input": "a"}, "input", "conversation", False, 1),
    ("/v1/responses", {}, "", "none", False, 1),
    ("/v1/decisions", {"input": [{"type": "text", "text": "a"}]}, "input", "conversation", False, 1),
    ("/opened/by/name", {"prompt": ["a", "b"]}, "prompt", "text", True, 2),
])
def test_the_prompts_of_a_route(path, body, field, kind, listed, count):
    found = shape.of(path, body)
    assert (found.field, found.kind, found.listed, found.count) == (field, kind, listed, count)


FIELDS = {
    "text": ("/generate", "/encode", "/classify"), "prompt": ("/v1/completions", "/v1/tokenize", "/tokenize"),
    "input": ("/v1/embeddings", "/v1/classify", "/v1/responses", "/v1/decisions"), "items": ("/v1/score",),
    "documents": ("/v1/rerank", "/rerank", "/v2/rerank"), "tokens": ("/v1/detokenize", "/detokenize"),
    "messages": ("/invocations", "/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens"),
    "state": ("/v1/systemone",)}


@pytest.mark.parametrize("path, field", [(path, field) for field, paths in FIELDS.items() for path in paths])
def test_a_route_reads_its_own_field_and_no_other(path, field):
    others = {name: ["a"] * 3 for name in (*FIELDS, "input_ids", "input_embeds", "query") if name != field}
    found = shape.of(path, {**others, field: ["x"] * 2})
    assert shape.known(path) and found.field == field and found.values in (["x"] * 2, (["x"] * 2,))
    assert found.beside == (["a"] * 3 if field in ("items", "documents") else None)


@pytest.mark.parametrize("path, fields", [
    ("/generate", ["text", "input_ids", "input_embeds"]),
    ("/encode", ["text", "input_ids", "image_data", "video_data", "audio_data"]),
    ("/classify", ["text", "input_ids", "image_data", "video_data", "audio_data"]),
    ("/tokenize", ["prompt", "messages"]), ("/v1/tokenize", ["prompt", "messages"]),
    ("/invocations", ["messages", "prompt"]),
    ("/opened", ["text", "input_ids", "input_embeds", "prompt", "input", "items", "documents", "tokens", "messages"])])
def test_of_several_fields_the_first_that_is_set_is_read(path, fields):
    for place, field in enumerate(fields):
        body = {**dict.fromkeys(fields[:place]), **dict.fromkeys(fields[place:], "x")}
        assert shape.of(path, body).field == field
    assert shape.of(path, dict.fromkeys(fields)).field == ""


def texts(path, body) -> list[list[str]]:
    return [sorted(prompt) for prompt in shape.of(path, body).texts()]


def media(path, body) -> list[str]:
    return sorted(shape.of(path, body).media())


@pytest.mark.parametrize("part", [
    {"type": "image_url", "image_url": {"url": DATA}}, {"type": "input_image", "image_url": DATA},
    {"type": "image", "source": {"data": DATA}}, {"type": "image", "image": DATA},
    {"type": "video_url", "video_url": {"url": DATA}}, {"type": "audio_url", "audio_url": DATA},
    {"type": "input_audio", "input_audio": {"data": DATA}}, {"type": "input_file", "file_data": DATA},
    {"type": "document", "source": {"type": "base64", "data": DATA}}, {"type": "image_generation_call", "result": DATA},
    {"type": "reasoning", "encrypted_content": DATA}, {"type": "redacted_thinking", "data": DATA},
    {"type": "computer_screenshot", "image_url": DATA}])
def test_media_of_a_content_part_are_no_text(part):
    for body in ({"messages": [{"role": "user", "content": [part]}]},
                 {"messages": [{"content": [{"type": "tool_result", "content": [part]}]}]}):
        assert DATA in media("/v1/chat/completions", body)
        assert DATA not in texts("/v1/chat/completions", body)[0]
    body = {"input": [part, {"type": "function_call_output", "output": [part]}]}
    assert media("/v1/responses", body).count(DATA) == 2


MEDIA_TYPES = ("image", "image_url", "input_image", "video", "video_url", "input_video", "audio", "audio_url",
               "input_audio", "file", "input_file", "document", "computer_screenshot", "image_generation_call",
               "reasoning", "redacted_thinking")
MEDIA_FIELDS = ("image", "image_url", "video", "video_url", "audio", "audio_url", "input_audio", "url", "data",
                "source", "file", "file_data", "file_url", "result", "encrypted_content")


@pytest.mark.parametrize("kind", MEDIA_TYPES)
def test_every_kind_of_media_part_holds_them_in_any_of_their_fields(kind):
    for name in MEDIA_FIELDS:
        body = {"messages": [{"content": [{"type": kind, name: DATA, "detail": "low"}]}]}
        assert media("/v1/chat/completions", body) == [DATA]
        assert texts("/v1/chat/completions", body) == [sorted(["content", "type", kind, name, "detail", "low"])]


@pytest.mark.parametrize("message", [
    {"role": "user", "content": DATA}, {"role": "user", "content": [{"type": "text", "text": DATA}]},
    {"role": "user", "content": [{"type": "text", "image_url": DATA}]},
    {"role": "user", "content": [{"type": {}, "image_url": DATA}, {"type": ["image"], "image": DATA}]},
    {"role": "user", "content": [{"type": "document", "source": {"type": "text", "data": DATA}}]},
    {"role": "user", "content": [{"type": "document", "source": {"type": "content", "content": DATA}}]},
    {"role": "assistant", "tool_calls": [{"function": {"arguments": {"url": DATA}}}]},
    {"role": "assistant", "tool_calls": [{"arguments": {"content": [{"type": "image", "image": DATA}]}}]},
    {"role": "assistant", "content": [{"type": "tool_use", "input": {"type": "image", "data": DATA}}]},
    {DATA: 1}, {"role": "user", "url": DATA}])
def test_what_a_template_writes_out_is_text_wherever_it_stands(message):
    body = {"messages": [message]}
    assert DATA in texts("/v1/chat/completions", body)[0]
    assert media("/v1/chat/completions", body) == []


def test_an_embedding_reads_the_text_of_an_input_and_nothing_else():
    body = {"input": [{"text": "a cat", "image": DATA}, {"video": "b"}, {"text": None, "other": "c"}, "d"]}
    assert texts("/v1/embeddings", body) == [["a cat"], [], [], ["d"]]
    assert media("/v1/embeddings", body) == sorted([DATA, "b", "c"])


def test_what_is_read_with_each_prompt_belongs_to_it():
    assert texts("/v1/score", {"query": "q", "items": ["a", "b"]}) == [["a", "q"], ["b", "q"]]
    assert texts("/v1/rerank", {"query": "q", "documents": ["a"]}) == [["a", "q"]]
    assert texts("/generate", {"query": "q", "text": "a"}) == [["a"]]


def test_ids_embeds_and_pictures_have_no_text():
    assert texts("/generate", {"input_ids": [[1], [2]]}) == []
    assert list(shape.of("/generate", {"input_ids": [[1], [2]]}).ids()) == [[1], [2]]
    assert list(shape.of("/generate", {"input_ids": [1, 2]}).ids()) == [[1, 2]]
    assert list(shape.of("/generate", {"text": ["a"]}).ids()) == []
    assert texts("/generate", {"input_embeds": [[0.5]]}) == []
    assert texts("/encode", {"image_data": [["x"], ["y"]]}) == [[], []]
    assert media("/encode", {"image_data": [["x"], ["y"]]}) == ["x", "y"]


def test_in_a_schema_nothing_is_media_and_names_count():
    schema = [{"type": "image", "image": DATA, "properties": {"data": {"description": "d"}}}]
    assert sorted(text for text, _ in shape.opaque(schema)) == sorted(
        ["type", "image", "image", DATA, "properties", "data", "description", "d"])
    assert not any(is_media for _, is_media in shape.opaque(schema))


def test_a_route_that_the_operator_opened_is_not_known():
    assert shape.known("/generate") and not shape.known("/opened/by/name")
