"""Parts of messages in the words of other APIs are what the chat route reads."""

import pytest

from job import media, routes
from job.routes import Context
from utils import JobError

PLAIN = Context("tiny", "org/tiny")
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def contents(path, message):
    body = routes.plan({"openai_route": path, "openai_input": {"messages": [message], "max_tokens": 9}}, PLAIN,
        "x").body
    return body["messages"][0]["content"]


@pytest.mark.parametrize("part, read", [
    ({"type": "input_text", "text": "a"}, {"type": "text", "text": "a"}),
    ({"type": "output_text", "text": "a", "annotations": []}, {"type": "text", "text": "a"}),
    ({"type": "refusal", "refusal": "no"}, {"type": "text", "text": "no"}),
    ("a", {"type": "text", "text": "a"}),
    ({"type": "image_url", "image_url": PIXEL}, {"type": "image_url", "image_url": {"url": PIXEL}}),
    ({"type": "image_url", "image_url": {"url": PIXEL, "detail": "original"}},
     {"type": "image_url", "image_url": {"url": PIXEL}}),
    ({"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
     {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}),
    ({"type": "input_image", "image_url": PIXEL, "detail": "auto"},
     {"type": "image_url", "image_url": {"url": PIXEL, "detail": "auto"}}),
    ({"type": "input_image", "image_url": PIXEL}, {"type": "image_url", "image_url": {"url": PIXEL}}),
    ({"type": "image", "image": PIXEL}, {"type": "image_url", "image_url": {"url": PIXEL}}),
    ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
     {"type": "image_url", "image_url": {"url": PIXEL}}),
    ({"type": "image", "source": {"type": "url", "url": PIXEL}}, {"type": "image_url", "image_url": {"url": PIXEL}}),
    ({"type": "video_url", "video_url": "https://x/y.mp4"}, {"type": "video_url", "video_url": {"url": "https://x/y.mp4"}}),
    ({"type": "file", "file": {"file_id": "x"}}, {"type": "file", "file": {"file_id": "x"}}),  # the engine says no
    ({"type": "text", "text": "a"}, {"type": "text", "text": "a"}), (5, 5), (None, None),
    *((part, part) for part in ({"type": []}, {"type": {}}, {}, {"type": "image_url", "image_url": 5},
                                {"type": "image", "source": 5}, {"type": "image", "source": {"data": 5}},
                                {"type": "input_text", "text": 5}))], ids=str)
def test_a_part_of_a_chat(part, read):
    assert contents("/v1/chat/completions", {"role": "user", "content": [part]}) == [read]


def test_the_images_of_a_message_are_parts_of_it():
    message = {"role": "user", "content": "What is it?", "images": ["iVBORw0KGgoAAAAN", "https://x/y.png"]}
    assert contents("/v1/chat/completions", message) == [
        {"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "iVBORw0KGgoAAAAN"}},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]
    assert contents("/v1/chat/completions", {**message, "images": None}) == "What is it?"
    with pytest.raises(JobError, match="images"):
        contents("/v1/chat/completions", {**message, "images": "x"})


def test_media_in_whatever_part_are_found():
    for part in ({"type": "image_url", "image_url": "http://10.0.0.1/x"}, {"type": "image", "image": "file:///etc/passwd"},
                 {"type": "input_image", "image_url": "/etc/passwd"}):
        body = {"messages": [{"role": "user", "content": contents("/v1/chat/completions",
                                                                  {"role": "user", "content": [part]})}]}
        try:
            assert media.find("/v1/chat/completions", body).references
        except JobError as error:
            assert "image_url" in error.param


def test_a_document_that_is_a_text_is_read_as_one():
    block = {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "abc"}}
    texts = [{"type": "text", "text": "T"}, {"type": "text", "text": "abc"}]
    assert contents("/v1/messages", {"role": "user", "content": [block]}) == texts
    result = {"type": "tool_result", "tool_use_id": "t", "content": [block]}
    assert contents("/v1/messages", {"role": "user", "content": [result]}) == [{**result, "content": texts}]
    parts = {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "x"}]}}
    assert contents("/v1/messages", {"role": "user", "content": [parts]}) == [{"type": "text", "text": "x"}]
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
    assert contents("/v1/messages", {"role": "user", "content": [pdf]}) == [pdf]  # the engine says no
