"""The worker's log, its masking of secrets, and its one error shape."""

import html
import json
import re
import shlex
import threading
from urllib.parse import quote, quote_plus, urlencode

import pytest

import utils
from utils import JobError


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(utils, "_state", {"level": utils.LEVELS["info"], "secrets": ()})
    monkeypatch.delenv("RUNPOD_ENDPOINT_ID", raising=False)


@pytest.fixture
def platform(monkeypatch):
    monkeypatch.setenv("RUNPOD_ENDPOINT_ID", "endpoint")


# --- log ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("level, job_id, line", [
    ("info", None, "INFO  | hello é\n"), ("warn", "job-1", "WARN  | job-1 | hello é\n"),
    ("error", "", "ERROR | hello é\n"),
])
def test_log_in_a_terminal(capsys, level, job_id, line):
    utils.log("hello é", level, job_id)
    assert capsys.readouterr().out == line


@pytest.mark.parametrize("message", ["hello é", "two\nlines", 'a "quote"', "\ud800", ""])
def test_log_on_the_platform(capsys, platform, message):
    utils.log(message, "warn", "job-1")
    utils.log(message)
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first) == {"requestId": "job-1", "message": message, "level": "WARN"}
    assert json.loads(second) == {"requestId": None, "message": message, "level": "INFO"}


@pytest.mark.parametrize("threshold, shown", [
    ("debug", ["debug", "info", "warn", "error"]), ("info", ["info", "warn", "error"]), ("warn", ["warn", "error"]),
    ("error", ["error"]),
])
def test_log_level(capsys, platform, threshold, shown):
    utils.set_log_level(threshold)
    for level in utils.LEVELS:
        utils.log("x", level)
    assert [json.loads(line)["level"] for line in capsys.readouterr().out.splitlines()] == [s.upper() for s in shown]


def test_lines_of_several_threads_stay_whole(capsys):
    def write(name):
        for _ in range(50):
            utils.log(name * 200)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = capsys.readouterr().out.splitlines()
    assert sorted(lines) == sorted(f"INFO  | {name * 200}" for name in "abcd" for _ in range(50))


# --- secrets ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("secrets, text, shown", [
    (["hf_token"], "key hf_token!", "key ***!"),
    (["hf_token"], "hf_token hf_token", "*** ***"),
    (["hf_token", "sk-key"], "hf_token,sk-key", "***,***"),
    # one secret inside another, in whichever order they became known
    (["abcd", "abcdef"], "abcdef abcd", "*** ***"), (["abcdef", "abcd"], "abcdef abcd", "*** ***"),
    (["cdef", "abcdef"], "abcdef", "***"), (["bcde", "abcdef"], "abcdef", "***"),
    (["ключ模🙂"], "a ключ模🙂 b", "a *** b"), (["a.c*"], "abcc a.c*", "abcc ***"),
    # too short to hide anything, or nothing at all
    (["abc", "a", "", None], "abc a", "abc a"), ([], "abc", "abc"), (["hf_token"], "", ""),
])
def test_redact(secrets, text, shown):
    utils.hide(secrets)
    assert utils.redact(text) == shown


ODD_KEYS = ["pa\\ss'word-1234", "gehe\nim-1234", "schl\u00fcssel-1234", "a'b\"c-123456", "a b/c?d%e&f=g+h",
            "<key>&1234", "tab\there", "\U0001f511-secret", "C:\\new\\table", "per%cent", "plain-key-1234"]


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


@pytest.mark.parametrize("key", ODD_KEYS)
@pytest.mark.parametrize("printed", [
    str, repr, ascii, lambda key: json.dumps({"api_key": key}), lambda key: json.dumps([key], ensure_ascii=False),
    lambda key: repr({"api_key": key, "other": "it's"}), lambda key: repr(f"Bearer {key} 'quoted' \"twice\""),
    lambda key: repr(key.encode()), lambda key: json.dumps(repr({"k": key})), lambda key: repr(json.dumps({"k": key})),
    lambda key: json.dumps(json.dumps({"k": key})), quote, lambda key: quote(key, safe=""), quote_plus,
    lambda key: urlencode({"key": key}).lower() if key.islower() else urlencode({"key": key}),
    lambda key: json.dumps(key).replace("/", "\\/"),
    # as Go, a page with JSON in it, .NET, Jinja, and bash (printf %q, its trace, double quotes) write
    lambda key: re.sub("[<>&]", _escape, json.dumps(key, ensure_ascii=False)),
    lambda key: re.sub("[<>&']", _escape, json.dumps(key)),
    lambda key: re.sub(r"(?<=\\u)[0-9a-f]{4}", lambda found: found[0].upper(), json.dumps(key)),
    lambda key: html.escape(key).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
    lambda key: re.sub(r"([^\w@%+=:,./-])", r"\\\1", key), lambda key: "'" + key.replace("'", "'\\''") + "'",
    lambda key: '"' + re.sub(r'(["$`\\])', r"\\\1", key) + '"',
    html.escape, shlex.quote, lambda key: shlex.join(["--api-key", key]),
], ids=lambda printed: getattr(printed, "__name__", "x"))
def test_a_secret_is_found_however_it_is_printed(key, printed):
    utils.hide([key])
    shown = utils.redact(f"before {printed(key)} after")
    for part in key.replace("\n", " ").replace("\\", " ").replace("'", " ").replace('"', " ").split():
        if len(part) > 3:
            assert part not in shown, shown
    assert "***" in shown and shown.startswith("before ") and shown.endswith(" after")


def test_each_line_of_a_secret_of_several_is_hidden_by_itself():
    key = "-----BEGIN KEY-----\nabcdefghijklmnop+/=\nshort\nqrstuvwxyz012345\n-----END KEY-----\n"
    utils.hide([key])
    for line in ("-----BEGIN KEY-----", "abcdefghijklmnop+/=", "  qrstuvwxyz012345", "abcdefghijklmnop%2B%2F%3D"):
        assert utils.redact(f"{line}!").strip() == "***!"
    assert utils.redact("short!") == "short!"
    assert utils.redact(f"key: {key!r}") == "key: '***'"


@pytest.mark.parametrize(("text", "shown"), [
    ("api_key='k9'", "api_key='***'"), ('{"api_key": "k9"}', '{"api_key": "***"}'), ("--api-key k9", "--api-key ***"),
    ("API_KEY=k9 and", "API_KEY=*** and"), ("Authorization: Bearer k9", "Authorization: Bearer ***"),
    ("password : k9,", "password : ***,"), ("DB_PASSWORD_2=k9", "DB_PASSWORD_2=***"),
    (r'\"token\": \"k9\"', r'\"token\": \"***\"'),
    ("k9 things", "k9 things"), ("key=k99", "key=k99"), ("the k9", "the k9"), ("monkey k9", "monkey ***"),
])
def test_a_short_secret_is_hidden_where_it_is_named(text, shown):
    utils.hide(["k9"])
    assert utils.redact(text) == shown


def test_a_plain_secret_costs_one_look():
    assert utils.spellings("hf_abcdefgh12345678") == {"hf_abcdefgh12345678"}


def test_secrets_add_up():
    utils.hide(["first"])
    utils.hide(["first-and-more", "other"])
    utils.hide([])
    assert utils.redact("first first-and-more other") == "*** *** ***"


@pytest.mark.parametrize("endpoint", [None, "endpoint"])
def test_log_hides_secrets(capsys, monkeypatch, endpoint):
    if endpoint:
        monkeypatch.setenv("RUNPOD_ENDPOINT_ID", endpoint)
    utils.hide(['se"cr\\et é'])
    utils.log('the key is se"cr\\et é')
    out = capsys.readouterr().out
    assert "the key is ***" in out and "cr" not in out


# --- the one error shape ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("error, expected", [
    (JobError("No."), {"message": "No.", "type": "invalid_request_error", "param": None, "code": 400}),
    (JobError('é "x"\n', type="not_found_error", param="model", code=404),
     {"message": 'é "x"\n', "type": "not_found_error", "param": "model", "code": 404}),
    (JobError("", code=500), {"message": "", "type": "invalid_request_error", "param": None, "code": 500}),
])
@pytest.mark.parametrize("job_id", ["job-1", None])
def test_job_error(error, expected, job_id):
    assert json.loads(error.to_json(job_id)) == {**expected, "job_id": job_id}
    assert str(error) == error.message


def test_job_error_hides_secrets():
    utils.hide(['k"ey\\1'])
    assert json.loads(JobError('wrong k"ey\\1').to_json("j"))["message"] == "wrong ***"
