"""`/metrics` of a whole worker: where it is, who may read it, and what it says after requests."""

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

import utils
from meter.catalogue import PREFIX
from settings.version import version
from tests.contract.front.http_worker import CHAT, KEY, http, start
from tests.contract.meter.test_lines import line
from tests.support import free_port, say

__all__ = ["http", "start"]

SHOWN = {"x-api-key": KEY}


async def scraped(http, port=None, headers=SHOWN) -> dict:
    """{(name, labels as a frozenset): value} of every sample."""
    url = f"http://127.0.0.1:{port or http.worker.environ['PORT']}/metrics"
    async with http.session.get(url, headers=headers) as response:
        assert response.status == 200 and response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = await response.text()
    return {(sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text) for sample in family.samples}


def value(samples, name, **labels) -> float:
    return samples[f"{PREFIX}_{name}", frozenset(labels.items())]


async def test_what_it_says_after_requests(http):
    who = {"route": CHAT, "mode": "http"}
    body = {"messages": say({"tokens": 5, "tps": 50}), "stream": True, "stream_options": {"include_usage": True}}
    async with http.post(body=body, headers={"X-Request-Id": "mine-1"}) as response:
        assert response.status == 200
        size = len(await response.read())
    async with http.post(body={"messages": say({"tokens": 3}), "stream": True}) as response:
        size += len(await response.read())
    async with http.post(body={"messages": say({}), "model": "gpt-4"}, headers={"X-Request-Id": "mine-3"}) as response:
        assert response.status == 404
    said = await line(http.worker, request_id="mine-1")
    await line(http.worker, request_id="mine-3")
    samples = await scraped(http)
    assert value(samples, "requests_total", outcome="completed", **who) == 2
    assert value(samples, "requests_total", outcome="refused", **who) == 1
    assert value(samples, "refusals_total", reason="not_found", mode="http") == 1
    assert value(samples, "completion_tokens_total", **who) == 5
    assert value(samples, "prompt_tokens_total", **who) == said["prompt_tokens"]
    assert value(samples, "uncounted_requests_total", **who) == 1
    assert value(samples, "sent_bytes_total", **who) == size
    assert value(samples, "time_to_first_token_seconds_count", **who) == 2
    assert value(samples, "inter_token_seconds_count", **who) == 1
    assert value(samples, "inter_token_seconds_sum", **who) == pytest.approx(said["itl_s"], abs=1e-5)
    assert 0.01 < said["itl_s"] < 0.03  # 50 a second, and the last is followed by the end
    assert value(samples, "request_duration_seconds_count", outcome="completed", **who) == 2
    assert value(samples, "queue_wait_seconds_count", mode="http") == 3
    assert value(samples, "requests_in_flight") == value(samples, "requests_waiting") == 0
    assert value(samples, "engine_up") == 1 and value(samples, "engine_restarts_total") == 0
    phases = {dict(labels)["phase"] for name, labels in samples if name == f"{PREFIX}_start_phase_seconds"}
    assert {"configuration", "server warm-up", "warm-up"} <= phases
    assert value(samples, "build_info", version=utils.VERSION, sglang=version().split()[-1].rstrip(")")) == 1


async def test_it_is_behind_the_key_where_its_port_is_everybody_s(http):
    for headers in ({}, {"x-api-key": "wrong"}):
        async with http.session.get(f"{http.base}/metrics", headers=headers) as response:
            assert response.status == 401 and PREFIX not in await response.text()
    assert await scraped(http, headers={"Authorization": f"Bearer {KEY}"})
    async with http.session.head(f"{http.base}/metrics", headers=SHOWN) as response:
        assert response.status == 200


async def test_on_a_port_of_its_own_health_has_it_without_a_key_and_nobody_else(start):
    http = await start(PORT_HEALTH=str(free_port()))
    await http.becomes(200)
    assert await scraped(http, http.worker.environ["PORT_HEALTH"], {})
    async with http.session.get(f"{http.base}/metrics", headers=SHOWN) as response:
        assert response.status == 404


async def test_it_is_there_while_the_engine_loads(start):
    http = await start(SCRIPTED_ENGINE_LIFE=json.dumps({"ready_delay": 3600}))
    await http.becomes(204)
    assert value(await scraped(http), "engine_up") == 0


async def test_a_restart_is_counted(start):
    http = await start()
    await http.becomes(200)
    async with http.post(body={"messages": say({"die_at": 0})}) as response:
        assert response.status >= 500
    await http.worker.line("restarted:")
    await http.becomes(200)
    samples = await scraped(http)
    assert value(samples, "engine_restarts_total") == 1 and value(samples, "engine_up") == 1
    assert value(samples, "requests_total", route=CHAT, mode="http", outcome="failed") == 1
