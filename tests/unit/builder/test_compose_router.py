"""docker-compose.router.yml: consistent with the worker's settings, the other file and what the tests run."""

import re
import sys
from pathlib import PurePosixPath

import pytest

from local import environments, router
from settings import config
from tests.dockerfile import ROOT
from tests.unit.builder.test_compose import COMPOSE, ROUTER, SNAPSHOT

SERVICES = ROUTER["services"]
WORKERS = ["worker-0", "worker-1"]
GIVEN = {"WORKER_URLS": "http://a:80 http://b:80", "WORKER_API_KEY": "sesame-open-now"}


def given(words, name):
    """What stands behind an option."""
    rest = words[words.index(name) + 1:]
    return rest[:next((at for at, word in enumerate(rest) if word.startswith("--")), len(rest))]


def test_the_command_line_is_the_one_of_the_file_with_its_variables():
    words = router.options(GIVEN, {"--port": ["1"]})
    assert given(words, "--worker-urls") == ["http://a:80", "http://b:80"] and given(words, "--port") == ["1"]
    assert given(words, "--api-key") == ["sesame-open-now"] and "--disable-circuit-breaker" in words
    assert not any("$" in word for word in words)
    assert [word for word in words if word not in ("--policy", "cache_aware")] == router.options(
        GIVEN, {"--port": ["1"]}, dropped=["--policy"])
    for wrong in ({"changed": {"--prot": ["1"]}}, {"changed": {}, "dropped": ["--prot"]}):
        with pytest.raises(AssertionError, match="has to be there"):
            router.options(GIVEN, **wrong)


def test_without_addresses_they_are_those_of_the_workers_beside_it():
    urls = given(router.options({"WORKER_API_KEY": "k"}, {}), "--worker-urls")
    assert [url.removeprefix("http://").split(":")[0] for url in urls] == WORKERS
    assert "${WORKER_API_KEY:?" in SERVICES["router"]["command"], "no key, no router"


@pytest.mark.parametrize("name", WORKERS)
def test_the_workers_are_those_of_the_other_file_but_for_their_gpus(name):
    worker, other = SERVICES[name], COMPOSE["services"]["http"]
    for key in ("image", "build", "env_file", "volumes", "shm_size", "stop_grace_period"):
        assert worker[key] == other[key], key
    assert worker["profiles"] == ["here"] and "ports" not in worker
    settings = config.load({**worker["environment"], "MODEL_NAME": "org/tiny", "WORKER_API_KEY": "sesame-open-now"},
                           SNAPSHOT, 1, "python3").http
    [url] = [url for url in given(router.options({}, {}), "--worker-urls") if name in url]
    assert (settings.mode, settings.host) == ("http", "0.0.0.0") and url.endswith(f":{settings.port}")
    [devices] = worker["deploy"]["resources"]["reservations"]["devices"]
    assert devices["device_ids"] == [name.removeprefix("worker-")]


def test_the_router_s_image_is_made_of_what_the_tests_install():
    build = SERVICES["router"]["build"]
    assert build["context"] == "local"
    copied = re.search(r"^COPY (.*) /$", build["dockerfile_inline"], re.MULTILINE)[1].split()
    assert [ROOT / "local" / name for name in copied] == list(environments.ROUTER_FILES)
    assert f"-r /{copied[0]} -c /{copied[1]}" in build["dockerfile_inline"]
    assert "FROM python:3.11-slim\n" in build["dockerfile_inline"] and sys.version_info >= (3, 11)
    assert 'ENTRYPOINT ["python", "-m", "sglang_router.launch_router"]' in build["dockerfile_inline"]


def test_what_is_published_is_what_it_listens_on_and_asked_for_health():
    words, service = router.options(GIVEN, {}), SERVICES["router"]
    [port], [metrics] = given(words, "--port"), given(words, "--prometheus-port")
    assert service["ports"] == ["${HTTP_ADDRESS:-127.0.0.1}:${HTTP_PORT:-8000}:" + port,
                                f"127.0.0.1:{metrics}:{metrics}"]
    assert f"http://127.0.0.1:{port}/readiness" in service["healthcheck"]["test"][-1]
    compile(service["healthcheck"]["test"][-1], "health", "exec")
    assert int(service["stop_grace_period"][:-1]) > int(given(words, "--shutdown-grace-period-secs")[0])


def test_it_asks_a_worker_what_the_worker_answers():
    [path] = given(router.options(GIVEN, {}), "--health-check-endpoint")
    assert PurePosixPath(path).is_absolute() and f'web.get("{path}"' in (
        ROOT / "front/http/balancers.py").read_text(encoding="utf-8")
