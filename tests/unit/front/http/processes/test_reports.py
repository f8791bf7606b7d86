"""Requests that one process carries and another measures."""

import asyncio
import json

from front.http.processes.reports import Reporting, Reports
from meter.line import fields
from meter.requests import Meter
from tests.unit.meter.test_requests import Seen
from utils import JobError

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
EVENT = 'data: {"choices": [{"delta": {"content": "a"}, "finish_reason": null}]}\n\n'
LAST = ('data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
        'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}\n\ndata: [DONE]\n\n')


def pair():
    """(the front's meter, the owner's, what it kept, what carries the messages)."""
    said, kept = [], Seen()
    owner = Meter([kept])
    reports = Reports(owner)

    def carry():
        while said:
            word, *about = json.loads(json.dumps(said.pop(0)))
            getattr(reports, word)(*about)
    return Reporting(said.append), owner, kept, reports, carry


async def test_a_request_that_ended_there_is_told_here_in_all_that_counts():
    front, owner, kept, _reports, carry = pair()
    record = front.begin("http", "/v1/chat/completions", traceparent=TRACE)
    record.request_id = "mine-1"
    await asyncio.sleep(0)
    carry()
    assert (front.open, owner.open) == (1, 1)
    record.planned("/v1/chat/completions", "tiny")
    record.id, record.queued = "engine-1", 0.25
    record.add(EVENT)
    record.add(LAST)
    record.end(200)
    carry()
    [told] = kept.ends
    assert fields(told) == fields(record) and fields(told)["completion_tokens"] == 2
    assert fields(told)["trace_id"] == TRACE[3:35] and fields(told)["request_id"] == "mine-1"
    assert (told.itl, told.why, told.generates) == (record.itl, record.why, record.generates)
    assert (front.open, owner.open) == (0, 0) and owner.outcomes == front.outcomes


async def test_a_name_as_long_as_a_body_is_not_carried():
    front, _owner, kept, _reports, carry = pair()
    record = front.begin("http", "/v1/chat/completions")
    record.planned("/v1/chat/completions", "tiny:" + "é" * 20_000_000)
    record.end(200)
    carry()
    [told] = kept.ends
    assert len(told.model) == 1000 and told.model.startswith("tiny:é")


async def test_one_that_ends_at_once_and_one_that_fails():
    front, owner, kept, _reports, carry = pair()
    record = front.begin("http", "/generate")
    record.failed(JobError("no", type="rate_limit_error", code=429))
    record.reason = "full"
    record.end(429)
    carry()
    [told] = kept.ends
    assert fields(told) == fields(record) and (told.outcome, told.why) == ("refused", "full")
    assert owner.open == 0


async def test_what_a_lost_process_carried_is_counted_as_failed():
    front, owner, kept, reports, carry = pair()
    front.begin("http", "/generate").request_id = "mine-2"
    front.begin("http", "/v1/embeddings")
    await asyncio.sleep(0)
    carry()
    assert owner.open == 2
    reports.lost()
    assert [(one.route, one.outcome, one.error.code, one.status) for one in kept.ends] == [
        ("/generate", "failed", 502, None), ("/v1/embeddings", "failed", 502, None)]
    assert kept.ends[0].request_id == "mine-2" and owner.open == 0 and owner.outcomes["failed"] == 2


async def test_figures_of_streams_are_told_once():
    front, owner, _kept, reports, _carry = pair()
    record = front.begin("http", "/v1/chat/completions")
    record.planned("/v1/chat/completions")
    record.add(EVENT)
    front.progressed(40.0, 0.0)
    events, ttfts = front.figures()
    assert (events, ttfts) == (40.0, [record.ttft]) and front.figures() == (0.0, [])
    reports.figures(events, ttfts)
    assert owner.summary()["ttft_p50"] == record.ttft
