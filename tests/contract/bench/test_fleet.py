"""The simulated fleet beside the real worker: everything is answered, and the same requests are played. Nothing about
times."""

import json

import pytest

from bench.fleet import check_worker
from bench.fleet.check_worker import Case


@pytest.mark.timeout(120)
async def test_the_worker_and_its_simulation_get_the_same_requests(tmp_path, capsys):
    case = Case(concurrency=2, rate=20.0, tokens=6, engine_rate=60.0, post_ms=0.0, requests=8, repeats=1, alone=1)
    assert await check_worker.main(tmp_path, case) == 0
    found = json.loads((tmp_path / "check-worker.json").read_text())
    assert [point["streams"] for point in found["curve"]] == [1, 2]
    [run] = found["runs"]
    for what in ("first", "e2e"):
        for who in ("worker", "simulated"):
            assert 0 < run[what][who]["p50"] <= run[what][who]["p99"]
    text = (tmp_path / "check-worker.md").read_text()
    assert text.strip() == capsys.readouterr().out.strip()
    assert text.count("| worker |") == text.count("| simulated |") == 2
