"""The image's download step with the real huggingface_hub, against a small hub on loopback; and a worker with a real
SGLang on what it left, and on RunPod's cache, without any hub.

Runs where SGLang is: the base image's Python, which has huggingface_hub, is the engine's environment here.
"""

import hashlib
import json
import os
import re
import shlex
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from local import corpus, environments
from tests.hub_folders import MODEL, OTHER, repository
from tests.support import free_port
from tests.worker import WorkerProcess

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_token_of_the_build"
FILES = {
    "config.json": b'{"model_type": "tiny"}',
    "tokenizer.json": b'{"version": "1.0"}',
    "model.safetensors": b"weights" * 1000,
    "pytorch_model.bin": b"the same weights once more",
    "original/consolidated.00.pth": b"and again",
    "vocab [v2].txt": b"a name with brackets",
}


class Hub(ThreadingHTTPServer):
    """The four routes that a download uses. `gated`: files need TOKEN; `cut`: one file ends early."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = FILES
        self.gated = False
        self.cut: str | None = None
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _send(self, status: int, body: bytes, content_type: str = "application/json", **headers: str):
        self.send_response(status)
        for name, value in {"Content-Type": content_type, "Content-Length": str(len(body)),
                            "X-Repo-Commit": COMMIT, **{k.replace("_", "-"): v for k, v in headers.items()}}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str):
        self._send(status, json.dumps({"error": code}).encode(), X_Error_Code=code, X_Error_Message=code)

    def do_GET(self):
        path = self.path.split("?")[0]
        self.server.paths.append(path)
        if not re.match(r"(/api/models)?/org/tiny\b", path):
            return self._refuse(404, "RepoNotFound")
        if "/nosuch" in path:
            return self._refuse(404, "RevisionNotFound")
        listed = [{"type": "file", "path": name, "rfilename": name, "size": len(body),
                   "oid": hashlib.sha1(body).hexdigest(), "blobId": hashlib.sha1(body).hexdigest()}
                  for name, body in self.server.files.items()]
        if re.match(r"/api/models/org/tiny[\w-]*/tree/", path):
            return self._send(200, json.dumps(listed).encode())
        if path.startswith("/api/"):
            return self._send(200, json.dumps({"id": "org/tiny", "sha": COMMIT, "siblings": listed}).encode())
        if self.server.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._refuse(403, "GatedRepo")
        name = path.split("/resolve/")[1].split("/", 1)[1].replace("%20", " ").replace("%5B", "[").replace("%5D", "]")
        whole = self.server.files[name]
        body = whole[:-1] if name == self.server.cut else whole
        self._send(200, body, "application/octet-stream", ETag=f'"{hashlib.sha1(body).hexdigest()}"')

    do_HEAD = do_GET


@pytest.fixture
def hub():
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def python(engine_python) -> str:
    return str(engine_python)


def run(python: str, home: Path, hub_url: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess:
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    return subprocess.run([python, *arguments], cwd=ROOT, text=True, capture_output=True, timeout=120,
                          env={**kept, "HOME": str(home), "HF_ENDPOINT": hub_url, "HF_HUB_DISABLE_TELEMETRY": "1",
                               **environ})


def download(python: str, home: Path, hub: Hub, *arguments: str) -> subprocess.CompletedProcess:
    return run(python, home, hub.url, "-m", "builder.download_model", *arguments)


def test_model_is_found_by_its_name_without_a_network(python, hub, tmp_path):
    done = download(python, tmp_path, hub, "--revision", "", "org/tiny")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / ".cache/huggingface/hub/models--org--tiny/snapshots" / COMMIT
    assert {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()} == {
        "config.json", "tokenizer.json", "model.safetensors", "vocab [v2].txt"}
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]

    found = run(python, tmp_path, "http://127.0.0.1:9", "-c", "import huggingface_hub as h\n"
                "print(h.hf_hub_download('org/tiny', 'model.safetensors'))", HF_HUB_OFFLINE="1")
    assert found.stdout.strip() == str(folder / "model.safetensors"), found.stderr


def test_tokenizer_draft_and_adapters_come_along(python, hub, tmp_path):
    adapters = json.dumps([{"lora_name": "a", "lora_path": "org/tiny-adapter"}, "b=/models/own"])
    done = download(python, tmp_path, hub, "--tokenizer", "org/tiny-words", "--tokenizer-revision", "v2", "--draft",
                    "org/tiny-draft", "--adapters", adapters, "org/tiny")
    assert done.returncode == 0, done.stderr
    cache = tmp_path / ".cache/huggingface/hub"
    held = {name: {file.name for file in (cache / f"models--org--{name}" / "snapshots" / COMMIT).glob("*.*")}
            for name in ("tiny", "tiny-words", "tiny-draft", "tiny-adapter")}
    assert held["tiny"] == held["tiny-draft"] == held["tiny-adapter"] == held["tiny-words"] | {"model.safetensors"}
    assert (cache / "models--org--tiny-words/refs/v2").read_text() == COMMIT


def test_named_revision_is_found_again(python, hub, tmp_path):
    done = download(python, tmp_path, hub, "--revision", "v1", "org/tiny")
    assert done.returncode == 0, done.stderr
    found = run(python, tmp_path, "http://127.0.0.1:9", "-c", "import huggingface_hub as h\n"
                "print(h.hf_hub_download('org/tiny', 'config.json', revision='v1'))", HF_HUB_OFFLINE="1")
    assert found.stdout.strip().endswith(f"{COMMIT}/config.json"), found.stderr


def test_gated_model_needs_the_secret_and_keeps_it_out_of_the_image(python, hub, tmp_path):
    hub.gated = True
    refused = download(python, tmp_path, hub, "org/tiny")
    assert refused.returncode == 1
    assert "org/tiny is gated: accept its licence" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr

    secret = tmp_path / "secret"
    secret.write_text(TOKEN + "\n", encoding="utf-8")
    home = tmp_path / "home"
    done = download(python, home, hub, "--token-file", str(secret), "org/tiny")
    assert done.returncode == 0, done.stderr
    kept = [file for file in home.rglob("*") if file.is_file()]
    assert kept and not any(TOKEN.encode() in file.read_bytes() for file in kept)
    assert TOKEN not in done.stdout + done.stderr


@pytest.mark.parametrize(("arguments", "reason"), [
    (["org/absent"], "There is no model org/absent"),
    (["--revision", "nosuch", "org/tiny"], "org/tiny has no revision 'nosuch'"),
    (["not a name"], "not a name could not be downloaded"),
])
def test_wrong_name_fails_the_build_with_one_line(python, hub, tmp_path, arguments, reason):
    done = download(python, tmp_path, hub, *arguments)
    assert done.returncode == 1
    assert reason in done.stderr and "Traceback" not in done.stderr


def test_incomplete_model_fails_the_build(python, hub, tmp_path):
    hub.cut = "model.safetensors"
    done = download(python, tmp_path, hub, "org/tiny")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "org/tiny: incomplete, 1 of 4 files: model.safetensors"


def test_unreachable_hub_fails_the_build(python, tmp_path):
    done = run(python, tmp_path, "http://127.0.0.1:9", "-m", "builder.download_model", "org/tiny")
    assert done.returncode == 1
    assert done.stderr.startswith("org/tiny could not be downloaded")


# ------------------------------------------------------------------ the worker, with the real engine, on what is there
def worker_environ(python: str, home: Path, **more: str) -> dict[str, str]:
    """A worker that serves with the real engine, and knows nothing of the tiny model's own folder."""
    names = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "PYTHONPATH")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    environ = {**environments.engine_environ(kept), **environments.CPU_ENGINE_ARGS, "HOME": str(home),
               "SGLANG_LAUNCH_COMMAND": f"{shlex.quote(python)} -m sglang.launch_server",
               "SGLANG_PORT": str(free_port()), "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
               "RUNPOD_MODEL_CACHE": str(home / "runpod"), **more}
    # The worker's own decision is what is tested.
    return {name: value for name, value in environ.items() if name not in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}


async def ask(environ: dict[str, str], model: str) -> WorkerProcess:
    """One chat job in a worker of its own; the worker, ended."""
    question, answer = corpus.EXCHANGES[0]
    job = {"input": {"openai_route": "/v1/chat/completions", "openai_input": {
        "model": model, "temperature": 0, "messages": [{"role": "user", "content": question}]}}}
    async with WorkerProcess(None, environ, "--test_input", json.dumps(job)) as worker:
        assert await worker.ended(240) == 0, worker.output
    output = json.loads(worker.output[worker.output.index('\n{\n') + 1:worker.output.rindex('\n}') + 2])
    assert output["model"] == model and output["choices"][0]["message"]["content"] == answer
    return worker


async def test_baked_image_starts_without_a_network(python, hub, model_path, tmp_path):
    hub.files = {file.name: file.read_bytes() for file in model_path.iterdir() if file.stat().st_size}
    done = download(python, tmp_path, hub, "--revision", "v1", "org/tiny")
    assert done.returncode == 0, done.stderr
    hub.paths.clear()
    worker = await ask(worker_environ(python, tmp_path, HF_ENDPOINT=hub.url, MODEL_NAME="org/tiny",
                                      MODEL_REVISION="v1"), "org/tiny")
    assert hub.paths == [], "the hub was asked"
    folder = tmp_path / ".cache/huggingface/hub/models--org--tiny/snapshots" / COMMIT
    assert f"model: org/tiny at v1, whole in {folder}; the server starts without the hub" in worker.output


async def test_runpods_cache_serves_a_model_in_another_case(python, model_path, tmp_path):
    files = {file.name: file for file in model_path.iterdir() if file.stat().st_size}
    half = repository(tmp_path / ".cache/huggingface/hub", "Org/Tiny", {"config.json": files["config.json"]}, OTHER)
    whole = repository(tmp_path / "runpod", "org/tiny", files, OTHER)
    repository(tmp_path / "runpod", "org/tiny", MODEL)      # main: nothing that a server could load
    worker = await ask(worker_environ(python, tmp_path, HF_ENDPOINT="http://127.0.0.1:9", MODEL_NAME="Org/Tiny",
                                      MODEL_REVISION=OTHER[:10]), "Org/Tiny")
    assert f"Org/Tiny was found in {half.parents[1]}, but it has no weights" in worker.output
    assert f"whole in {whole}; the server starts without the hub" in worker.output
