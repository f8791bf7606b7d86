"""How many jobs a worker takes at once."""

import pytest

from front.queue import serve


@pytest.mark.parametrize("wanted, capacity, expected", [
    (None, None, 128), (None, 7, 7), (None, 128, 128), (None, 4096, 128), (None, 0, 128), (1, 4096, 1), (180, 7, 180),
    (300, None, 300)])
def test_jobs_at_once(wanted, capacity, expected):
    assert serve.jobs_at_once(wanted, capacity) == expected


def test_more_than_a_ping_can_name_is_warned_of(capsys):
    serve.jobs_at_once(180, None)
    assert "ping" not in capsys.readouterr().out
    serve.jobs_at_once(181, None)
    assert "MAX_CONCURRENCY=181" in capsys.readouterr().out
