"""What the worker's clock leaves out, on clocks that say what the test wants."""

import os
import threading

import pytest

import clock
from clock import BEAT, LONGEST, Clock, reading


class Hands:
    """Two clocks of the system."""

    def __init__(self):
        self.monotonic, self.boottime = 1000.0, 5000.0
        self.clock = Clock(lambda: self.monotonic, lambda: self.boottime, beats=False)

    def turn(self, seconds: float, boottime: float | None = None) -> float:
        self.monotonic += seconds
        self.boottime += seconds if boottime is None else boottime
        return self.clock.awake()


@pytest.fixture
def hands():
    return Hands()


def test_time_that_passes_between_readings_counts(hands):
    start = hands.clock.awake()
    for _ in range(100):
        hands.turn(LONGEST)
    assert hands.clock.awake() - start == pytest.approx(100 * LONGEST) and hands.clock.thaws() == 0


def test_a_frozen_span_does_not(hands):
    start = hands.turn(1.0)
    assert hands.turn(3600.0) == pytest.approx(start)
    assert hands.turn(1.0) - start == pytest.approx(1.0)
    assert hands.clock.thaws() == 1


def test_each_span_is_left_out_once_however_many_read(hands):
    start = hands.clock.awake()
    hands.monotonic += 60
    hands.boottime += 60
    readings = []
    threads = [threading.Thread(target=lambda: readings.append(hands.clock.awake())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(readings) == {start} and hands.clock.thaws() == 1


def test_a_suspended_machine_is_a_thaw_although_its_timers_stood_still(hands):
    start = hands.clock.awake()
    assert hands.turn(0.1, boottime=600.0) - start == pytest.approx(0.1)
    assert hands.clock.thaws() == 1


@pytest.mark.parametrize("back", [0.001, 1.0, 900.0])
def test_a_clock_that_jumps_back_stands_still(hands, back):
    start = hands.clock.awake()
    assert hands.turn(-back) == pytest.approx(start)
    assert hands.turn(1.5) - start == pytest.approx(1.5) and hands.clock.thaws() == 0


def test_listeners_are_told_once_what_was_lost(hands):
    told = []
    end = hands.clock.listen(told.append)
    hands.turn(10)
    hands.turn(1)
    hands.turn(20)
    assert told == []  # not by whoever reads
    hands.clock.tell()
    hands.clock.tell()
    assert told == [pytest.approx(30)]
    end()
    hands.turn(10)
    hands.clock.tell()
    assert len(told) == 1


def test_a_listener_that_fails_does_not_keep_the_news_from_others(hands, capsys):
    told = []
    hands.clock.listen(lambda seconds: 1 / 0)
    hands.clock.listen(told.append)
    hands.turn(10)
    hands.clock.tell()
    assert told == [pytest.approx(10)] and "ZeroDivisionError" in capsys.readouterr().out


def test_the_clocks_own_thread_reads_it_so_that_nobody_has_to():
    readings, enough = [], threading.Event()

    def monotonic() -> float:  # a clock of its own: ten seconds pass while nobody else asks
        readings.append(threading.current_thread().name)
        if len(readings) > 5:
            enough.set()
        return len(readings) * BEAT

    own = Clock(monotonic, monotonic)
    own.awake()
    assert enough.wait(60) and own.thaws() == 0 and "clock" in readings


def test_what_was_before_the_first_reading_is_no_frost():
    now = [0.0]
    own = Clock(lambda: now[0], lambda: now[0])
    now[0] = 100.0
    assert own.awake() == 100.0 and own.thaws() == 0


def test_a_child_process_has_a_clock_of_its_own():
    heard = []
    end = clock.listen(heard.append)
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            own = reading._clock
            os.write(write, b"reads" if clock.awake() > 0 and own._thread.is_alive() and not own._listeners
                     else b"fails")
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    end()
    with open(read, "rb") as told:
        assert told.read() == b"reads"
