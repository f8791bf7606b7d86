"""What measuring costs: a chunk of a stream, and a request as a whole, with each place where it is told.

    python -m bench.meter_cost

In microseconds of CPU that the event loop's thread spends, the median of several rounds. No network: OpenTelemetry
gets an address where nothing listens, and what its own threads do is not counted.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import time
from collections.abc import Callable

from bench.machine_facts import machine
from meter.line import Lines
from meter.prometheus import Prometheus
from meter.record import Record
from meter.requests import Meter

CHAT, NATIVE, RESPONSES = "/v1/chat/completions", "/generate", "/v1/responses"
EVENT = ('data: {"id":"57e915df-b8c2-44c5-89a4-267eaf406181","object":"chat.completion.chunk","created":1795641967,'
         '"model":"tiny","choices":[{"index":0,"delta":{"reasoning_content":null,"content":" Paris"},"logprobs":null,'
         '"finish_reason":null,"matched_stop":null}]}\n\n')
DELTA = ('event: response.output_text.delta\ndata: {"content_index":0,"delta":" Paris","item_id":"msg_ae149ca82a21426",'
         '"logprobs":[],"output_index":0,"sequence_number":5,"type":"response.output_text.delta"}\n\n')
USAGE = 'data: {"choices":[],"usage":{"prompt_tokens":16,"total_tokens":19,"completion_tokens":3}}\n\n'
ROUNDS = 7


def measured(call: Callable[[], object], times: int) -> float:
    """Microseconds of CPU that one `call` takes."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        for _ in range(times):
            call()
        rounds.append((time.thread_time() - began) / times * 1e6)
    return statistics.median(rounds)


def chunk(path: str, text: str, prompts: int = 1) -> float:
    """Of one chunk of a stream."""
    record = Meter().begin("http", path)
    record.planned(path, "tiny", prompts=prompts)
    return measured(lambda: record.add(text), 100_000 if len(text) < 10_000 else 5_000)


def request(meter: Meter) -> float:
    """Of a stream of two chunks from its beginning to its end."""
    def one() -> Record:
        record = meter.begin("http", CHAT, "id", traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        record.planned(CHAT, "tiny")
        record.queued = 0.0
        record.add(EVENT)
        record.add(USAGE)
        record.end(200)
        return record
    with contextlib.redirect_stdout(io.StringIO()):
        return measured(one, 1_000)


def main() -> None:
    about = machine()
    print(f"{about['cpu']}, {about['cores']} cores, Python {about['python']}")
    print("\n| a chunk | characters | us |\n|---|---:|---:|")
    for name, path, text, prompts in (
            ("one event of chat", CHAT, EVENT, 1), ("the same, not ASCII", CHAT, EVENT.replace("Paris", "Zürich"), 1),
            ("ten events of chat", CHAT, EVENT * 10, 1), ("eighty events of chat", CHAT, EVENT * 80, 1),
            ("one native event", NATIVE, EVENT, 1), ("one event of responses", RESPONSES, DELTA, 1),
            ("one native event of a batch", NATIVE, EVENT, 8), ("ten native events of a batch", NATIVE, EVENT * 10, 8)):
        print(f"| {name} | {len(text)} | {chunk(path, text, prompts):.2f} |")
    print("\n| a request | us |\n|---|---:|")
    print(f"| told to nobody | {request(Meter()):.1f} |")
    print(f"| its line | {request(Meter([Lines()])):.1f} |")
    meter = Meter()
    meter.sinks.append(Prometheus(meter))
    print(f"| Prometheus | {request(meter):.1f} |")
    from meter.otel import OpenTelemetry

    meter = Meter()
    nowhere = "http://127.0.0.1:9/v1"
    meter.sinks.append(OpenTelemetry(meter, f"{nowhere}/traces", f"{nowhere}/metrics"))
    with contextlib.redirect_stdout(io.StringIO()):
        cost = request(meter)
    print(f"| OpenTelemetry, traces and metrics | {cost:.1f} |")


if __name__ == "__main__":
    main()
