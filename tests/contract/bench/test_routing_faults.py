"""What the benchmark of a router whose worker goes counts."""

import signal

from bench.routing_faults import row, run


async def test_what_becomes_of_each_request_is_told():
    told = await run("the file's", signal.SIGKILL, 3, 4.0)
    assert told["answered"] > 3 and told["failed"].keys() <= {"broken"}
    assert row(told).startswith(f"| the file's | SIGKILL | 3 | {told['answered']} |")
