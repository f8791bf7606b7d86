"""Which texts of a body name media, what each is sorted as, and how they are replaced."""

import base64
import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job.media import find, replaced, spelled
from utils import JobError

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(41)).decode()
URL = "https://host.example/a.png?sig=1"


def part(kind, value):
    return {"type": kind, kind: value}


def chat(*parts):
    return {"messages": [{"role": "system", "content": "Be brief."},
                         {"role": "user", "content": [{"type": "text", "text": "https://no.example"}, *parts]}]}


# (route, body, where each medium stands); every value there is URL
SHAPES = [
    ("/v1/chat/completions", chat(part("image_url", {"url": URL, "detail": "low"})),
     ["messages[1].content[1].image_url.url"]),
    ("/v1/chat/completions", chat(part("image_url", URL)), ["messages[1].content[1].image_url"]),
    ("/v1/chat/completions", chat(part("video_url", {"url": URL, "fps": 2, "max_frames": 8})),
     ["messages[1].content[1].video_url.url"]),
    ("/v1/chat/completions", chat(part("audio_url", {"url": URL})), ["messages[1].content[1].audio_url.url"]),
    ("/v1/chat/completions", chat(part("input_audio", {"data": URL, "format": "wav"})),
     ["messages[1].content[1].input_audio.data"]),
    ("/v1/chat/completions", chat(part("image_url", {"url": URL}), part("image_url", {"url": URL})),
     ["messages[1].content[1].image_url.url", "messages[1].content[2].image_url.url"]),
    ("/v1/chat/completions", {"messages": [{"role": "tool", "tool_call_id": "1",
                                            "content": [part("image_url", {"url": URL})]}]},
     ["messages[0].content[0].image_url.url"]),
    ("/invocations", chat(part("image_url", {"url": URL})), ["messages[1].content[1].image_url.url"]),
    ("/tokenize", chat(part("image_url", {"url": URL})), ["messages[1].content[1].image_url.url"]),
    ("/v1/messages", chat({"type": "image", "source": {"type": "url", "url": URL}}),
     ["messages[1].content[1].source.url"]),
    ("/v1/messages", chat({"type": "image", "source": {"url": URL}}), ["messages[1].content[1].source.url"]),
    ("/v1/messages", chat({"type": "image", "source": {"type": "base64", "url": URL}}),
     ["messages[1].content[1].source.url"]),
    ("/v1/messages", chat({"type": "document", "source": {"type": "url", "url": URL}}),
     ["messages[1].content[1].source.url"]),
    ("/v1/messages", chat({"type": "tool_result", "tool_use_id": "1", "content": [
        {"type": "text", "text": "seen"}, {"type": "image", "source": {"type": "url", "url": URL}}]}),
     ["messages[1].content[1].content[1].source.url"]),
    ("/v1/messages/count_tokens", chat({"type": "image", "source": {"type": "url", "url": URL}}),
     ["messages[1].content[1].source.url"]),
    ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": URL}]}]},
     ["input[0].content[0].image_url"]),
    ("/v1/responses", {"input": [{"role": "user", "content": [part("input_image", 0) | {"image_url": {"url": URL}}]}]},
     ["input[0].content[0].image_url.url"]),
    ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": URL}]}]},
     ["input[0].content[0].file_url"]),
    ("/v1/responses", {"input": [{"type": "function_call_output", "call_id": "c",
                                  "output": [{"type": "input_image", "image_url": URL}]}]},
     ["input[0].output[0].image_url"]),
    ("/v1/responses", {"input": [{"type": "computer_call_output", "call_id": "c",
                                  "output": {"type": "computer_screenshot", "image_url": URL}}]},
     ["input[0].output.image_url"]),
    ("/v1/embeddings", {"input": [{"text": "a", "image": URL}, {"video": URL}]}, ["input[0].image", "input[1].video"]),
    ("/v1/rerank", {"query": [part("image_url", {"url": URL})],
                    "documents": ["https://no.example", [part("image_url", {"url": URL}), part("video_url", URL)]]},
     ["query[0].image_url.url", "documents[1][0].image_url.url", "documents[1][1].video_url"]),
    ("/v1/score", {"query": "a", "items": [[part("image_url", {"url": URL})]]}, ["items[0][0].image_url.url"]),
    ("/v1/decisions", {"input": {"image": URL}, "images": [URL, {"url": URL, "detail": "high"}]},
     ["images[0]", "images[1].url"]),
    ("/v1/systemone", {"state": {"image_url": URL}, "images": [URL]}, ["images[0]"]),
    ("/vertex_generate", {"instances": [{"text": "a", "image_data": URL}]}, ["instances[0].image_data"]),
    *[(route, {"text": "https://no.example", field: value}, [field + at])
      for route in ("/generate", "/encode", "/classify") for field in ("image_data", "video_data", "audio_data")
      for value, at in ((URL, ""), ([URL], "[0]"), ([[URL]], "[0][0]"), ({"url": URL, "detail": "auto"}, ".url"),
                        ([None, [{"image": URL}]], "[1][0].image"), ([{"video_path": URL, "fps": 1}], "[0].video_path"),
                        ([{"settings": {"deep": URL}}], "[0].settings.deep"),
                        ([{"format": {"x": URL}}], "[0].format.x"))],
]


@pytest.mark.parametrize(("route", "body", "places"), SHAPES, ids=lambda value: value if isinstance(value, str) else "")
def test_every_route_and_shape(route, body, places):
    before = copy.deepcopy(body)
    found = find(route, body)
    assert sorted(reference.field for reference in found.references) == sorted(places)
    assert {(reference.kind, reference.name) for reference in found.references} == {("address", URL)}
    new = replaced(body, {reference.at: f"data:{reference.field}" for reference in found.references})
    assert body == before
    assert find(route, new).references == []  # nothing was left, and everything lies where it was
    text = str(new)
    assert URL not in text or route in ("/v1/decisions", "/v1/systemone")
    assert all(f"data:{place}" in text for place in places)


@pytest.mark.parametrize(("route", "body"), [
    ("/v1/chat/completions", chat({"type": "text", "text": "http://127.0.0.1"})),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "http://127.0.0.1/a.png"}]}),
    ("/v1/chat/completions", {"messages": [{"role": "assistant", "content": None, "audio": {"id": "audio.1"},
                                            "tool_calls": [{"id": "1", "type": "function", "function": {
                                                "name": "see", "arguments": "{\"image_url\": \"/etc/passwd\"}"}}]}]}),
    ("/v1/messages", chat({"type": "tool_use", "id": "1", "name": "see", "input": {"image_url": "/etc/passwd"}})),
    ("/v1/messages", chat({"type": "search_result", "source": {"url": "http://127.0.0.1"}, "title": "t"})),
    ("/v1/messages", chat({"type": "search_result", "source": "http://127.0.0.1", "title": "t"})),
    ("/v1/messages", chat({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}})),
    ("/v1/responses", {"input": "http://127.0.0.1/", "instructions": "file:///etc/passwd"}),
    ("/v1/responses", {"input": [{"type": "function_call", "arguments": "{\"url\": \"http://127.0.0.1\"}"}]}),
    ("/v1/embeddings", {"input": ["http://127.0.0.1", "/etc/passwd"]}),
    ("/v1/decisions", {"input": {"image_url": "http://127.0.0.1"}, "questions": []}),
    ("/v1/completions", {"prompt": "http://127.0.0.1"}),
    ("/generate", {"text": "file:///etc/passwd", "image_data": None}),
    ("/generate", {"text": "a", "image_data": [], "video_data": "", "audio_data": [None, ""]}),
    ("/generate", {"text": "a", "image_data": f"data:image/png;base64,{PNG}"}),
    ("/generate", {"text": "a", "image_data": {"format": "processor_output", "pixel_values": [[0.5]], "grid": [1]}}),
    ("/generate", {"text": "a", "video_data": {"url": f"data:video/mp4;base64,{PNG}", "settings": {
        "resample": "bicubic", "fps": "2"}}}),
    ("/generate", {"input_ids": [1, 2], "sampling_params": {"stop": "http://x"}}),
    ("/v1/chat/completions", {"messages": "http://127.0.0.1"}),
    ("/v1/chat/completions", {"messages": [None, 1, "x", {"role": "user"}, {"content": [None, 1, "x"]}]}),
])
def test_texts_and_inline_media_stay(route, body):
    found = find(route, body)
    assert (found.references, found.changes) == ([], {})


REFUSED = [
    "/etc/passwd", "file:///etc/passwd", "FILE:///etc/passwd", "file:/etc/passwd", "file://localhost/etc/passwd",
    "file:etc/passwd", "file://10.0.0.1/share/a.png", "\x00/etc/passwd", " file:///etc/passwd", "../secret.png",
    "./a.png", "~/a.png", "photo.jpg", "%2Fetc%2Fpasswd", "ftp://host/a.png", "gopher://127.0.0.1:6379/_x",
    "rtmp://10.0.0.1/etc/passwd", "concat:/etc/passwd|/etc/hosts", "subfile,,start,0,end,9,,:/etc/passwd",
    "video:/etc/passwd", "jar:file:///a!/b", "blob:https://host/1", "s3://bucket/key", "hf://org/model", "//host/a.png",
    "\\\\host\\share\\a.png", "javascript:alert(1)", "ｈｔｔｐ://127.0.0.1/", "\u3000http://127.0.0.1/", "not base64!",
]


@pytest.mark.parametrize("text", REFUSED)
@pytest.mark.parametrize(("route", "body_of", "field"), [
    ("/v1/chat/completions", lambda text: chat(part("image_url", {"url": text})),
     "messages[1].content[1].image_url.url"),
    ("/v1/messages", lambda text: chat({"type": "image", "source": {"type": "url", "url": text}}),
     "messages[1].content[1].source.url"),
    ("/generate", lambda text: {"text": "a", "video_data": [{"url": text}]}, "video_data[0].url"),
    ("/v1/embeddings", lambda text: {"input": [{"image": text}]}, "input[0].image"),
])
def test_files_and_other_schemes_are_refused(route, body_of, field, text):
    with pytest.raises(JobError) as caught:
        find(route, body_of(text))
    assert (caught.value.code, caught.value.param) == (400, field)
    assert f"`{field}`" in caught.value.message and "ALLOWED_MEDIA_FOLDERS" in caught.value.message
    assert "passwd" not in caught.value.message


def test_an_unknown_key_that_holds_an_address_is_not_overlooked():
    body = {"text": "a", "video_data": {"url": f"data:video/mp4;base64,{PNG}", "proxy": "http://10.0.0.1/"}}
    assert [r.field for r in find("/generate", body).references] == ["video_data.proxy"]
    with pytest.raises(JobError):
        find("/generate", {"text": "a", "video_data": {"anything": "/etc/passwd"}})


@pytest.mark.parametrize(("text", "kind"), [
    (PNG, "image/png"), (JPEG, "image/jpeg"), ("QUJD", "application/octet-stream")])
def test_plain_base64_can_not_be_taken_for_a_path(text, kind):
    assert text is not JPEG or text.startswith("/9j/")
    found = find("/generate", {"text": "a", "image_data": [text]})
    assert found.changes == {("image_data", 0): f"data:{kind};base64,{text}"}


def test_large_base64_is_looked_at_from_both_ends():
    text = "QUJD" * 100_000
    assert find("/generate", {"image_data": text}).changes
    for wrong in ("!" + text[1:], text[:-1] + "!"):
        with pytest.raises(JobError):
            find("/generate", {"image_data": wrong})


def test_the_scheme_of_inline_media_is_written_as_the_engine_reads_it():
    found = find("/generate", {"text": "a", "image_data": f"  DATA:image/png;base64,{PNG}\n"})
    assert found.changes == {("image_data",): f"data:image/png;base64,{PNG}"}


@pytest.mark.parametrize(("data", "after"), [
    (PNG, None), (f"data:audio/wav;base64,{PNG}", PNG), ("", None)])
def test_inline_audio_takes_base64_alone(data, after):
    found = find("/v1/chat/completions", chat(part("input_audio", {"data": data, "format": "wav"})))
    assert list(found.changes.values()) == ([after] if after else [])
    assert found.references == []


def test_inline_audio_by_address_is_bare():
    [reference] = find("/v1/chat/completions", chat(part("input_audio", {"data": URL, "format": "wav"}))).references
    assert reference.bare


PLAYLISTS = [b"#EXTM3U\n#EXTINF:1,\nhttp://169.254.169.254/\n", b"\n #extm3u\n\0\0", b"ffconcat version 1.0\nfile /x",
             b"<?xml version='1.0'?><MPD xmlns='urn'>", b"v=0\r\no=- 0 0 IN IP4 10.0.0.1\r\n",
             b"<CompositionPlaylist/>", b"s=x\nc=IN IP4 10.0.0.1\n", b"ID3\x04\0\0\0\0\0\x02xx#EXTM3U\nhttp://10.0.0.1/",
             b"%!PS-Adobe-3.0 EPSF"]


@pytest.mark.parametrize("content", PLAYLISTS)
@pytest.mark.parametrize("field", ["image_data", "video_data", "audio_data"])
def test_inline_playlists_are_refused(field, content):
    for text in (base64.b64encode(content), b"data:video/mp4;base64," + base64.b64encode(content),
                 b"data:image/png," + base64.b64encode(content).rstrip(b"=")):
        text = text.decode()
        if not text.startswith("data:") and len(text) % 4:
            continue
        with pytest.raises(JobError, match="playlist"):
            find("/generate", {"text": "a", field: [text]})


def test_playlists_with_what_is_no_base64_in_between_are_refused():
    plain = base64.b64encode(PLAYLISTS[0]).decode()
    for text in (plain[:9] + "\n" + plain[9:], "!" + plain, plain[:4] + "," + plain[4:]):
        with pytest.raises(JobError, match="playlist"):
            find("/generate", {"video_data": "data:video/mp4;base64," + text})
    long = base64.b64encode(PLAYLISTS[0] + b"#" * 2**22).decode()
    with pytest.raises(JobError, match="playlist"):
        find("/generate", {"video_data": "data:video/mp4;base64,!" + long})


@pytest.mark.parametrize("content", [
    b"<?xml?>" + b" " * 50_000 + b"<MPD>", b"ID3\x04\0\0\0\0\x7f\x00" + bytes(0x3F80) + b"#EXTM3U\n"])
def test_playlists_that_tell_late_what_they_are_are_refused(content):
    with pytest.raises(JobError, match="playlist"):
        find("/generate", {"video_data": "data:video/mp4;base64," + base64.b64encode(content).decode()})


@pytest.mark.parametrize(("text", "path"), [
    ("/media/a.png", "/media/a.png"), ("file:///media/b/a%20b.png", "/media/b/a b.png"),
    ("File:/media/a.png", "/media/a.png"), ("file://localhost/media/a.png", "/media/a.png"),
    ("/media/x/../a.png", "/media/a.png")])
def test_files_of_an_opened_folder(text, path):
    [reference] = find("/generate", {"image_data": text}, ("/media", "/other/")).references
    assert (reference.kind, reference.name) == ("file", path)


@pytest.mark.parametrize("text", [
    "/etc/passwd", "/media", "/media/", "/media/../etc/passwd", "/mediaother/a.png", "file:///media/%2e%2e/etc/passwd",
    "file:///media/..%2fetc%2fpasswd", "file://host/media/a.png", "//media/a.png", "media/a.png", "/media\\a.png"])
def test_files_beside_an_opened_folder_are_refused(text):
    with pytest.raises(JobError, match="ALLOWED_MEDIA_FOLDERS"):
        find("/generate", {"image_data": text}, ("/media",))


SPACES = st.text(st.sampled_from(" \t\r\n\x00\x0b\x1f"), max_size=3)


@given(before=SPACES, after=SPACES, scheme=st.sampled_from(["http", "https"]), capitals=st.integers(0, 31),
       rest=st.text(st.characters(exclude_characters=""), max_size=60))
def test_every_spelling_of_an_address_goes_to_the_one_check(before, after, scheme, capitals, rest):
    scheme = "".join(c.upper() if capitals >> i & 1 else c for i, c in enumerate(scheme))
    text = f"{before}{scheme}:{rest}{after}"
    found = find("/generate", {"image_data": text})
    assert [reference.kind for reference in found.references] == ["address"] and not found.changes


@given(text=st.text(max_size=80) | st.text(st.sampled_from("filehtpdas:/.%20 \t\\x"), max_size=40))
def test_whatever_is_sent_names_nothing_that_the_engine_opens(text):
    body = {"text": "a", "image_data": [text], "video_data": {"url": text}, "audio_data": text}
    try:
        found = find("/generate", body)
    except JobError as error:
        assert error.code == 400 and error.param
        return
    known = {reference.at for reference in found.references}
    sent = replaced(body, found.changes)
    for at, value in ((("image_data", 0), sent["image_data"][0]), (("video_data", "url"), sent["video_data"]["url"]),
                      (("audio_data",), sent["audio_data"])):
        assert at in known or value.startswith("data:") or not value.strip("".join(map(chr, range(0x21))))


def test_replacing_copies_what_changes_and_no_more():
    body = {"messages": [{"content": [{"image_url": {"url": "a"}}, {"text": "t"}]}, {"content": "x"}], "n": {"k": 1}}
    before = copy.deepcopy(body)
    new = replaced(body, {("messages", 0, "content", 0, "image_url", "url"): "b"})
    assert body == before
    assert new["messages"][0]["content"][0]["image_url"]["url"] == "b"
    assert new["messages"][1] is body["messages"][1] and new["n"] is body["n"]
    assert new["messages"][0]["content"][1] is body["messages"][0]["content"][1]


def test_places_are_spelled_as_a_caller_writes_them():
    assert spelled(("messages", 0, "content", 12, "image_url", "url")) == "messages[0].content[12].image_url.url"
