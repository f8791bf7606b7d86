"""What a whole worker sends by OpenTelemetry, to a receiver of OTLP over HTTP."""

import asyncio
import json
import signal

import pytest

import utils
from meter.catalogue import METRICS, PREFIX
from tests.contract.front.http_worker import CHAT, http, start
from tests.contract.meter.otlp import Receiver, attributes
from tests.contract.meter.test_lines import line
from tests.support import say
from tests.worker import WorkerProcess, contract_environ

__all__ = ["http", "start"]

SECRET = "tell-nobody-4711"
COLLECTOR_KEY = "collector-key-0815"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
async def receiver():
    async with Receiver() as receiver:
        yield receiver


def to(receiver, **more):
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-collector=plain,authorization=Bearer%20{COLLECTOR_KEY}", **more}


async def test_a_request_s_span_and_metrics(start, receiver):
    http = await start(**to(receiver, RUNPOD_POD_ID="pod-7", OTEL_RESOURCE_ATTRIBUTES="deployment.environment=test"))
    await http.becomes(200)
    body = {"messages": say({"tokens": 5}, SECRET), "stream": True, "stream_options": {"include_usage": True}}
    async with http.post(body=body, headers={"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "a=b",
                                             "X-Request-Id": "mine-1"}) as response:
        assert response.status == 200
        await response.read()
    await receiver.until(lambda: receiver.spans)
    span, told = receiver.spans[0], attributes(receiver.spans[0].attributes)
    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.name) == (TRACE, PARENT, f"http {CHAT}")
    assert span.kind == span.SPAN_KIND_SERVER and span.end_time_unix_nano > span.start_time_unix_nano
    expected = {"http.route": CHAT, "gen_ai.request.model": "tiny", "gen_ai.usage.output_tokens": 5,
                "sglang_worker.outcome": "completed", "sglang_worker.status": 200, "sglang_worker.finish": "length",
                "sglang_worker.request_id": "mine-1"}
    assert {name: told[name] for name in expected} == expected
    said = await line(http.worker, request_id="mine-1")
    assert said["trace_id"] == TRACE and told["gen_ai.response.id"] == said["id"]

    [seen] = [seen for seen in await http.engine("/_scripted/requests") if SECRET in seen["prompt"]]
    assert seen["headers"]["traceparent"] == f"00-{TRACE}-{span.span_id.hex()}-01"
    assert seen["headers"]["tracestate"] == "a=b"

    names = [f"{PREFIX}.{name}" for name in ("requests", "time_to_first_token", "start.phase")]
    await receiver.until(lambda: all(map(receiver.newest, names)))
    [(labels, point)] = receiver.newest(names[0])
    assert labels == {"route": CHAT, "mode": "http", "outcome": "completed"} and point.as_int == 1
    [(_, first)] = receiver.newest(f"{PREFIX}.time_to_first_token")
    assert first.count == 1 and first.sum == pytest.approx(said["ttft_s"], abs=0.001)
    [(_, up)] = receiver.newest(f"{PREFIX}.engine_up")
    assert up.as_int == 1
    assert {told["phase"] for told, _ in receiver.newest(f"{PREFIX}.start.phase")} >= {"configuration"}
    assert {name for name, _, _ in receiver.points} <= {f"{PREFIX}.{metric.name}" for metric in METRICS}

    for resource in receiver.resources:
        assert resource["service.name"] == "worker-sglang" and resource["service.instance.id"] == "pod-7"
        assert resource["service.version"] == utils.VERSION
        assert resource["deployment.environment"] == "test"
    assert all(headers["authorization"] == f"Bearer {COLLECTOR_KEY}" for headers in receiver.headers)
    everything = json.dumps([str(receiver.spans), str(receiver.points)])
    assert SECRET not in everything
    assert COLLECTOR_KEY not in http.worker.output


async def test_what_is_left_goes_out_at_the_end(start, receiver):
    http = await start(**to(receiver, OTEL_BSP_SCHEDULE_DELAY="600000", OTEL_METRIC_EXPORT_INTERVAL="600000",
                            OTEL_SERVICE_NAME="mine"))
    await http.becomes(200)
    async with http.post(body={"messages": say({"status": 500, "error_message": SECRET})}) as response:
        assert response.status == 500
    http.worker.process.send_signal(signal.SIGTERM)
    assert await http.worker.ended() == 0
    [span] = receiver.spans
    assert span.status.code == span.status.STATUS_CODE_ERROR and span.parent_span_id == b""
    [(labels, point)] = receiver.newest(f"{PREFIX}.requests")
    assert labels["outcome"] == "failed" and point.as_int == 1
    assert all(resource["service.name"] == "mine" for resource in receiver.resources)


async def test_a_worker_that_has_nothing_to_do_holds_nothing_back(start, receiver):
    http = await start(**to(receiver, OTEL_BSP_SCHEDULE_DELAY="600000", OTEL_METRIC_EXPORT_INTERVAL="600000"))
    await http.becomes(200)
    async with http.post(body={"messages": say({})}) as response:
        assert response.status == 200
    await receiver.until(lambda: receiver.spans and receiver.newest(f"{PREFIX}.requests"))


async def test_jobs_of_the_queue(platform, receiver):
    environ = contract_environ(**to(receiver))
    async with WorkerProcess(platform, environ) as worker:
        await worker.connected()
        job = await (await platform.submit({
            "openai_route": CHAT, "headers": {"traceparent": f"00-{TRACE}-{PARENT}-01"},
            "openai_input": {"messages": say({"tokens": 3}, SECRET), "stream": True}})).finished()
        assert job.status == "COMPLETED"
        refused = await (await platform.submit({"model": "gpt-4", "messages": say({}, SECRET)})).finished()
        assert refused.status == "FAILED"
        await receiver.until(lambda: len(receiver.spans) > 1)
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ended(60) == 0
    assert len(receiver.spans) == 2
    [span] = [span for span in receiver.spans if span.trace_id.hex() == TRACE]
    assert span.kind == span.SPAN_KIND_CONSUMER and span.parent_span_id.hex() == PARENT
    [other] = [span for span in receiver.spans if span.trace_id.hex() != TRACE]
    told = attributes(other.attributes)
    assert told["sglang_worker.reason"] == "not_found" and other.status.code == other.status.STATUS_CODE_UNSET


async def test_a_collector_that_is_not_there_holds_nothing_up(start):
    http = await start(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_BSP_SCHEDULE_DELAY="50",
                       OTEL_METRIC_EXPORT_INTERVAL="200", OTEL_EXPORTER_OTLP_HEADERS=f"api-key={COLLECTOR_KEY}")
    await http.becomes(200)
    for _ in range(3):
        async with http.post(body={"messages": say({})}) as response:
            assert response.status == 200
    await http.worker.line("OpenTelemetry: ")
    began = asyncio.get_running_loop().time()
    http.worker.process.send_signal(signal.SIGTERM)
    assert await http.worker.ended(60) == 0
    assert asyncio.get_running_loop().time() - began < 30
    assert COLLECTOR_KEY not in http.worker.output and "Traceback" not in http.worker.output


async def test_a_variable_that_its_sdk_does_not_bear_ends_no_worker(start, receiver):
    http = await start(**to(receiver, OTEL_BSP_SCHEDULE_DELAY="0"))
    await http.becomes(200)
    assert "schedule_delay" in await http.worker.line("OpenTelemetry is not used")
    async with http.post(body={"messages": say({})}, headers={"X-Request-Id": "all-the-same"}) as response:
        assert response.status == 200
    assert (await line(http.worker, request_id="all-the-same"))["outcome"] == "completed"


async def test_nothing_of_it_is_loaded_where_it_is_not_wanted(http):
    with open(f"/proc/{http.worker.process.pid}/maps", encoding="utf-8") as f:
        assert "google/_upb" not in f.read()  # what the SDK needs, and nothing else here
