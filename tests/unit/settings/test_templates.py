"""CHAT_TEMPLATE as a name, a file, a text or an address."""

import json
import os
import stat
from pathlib import Path

import pytest

from settings import config, flags, model_source, templates
from tests.hub_folders import MODEL

SNAPSHOT = json.loads((Path(__file__).parents[3] / "builder" / "flags.json").read_text(encoding="utf-8"))
INLINE = "{% for m in messages %}<|{{ m['role'] }}|>{{ m.content }}\n{% endfor %}"
JSON = {"name": "own", "system": "", "user": "u", "assistant": "a", "sep_style": "CHATML", "stop_str": "x"}


@pytest.fixture
def environ(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    for name, content in MODEL.items():
        (folder / name).write_bytes(content)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return {"HOME": str(tmp_path), "MODEL_NAME": str(folder)}


def locate(environ, **more) -> config.Settings:
    environ = {**environ, **more}
    return model_source.locate(config.load(environ, SNAPSHOT, None, "python3"), SNAPSHOT, environ)


def template(settings) -> str | None:
    return flags.Given(list(settings.server_args), SNAPSHOT).value("--chat-template")


def problem(environ, **more) -> str:
    with pytest.raises(config.ConfigError) as caught:
        locate(environ, **more)
    (line,) = caught.value.problems
    return line


@pytest.mark.parametrize("text", [INLINE, "{{ messages }}", "{#- mine -#}{{ bos_token }}", "a {{ messages[0] }}"])
def test_a_text_becomes_a_file_of_this_user(environ, tmp_path, text):
    settings = locate(environ, CHAT_TEMPLATE=text)
    path = Path(template(settings))
    assert path.read_text() == text.strip() and path.suffix == ".jinja"
    assert path.parent == tmp_path / "cache" / "worker-sglang" / "templates"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700 and len(os.listdir(path.parent)) == 1
    assert ("info", f"CHAT_TEMPLATE is a template's text: written to {path}") in settings.notices
    assert settings.apply_chat_template
    assert template(locate(environ, CHAT_TEMPLATE=text)) == str(path) and len(os.listdir(path.parent)) == 1


def test_a_text_is_written_elsewhere_where_the_home_cannot(environ, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("")
    path = Path(template(locate(environ, CHAT_TEMPLATE=INLINE)))
    assert path.read_text() == INLINE.strip() and not path.is_relative_to(tmp_path / "cache")


def test_a_text_that_cannot_be_written_at_all(environ, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(templates.tempfile, "NamedTemporaryFile", full)
    assert "cannot be read, or written to a file" in problem(environ, CHAT_TEMPLATE=INLINE)


def test_names_and_files_that_the_server_takes_stay(environ, tmp_path):
    (tmp_path / "a.jinja").write_text(INLINE)
    (tmp_path / "a.json").write_text(json.dumps(JSON))
    for text in ("chatml", str(tmp_path / "a.jinja"), str(tmp_path / "a.json")):
        assert template(locate(environ, CHAT_TEMPLATE=text)) == text
        assert template(locate(environ, SGLANG_EXTRA_ARGS=f"--chat-template {text}")) == text
    assert template(locate(environ)) is None


@pytest.mark.parametrize("name", ["template.txt", "template.j2", "chat.jinja2", "template"])
def test_a_file_of_another_name_is_copied(environ, tmp_path, name):
    (tmp_path / name).write_text(INLINE)
    settings = locate(environ, CHAT_TEMPLATE=str(tmp_path / name))
    assert Path(template(settings)).read_text() == INLINE and template(settings).endswith(".jinja")
    assert any(f"so {tmp_path / name} was copied to" in line for _, line in settings.notices)


def test_what_no_server_could_load_is_refused(environ, tmp_path):
    (tmp_path / "empty.jinja").write_text("")
    (tmp_path / "lfs.jinja").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    (tmp_path / "cut.json").write_text("{")
    (tmp_path / "other.json").write_text('{"name": "x", "chat_template": "{{ }}"}')
    for name in ("latin", "latin.jinja"):
        (tmp_path / name).write_bytes(b"{{ \xe9 }}")
    for text, says in [
        ("/no/such.jinja", "is no file of this machine, and no template's text"),
        ("no/such.jinja", "is no file of this"),
        ("https://example.com/t.jinja", "is an address; set a file, or the template's text itself"),
        (str(tmp_path), "is no file"), (str(tmp_path / "empty.jinja"), "empty.jinja is empty"),
        (str(tmp_path / "lfs.jinja"), "lfs.jinja is a Git LFS pointer"),
        (str(tmp_path / "cut.json"), "is no JSON object"),
        (str(tmp_path / "other.json"), "lacks system, user, assistant, sep_style, stop_str, which SGLang reads"),
        (str(tmp_path / "latin"), "cannot be read"), (str(tmp_path / "latin.jinja"), "cannot be read"),
    ]:
        line = problem(environ, CHAT_TEMPLATE=text)
        assert line.startswith("CHAT_TEMPLATE=") and f": {says}" in line, line
    assert problem(environ, COMPLETION_TEMPLATE="/no/such.json").startswith("COMPLETION_TEMPLATE=/no/such.json: is no")
    (tmp_path / "x.yaml").touch()
    file = str(tmp_path / "x.yaml")
    assert problem(environ, CHAT_TEMPLATE="/no/x.jinja", SGLANG_CONFIG_FILE=file).startswith("CHAT_TEMPLATE=")


def test_a_word_that_is_no_template_is_refused_with_the_list(environ):
    assert "must be a path, or one of chatml," in problem(environ, CHAT_TEMPLATE="chatmI")
