"""The fronts that the tests' jobs go through, and what of them is one front's alone."""

import pytest

FRONTS = ["queue", "http"]


def queue_only(why: str):
    """Marks a test that has no counterpart over HTTP."""
    assert why
    return pytest.mark.parametrize("way", ["queue"], indirect=True)


JOB_FORM = queue_only("a job says by its own fields what it is; an HTTP request by its route")
OWN_ENGINE = queue_only("about the server's own processes and lines, which are this worker's")
