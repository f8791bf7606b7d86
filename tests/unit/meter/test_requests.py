"""The record of one request and the figures of all of them."""

import pytest

from meter import record as records
from meter.live import RATE_SECONDS, TTFT_SECONDS, Rate, Recent, percentile
from meter.record import CANCELLED, COMPLETED, FAILED, REFUSED, Record, current
from meter.requests import Meter
from utils import JobError

CHAT = "/v1/chat/completions"


class Clock:
    """time.monotonic as the test wants it."""

    def __init__(self, now=1000.0):
        self.now = now

    def monotonic(self):
        return self.now

    def time_ns(self):
        return int(self.now * 1e9)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(records, "time", clock)
    monkeypatch.setattr("meter.requests.time", clock)
    return clock


class Seen:
    """A sink that keeps what it gets."""

    def __init__(self):
        self.plans, self.ends = [], []

    def planned(self, record):
        self.plans.append(record)

    def ended(self, record):
        self.ends.append(record)


def event(text="a"):
    return f'data: {{"choices":[{{"delta":{{"content":"{text}"}},"finish_reason":null}}]}}\n\n'


END = ('data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n',
       'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5,"prompt_tokens_details":null}}\n\n',
       "data: [DONE]\n\n")


def test_a_stream_from_its_beginning_to_its_end(clock):
    seen = Seen()
    meter = Meter([seen])
    record = meter.begin("http", CHAT, "id-1")
    assert seen.plans == [] and current() is record and meter.summary()["in_flight"] == 1
    record.planned(CHAT, "tiny")
    assert seen.plans == [record]
    clock.now += 0.25
    record.add(": waiting\n\n")
    clock.now += 0.25
    record.add(event())
    for _ in range(4):
        clock.now += 0.1
        record.add(event("é"))
    for text in END:
        record.add(text)
    clock.now += 5
    record.end(200)
    assert seen.ends == [record]
    assert (record.outcome, record.status, record.ttft, record.duration) == (COMPLETED, 200, 0.5, pytest.approx(5.9))
    assert record.itl == pytest.approx(0.1)
    assert record.chunks == 9
    assert record.bytes == len("".join([": waiting\n\n", event(), 4 * event("é"), *END]).encode())
    assert record.usage == (7, None, 5, "stop")
    summary = meter.summary()
    assert (summary["in_flight"], summary["requests"], summary["completed"], summary["errors"]) == (0, 1, 1, 0)
    assert summary["ttft_p50"] == summary["ttft_p95"] == 0.5


def test_what_is_sent_in_place_of_the_engine_s_words_counts_and_its_words_are_read():
    record = Meter().begin("http", "/api/chat")
    record.planned(CHAT, "tiny")
    record.add(event(), '{"message":{"content":"é"}}\n')
    for text in END:
        record.add(text, "")
    record.end(200)
    assert (record.chunks, record.bytes) == (1, len('{"message":{"content":"é"}}\n'.encode()))
    assert record.usage == (7, None, 5, "stop") and record.ttft is not None


def test_messages_of_a_session_are_its_chunks():
    record = Meter().begin("http", "/v1/realtime")
    record.planned("/v1/realtime")
    record.said("é")
    record.said(b"\x00")
    record.end(101)
    assert (record.chunks, record.bytes, record.ttft, record.outcome) == (2, 3, None, COMPLETED)


def test_what_comes_after_the_end_does_not_count(clock):
    seen = Seen()
    record = Meter([seen]).begin("queue", CHAT)
    record.end()
    record.failed(JobError("late", code=500))
    record.left()
    record.end(500)
    assert seen.ends == [record] and (record.outcome, record.status) == (COMPLETED, None)


@pytest.mark.parametrize(("code", "answered", "outcome"), [
    (400, False, REFUSED), (404, False, REFUSED), (429, False, REFUSED), (503, False, REFUSED), (500, False, FAILED),
    (502, False, FAILED), (504, False, FAILED), (400, True, FAILED), (503, True, FAILED)])
def test_a_failure_is_a_refusal_until_something_was_answered(code, answered, outcome):
    record = Meter().begin("http", CHAT)
    record.planned(CHAT)
    if answered:
        record.add(event())
    record.failed(JobError("no", code=code))
    record.end(code)
    assert record.outcome == outcome


def test_what_comes_first_counts_a_failure_or_that_whoever_asked_went_away():
    record = Meter().begin("http", CHAT)
    record.failed(JobError("a", type="one", code=500))
    record.failed(JobError("b", type="two", code=400))
    record.left()
    record.end()
    assert (record.error_type, record.outcome) == ("one", FAILED)
    record = Meter().begin("http", CHAT)
    record.left()
    record.failed(JobError("a", type="one", code=500))
    record.end()
    assert (record.error_type, record.outcome) == (None, CANCELLED)


@pytest.mark.parametrize(("path", "text"), [
    (CHAT, 'data: {"error": {"message": "no"}}\n\n'), ("/v1/messages", "event: error\ndata: {}\n\n"),
    ("/v1/responses", "event: response.created\ndata: {}\n\nevent: response.failed\ndata: {}\n\n")])
def test_an_event_of_a_failure_is_no_token(path, text):
    record = Meter().begin("queue", path)
    record.planned(path)
    record.add(": waiting\n\n")
    record.add(text)
    record.failed(JobError("no", code=503))
    record.end()
    assert record.ttft is None and record.outcome == REFUSED


def test_the_type_of_an_error_is_a_word_and_its_reason_one_of_few():
    record = Record()
    record.failed(JobError("text of the caller", type="text of the caller", code=418))
    assert record.error_type == "error" and record.why == "other"
    record.reason = "full"
    assert record.why == "full"


@pytest.mark.parametrize(("header", "trace"), [
    ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "0af7651916cd43dd8448eb211c80319c"),
    ("00-00000000000000000000000000000000-b7ad6b7169203331-01", None),
    ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", None),
    ("0af7651916cd43dd8448eb211c80319c", None), ("the caller's own words", None), ("", None), (None, None)])
def test_a_trace_is_one_or_none(header, trace):
    record = Record()
    record.traced(header, "a=b")
    assert record.trace_id == trace and (record.traceparent is None) == (trace is None)


def test_a_sink_that_fails_harms_no_request_and_no_other_sink(capsys):
    class Broken:
        def planned(self, record):
            raise ValueError("what the caller wrote")

        ended = planned

    seen = Seen()
    record = Meter([Broken(), seen]).begin("http", CHAT)
    record.planned(CHAT)
    record.end(200)
    assert seen.ends == [record]
    told = capsys.readouterr().out
    assert "Broken: ValueError" in told and "what the caller wrote" not in told


def test_nobody_s_record_goes_nowhere():
    import contextvars

    def alone():
        record = current()
        record.planned(CHAT)
        record.add(event())
        record.end()
        return record.outcome, current() is record

    assert contextvars.Context().run(alone) == (COMPLETED, False)


def test_waiting_requests_are_not_in_flight(clock):
    meter = Meter()
    meter.begin("http", CHAT)
    meter.begin("http", CHAT)
    meter.waiting = lambda: 1
    summary = meter.summary()
    assert (summary["in_flight"], summary["waiting"]) == (1, 1)


def test_tokens_a_second_while_a_stream_runs(clock):
    meter = Meter()
    record = meter.begin("http", CHAT)
    record.planned(CHAT)
    for _ in range(40):  # 20 a second
        clock.now += 0.1
        record.add(event() * 2)
    clock.now += 1
    assert meter.summary()["tokens_per_second"] == pytest.approx(80 / RATE_SECONDS, abs=1)
    clock.now += RATE_SECONDS + 1
    assert meter.summary()["tokens_per_second"] == 0


def test_an_event_is_as_many_tokens_as_the_server_puts_into_it(clock):
    meter = Meter()
    meter.tokens_an_event = 4
    record = meter.begin("http", CHAT)
    record.planned(CHAT)
    for _ in range(40):
        clock.now += 0.1
        record.add(event())
    clock.now += 1
    assert meter.summary()["tokens_per_second"] == pytest.approx(160 / RATE_SECONDS, abs=1)


def test_tokens_a_second_of_a_native_stream_that_repeats_its_answer(clock):
    meter = Meter()
    meter.tokens_an_event = 4  # its events say how many
    record = meter.begin("http", "/generate")
    record.planned("/generate")
    for count in range(1, 41):
        clock.now += 0.1
        record.add(f'data: {{"text":"{"a" * count}","meta_info":{{"completion_tokens":{count}}}}}\n\n')
    clock.now += 1
    assert meter.summary()["tokens_per_second"] == pytest.approx(40 / RATE_SECONDS, abs=1)


def test_tokens_a_second_of_a_whole_answer_are_those_of_the_last_seconds(clock):
    meter = Meter()
    record = meter.begin("http", CHAT)
    record.planned(CHAT)
    clock.now += 100
    record.whole({"usage": {"prompt_tokens": 1, "completion_tokens": 1000}, "choices": []}, 10)
    record.end(200)
    clock.now += 1
    assert record.ttft is None and record.itl is None
    assert meter.summary()["tokens_per_second"] == pytest.approx(1000 / 100)


def test_a_rate_knows_its_seconds():
    rate = Rate()
    for second in range(100):
        rate.add(5, second + 0.5)
    assert rate.value(100.0) == 5
    assert rate.value(105.9) == pytest.approx(5 * (RATE_SECONDS - 5) / RATE_SECONDS)
    assert rate.value(200.0) == 0


def test_percentiles_of_the_last_minute():
    recent = Recent()
    for second in range(100):
        recent.add(float(100 - second), float(second))
    values = recent.values(99.0)
    assert values == [float(v) for v in range(1, int(TTFT_SECONDS) + 2)]
    assert percentile(values, 0.5) == 31 and percentile(values, 0.95) == 58 and percentile([], 0.5) is None
    assert percentile([3.0], 0.5) == percentile([3.0], 0.95) == 3.0
