"""Whether a start in place is handed packed copies again."""

from types import SimpleNamespace

import pytest

from start.weights import coming
from start.weights.coming import Coming


class Ahead:
    """A ReadAhead that was told to unpack, and does nothing."""

    made: list["Ahead"]

    def __init__(self, plan, packed=None):
        self.packed, self.unpacked, self.over, self.killed = packed, packed is not None, False, False
        self.made.append(self)

    def begin(self):
        pass

    def end(self):
        self.over = True

    def kill(self):
        self.over = self.killed = True


@pytest.fixture
def weights(tmp_path, monkeypatch):
    Ahead.made, said = [], []
    monkeypatch.setattr(coming, "ReadAhead", Ahead)
    monkeypatch.setattr(coming.utils, "log", lambda line, level="info": said.append((level, line)))
    start = SimpleNamespace(read_ahead=True, packed="on", packed_dir=str(tmp_path))
    one = Coming(SimpleNamespace(start=start, server_args=("--model-path", "m")), {"flags": {}}, "/nowhere")
    one.environ({})
    yield one, said
    one.close()


def test_a_server_that_had_loaded_is_handed_them_again(weights):
    one, said = weights
    one.ready()
    one.again()
    first, second = Ahead.made
    assert first.killed and first.packed is second.packed is not None and said == []


def test_a_start_that_died_while_it_was_handed_them_is_the_last_that_is(weights):
    """Killed for its memory, or for waiting too long: with the files themselves it may live."""
    one, said = weights
    one.again()
    first, second = Ahead.made
    assert first.killed and first.packed and second.packed is None
    assert [level for level, _ in said] == ["warn"] and "reads the files themselves" in said[0][1]
    one.again()
    assert len(Ahead.made) == 2 and not second.killed  # what was read into the page cache is there still
