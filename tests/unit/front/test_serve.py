"""How many jobs a worker takes at once."""

import pytest

from front.queue import serve


@pytest.mark.parametrize("wanted, capacity, expected", [
    (None, None, 128), (None, 7, 7), (None, 128, 128), (None, 4096, 128), (None, 0, 128), (1, 4096, 1), (160, 7, 160),
    (300, None, 300)])
def test_jobs_at_once(wanted, capacity, expected):
    assert serve.jobs_at_once(wanted, capacity) == expected


def test_more_than_a_ping_can_name_is_warned_of(capsys):
    serve.jobs_at_once(160, None)
    assert "ping" not in capsys.readouterr().out
    serve.jobs_at_once(161, None)
    assert "MAX_CONCURRENCY=161" in capsys.readouterr().out
