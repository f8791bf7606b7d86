"""A worker as it is started: what it refuses before any server, and what it makes of what people write."""

import json
import shlex
from pathlib import Path

import pytest

from local.runpod_platform import Platform
from tests.support import LAUNCH
from tests.worker import WorkerProcess, contract_environ

pytestmark = pytest.mark.timeout(120)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"


async def end(**environ) -> tuple[int, str]:
    async with WorkerProcess(None, contract_environ(**environ), "--test_input", '{"input": {"text": "Hi"}}') as worker:
        return await worker.ended(60), worker.output


@pytest.mark.parametrize(("environ", "says"), [
    ({"MODEL_NAME": "/models/absent"}, "MODEL_NAME: /models/absent is no file or folder of this machine"),
    ({"MODEL_NAME": "{folder}"}, "config.json is a Git LFS pointer"),
    ({"MODEL_NAME": "https://huggingface.co/datasets/o/n"}, "is no address of a model"),
    ({"LORA_PATHS": "a=/adapters/absent"}, "LORA_PATHS: /adapters/absent is no file or folder"),
    ({"CHAT_TEMPLATE": "/absent.jinja"}, "CHAT_TEMPLATE=/absent.jinja: is no file of this machine"),
    ({"CUSTOM_CHAT_TEMPLATE": "https://a.b/c.jinja"}, "is an address; set a file, or the template's text itself"),
    ({"CONTEXT_LENGTH": "0"}, "CONTEXT_LENGTH=0: must be at least 1"),
    ({"MAX_MODEL_LEN": "many"}, "CONTEXT_LENGTH=many: must be a whole number"),
    ({"KV_EVENTS_CONFIG": '{"publisher": "zmq"}'}, "open it with ALLOWED_LISTENERS=KV_EVENTS_CONFIG"),
    ({"SGLANG_CONFIG_FILE": "/absent.yaml"}, "SGLANG_CONFIG_FILE=/absent.yaml: cannot be read"),
])
async def test_refused_before_anything_is_started(tmp_path, environ, says):
    (tmp_path / "config.json").write_text(POINTER)
    environ = {name: text.replace("{folder}", str(tmp_path)) for name, text in environ.items()}
    status, output = await end(HOME=str(tmp_path), SGLANG_LAUNCH_COMMAND="touch " + str(tmp_path / "begun"), **environ)
    assert status == 2 and says in output
    assert not (tmp_path / "begun").exists()


async def test_what_people_write_reaches_the_server_as_it_is_meant(tmp_path):
    """One worker with everything odd at once; the server's own command line says what it was given."""
    told = tmp_path / "told"
    launch = f"sh -c 'printf \"%s\\n\" \"$@\" > {told}; exec {LAUNCH} \"$@\"' server"
    environ = contract_environ(
        HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "cache"), SGLANG_LAUNCH_COMMAND=launch,
        MODEL_ID='"https://huggingface.co/org/tiny/tree/v2"', SERVED_MODEL_NAME="gpt-oss:120b", MAX_MODEL_LEN="'2048'",
        CUSTOM_CHAT_TEMPLATE="{{ messages[0]['content'] }}", API_KEY="it's \"a\" k\\ey")
    del environ["MODEL_NAME"]
    async with Platform() as platform, WorkerProcess(platform, environ) as worker:
        await worker.connected()
        words = told.read_text().splitlines()
        given = {flag: words[words.index(flag) + 1] for flag in (
            "--model-path", "--revision", "--served-model-name", "--context-length", "--chat-template", "--api-key")}
        template = given.pop("--chat-template")
        assert given == {"--model-path": "org/tiny", "--revision": "v2", "--served-model-name": "gpt-oss-120b",
                         "--context-length": "2048", "--api-key": environ["API_KEY"]}
        assert template.startswith(str(tmp_path / "cache"))
        assert Path(template).read_text() == "{{ messages[0]['content'] }}"
        for name in ("gpt-oss-120b", "gpt-oss:120b", "org/tiny"):
            job = await platform.submit({"openai_route": "/v1/chat/completions", "openai_input": {
                "model": name, "messages": [{"role": "user", "content": "Hello"}]}})
            assert (await job.finished()).status == "COMPLETED", name
        lines = worker.output
    for line in ("MODEL_ID is set in quotes, which are taken off", "MODEL_ID is read as MODEL_NAME",
                 "MODEL_NAME: org/tiny is read from the address", "served as gpt-oss-120b: in gpt-oss:120b the colon",
                 "MAX_MODEL_LEN is read as CONTEXT_LENGTH", "CHAT_TEMPLATE is a template's text: written to"):
        assert line in lines, line
    for spelling in (environ["API_KEY"], repr(environ["API_KEY"]), json.dumps(environ["API_KEY"]),
                     shlex.quote(environ["API_KEY"])):
        assert spelling.strip("'\"") not in lines


async def test_a_failed_start_says_how_far_it_had_come():
    life = {"exit_after": 1, "bind_delay": 60, "log": ["[t] Load weight begin. avail mem=1 GB", "RuntimeError: nobody"]}
    status, output = await end(SCRIPTED_ENGINE_LIFE=json.dumps(life))
    assert status == 1
    assert "What to do: The cause is not known here. It ended while it loaded the weights (MODEL_NAME" in output
