"""How many files a worker may have open."""

import resource

import pytest

from front import process


@pytest.fixture
def limits(monkeypatch):
    """limits(soft, hard): what the process may have; returns what it was set to."""
    def of(soft, hard):
        found = [(soft, hard)]
        monkeypatch.setattr(resource, "getrlimit", lambda _: found[-1])
        monkeypatch.setattr(resource, "setrlimit", lambda _, new: found.append(new))
        return found
    return of


@pytest.mark.parametrize("at_once, soft, hard, after, warned", [
    (128, 1024, 4096, 1024, False), (256, 1024, 4096, 1024, False), (257, 1024, 4096, 1027, False),
    (400, 1024, 524_288, 1456, False), (400, 1_048_576, 1_048_576, 1_048_576, False), (400, 1024, 1200, 1200, True),
    (400, 1024, 1024, 1024, True), (400, 1456, 1456, 1456, False)])
def test_there_is_room_for_the_connections_of_all_requests(limits, capsys, at_once, soft, hard, after, warned):
    found = limits(soft, hard)
    process.allow_files(at_once)
    assert found[-1] == (after, hard) and (found[-1] == (soft, hard) or len(found) == 2)
    said = capsys.readouterr().out
    assert ("ulimit -n" in said and f"only {after} files" in said) == warned and bool(said) == warned


NONE = resource.RLIM_INFINITY


@pytest.mark.parametrize("soft, hard, after", [(NONE, NONE, NONE), (1024, NONE, 1456)])
def test_a_limit_that_is_none_bounds_nothing(limits, capsys, soft, hard, after):
    found = limits(soft, hard)
    process.allow_files(400)
    assert found[-1] == (after, hard) and capsys.readouterr().out == ""


@pytest.mark.parametrize("error", [ValueError("not allowed to raise maximum limit"), PermissionError(1, "no")])
def test_a_system_that_refuses_to_raise_it_does_not_end_the_worker(monkeypatch, limits, capsys, error):
    def refuse(_which, _new):
        raise error

    limits(1024, 4096)
    monkeypatch.setattr(resource, "setrlimit", refuse)
    process.allow_files(400)
    said = capsys.readouterr().out
    assert "only 1024 files" in said and "need 1456" in said
