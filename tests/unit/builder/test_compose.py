"""docker-bake.hcl and docker-compose.yml: parsed, and consistent with the Dockerfile and the local platform."""

import http.server
import json
import re
import shlex
import subprocess
import sys
import threading

import pytest
import yaml

from local.platform_program import parser
from local.runpod_platform import Platform
from settings import config, flags
from settings.worker_settings import WORKER_SETTINGS
from tests.dockerfile import ROOT, WORKER_PYTHON, every

SNAPSHOT = json.loads((ROOT / "builder/flags.json").read_text(encoding="utf-8"))
WORKERS = ["worker", "http"]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
ROUTER = yaml.safe_load((ROOT / "docker-compose.router.yml").read_text(encoding="utf-8"))


def bake() -> dict:
    """docker-bake.hcl: {"target": {name: {…}}, "group": …, "variable": …}, plain values."""
    hcl2 = pytest.importorskip("hcl2")

    def plain(value):
        if isinstance(value, dict):
            return {plain(k): plain(v) for k, v in value.items() if not k.startswith("__")}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return value.strip('"') if isinstance(value, str) else value

    with (ROOT / "docker-bake.hcl").open(encoding="utf-8") as file:
        blocks = plain(hcl2.load(file))
    return {kind: {name: body for block in listed for name, body in block.items()} for kind, listed in blocks.items()}


def test_bake_targets():
    file = bake()
    assert file["group"]["default"]["targets"] == ["cuda13"]
    assert set(file["group"]["all"]["targets"]) == {name for name in file["target"] if not name.startswith("_")}
    bases = {name: body["args"]["BASE_IMAGE"] for name, body in file["target"].items() if not name.startswith("_")}
    assert bases == {"cuda13": f"lmsysorg/sglang:v{SNAPSHOT['sglang']}", "cuda129": "lmsysorg/sglang:v0.5.19-cu129"}
    common = file["target"]["_worker"]
    assert common["platforms"] == ["linux/amd64"]
    assert common["secret"] == ["id=HF_TOKEN,env=HF_TOKEN"]
    declared = {word.split("=")[0] for argument in every("ARG") for word in shlex.split(argument)}
    for name, body in file["target"].items():
        assert set(body["args"]) <= declared, "the Dockerfile does not know this argument"
        assert name == "_worker" or (body["inherits"] == ["_worker"] and body["tags"])
    tags = [tag for body in file["target"].values() for tag in body.get("tags", [])]
    assert len(tags) == len(set(tags))


def test_bake_arguments_are_declared_variables():
    file = bake()
    used = set(file["target"]["_worker"]["args"].values()) - {""}
    used |= set(re.findall(r"\$\{(\w+)\}", json.dumps(file["target"])))
    assert used <= set(file["variable"])


def test_compose_worker_has_the_environment_that_the_platform_gives():
    given = {name: value.replace("$$", "$") for name, value in COMPOSE["services"]["worker"]["environment"].items()}
    platform = Platform(host="0.0.0.0", port=8000, public_url="http://platform:8000")
    assert {name: given.pop(name, None) for name in platform.worker_environ()} == platform.worker_environ()
    assert given.pop("WORKER_MODE") == "queue"
    assert set(given) == {"MODEL_NAME"}


def test_compose_starts_one_worker_in_either_way():
    profiles = {name: service["profiles"] for name, service in COMPOSE["services"].items()}
    assert profiles == {"platform": ["queue"], "worker": ["queue"], "http": ["http"]}


def test_compose_worker_over_http_listens_where_its_port_is_published():
    service = COMPOSE["services"]["http"]
    environ = {**service["environment"], "MODEL_NAME": "org/tiny"}
    with pytest.raises(config.ConfigError, match="WORKER_API_KEY: must be set"):
        config.load({**environ, "WORKER_API_KEY": ""}, SNAPSHOT, 1, "python3")
    settings = config.load({**environ, "WORKER_API_KEY": "sesame-open-now"}, SNAPSHOT, 1, "python3").http
    assert (settings.mode, settings.host, settings.keys) == ("http", "0.0.0.0", ("sesame-open-now",))
    assert service["environment"]["WORKER_API_KEY"] == "${WORKER_API_KEY-}"
    assert service["ports"] == ["${HTTP_ADDRESS:-127.0.0.1}:${HTTP_PORT:-8000}:" + str(settings.port)]
    asked = service["healthcheck"]["test"][-1]
    assert f"HTTPConnection('127.0.0.1', {settings.health_port}, " in asked
    assert f"request('GET', '{settings.health_path}')" in asked


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (204, False), (503, False), (None, False)])
def test_compose_health_is_what_ping_says(status, healthy):
    class Worker(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/ping" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    kind, *command = COMPOSE["services"]["http"]["healthcheck"]["test"]
    assert kind == "CMD" and command[:2] == [WORKER_PYTHON, "-E"]
    with http.server.HTTPServer(("127.0.0.1", 0), Worker) as server:
        program = command[-1].replace("'127.0.0.1', 80", f"'127.0.0.1', {server.server_port}")
        assert program != command[-1]
        if status is None:
            server.server_close()
        else:
            threading.Thread(target=server.handle_request, daemon=True).start()
        done = subprocess.run([sys.executable, "-E", *command[2:-1], program], stderr=subprocess.DEVNULL, timeout=60)
    assert (done.returncode == 0) is healthy


def test_compose_platform_takes_its_command_line():
    command = COMPOSE["services"]["platform"]["command"]
    assert command[:5] == [WORKER_PYTHON, "-E", "-u", "-m", "local.runpod_platform"]
    options = parser().parse_args(command[5:])
    assert (options.host, options.port, options.public_url) == ("0.0.0.0", 8000, "http://platform:8000")
    assert COMPOSE["services"]["platform"]["ports"] == ["127.0.0.1:${PLATFORM_PORT:-8000}:8000"]


@pytest.mark.parametrize("name", WORKERS)
def test_compose_reserves_gpus_and_keeps_models_and_secrets_outside_the_image(name):
    worker, platform = COMPOSE["services"][name], COMPOSE["services"]["platform"]
    devices = worker["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
    assert "deploy" not in platform and "env_file" not in platform
    assert worker["env_file"] == [{"path": ".env", "required": False}]
    volume, target = worker["volumes"][0].split(":")
    assert volume in COMPOSE["volumes"] and target == "/root/.cache/huggingface"
    secrets = {name: value for name, value in worker["environment"].items() if flags.is_secret(name)}
    assert secrets in ({"RUNPOD_AI_API_KEY": "local-worker-key"}, {"WORKER_API_KEY": "${WORKER_API_KEY-}"})


def test_compose_services_share_one_image_with_the_default_base():
    builds = [service["build"] for service in COMPOSE["services"].values()]
    assert len({service["image"] for service in COMPOSE["services"].values()}) == 1
    assert all(build == builds[0] for build in builds)
    assert builds[0]["args"] == {"BASE_IMAGE": "${BASE_IMAGE:-" + every("ARG")[0].removeprefix("BASE_IMAGE=") + "}"}
    declared = {word.split("=")[0] for argument in every("ARG") for word in shlex.split(argument)}
    assert set(builds[0]["args"]) <= declared


@pytest.mark.parametrize("name", WORKERS)
def test_compose_lets_requests_end(name):
    drain = next(setting for setting in WORKER_SETTINGS if setting.name == "DRAIN_TIMEOUT")
    assert int(COMPOSE["services"][name]["stop_grace_period"].removesuffix("s")) > drain.default
