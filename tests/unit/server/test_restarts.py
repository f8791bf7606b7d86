"""When a dead server is started again, and when a silent one counts as hung."""

from server.restarts import Restarts, Silence


def test_so_many_within_the_window_and_no_more():
    restarts = Restarts(2, 100.0)
    assert [restarts.take(at) is None for at in (0.0, 10.0, 20.0)] == [False, False, True]
    assert restarts.recent == 2
    assert restarts.take(100.0) is None      # the first still counts: exactly the window old
    assert restarts.take(100.1) is not None  # now it does not
    assert restarts.recent == 2 and restarts.take(105.0) is None


def test_none_when_none_is_allowed():
    assert Restarts(0, 100.0).take(5.0) is None


def test_each_failed_one_is_followed_by_a_longer_pause_and_a_success_resets_it():
    restarts = Restarts(99, 1e9)
    assert [restarts.take(float(i)) for i in range(6)] == [0.5, 2.0, 8.0, 30.0, 30.0, 30.0]
    restarts.succeeded()
    assert [restarts.take(float(i)) for i in range(2)] == [0.5, 2.0]


def test_silence_counts_from_the_first_question_without_an_answer():
    silence = Silence(10.0)
    assert not silence.lasts(asked=100.0, last_sign=0.0, now=105.0)
    assert not silence.lasts(asked=106.0, last_sign=0.0, now=109.9)
    assert silence.lasts(asked=110.0, last_sign=0.0, now=110.0)


def test_what_jobs_hear_is_a_sign_of_life():
    silence = Silence(10.0)
    assert not silence.lasts(asked=100.0, last_sign=99.0, now=105.0)
    assert not silence.lasts(asked=106.0, last_sign=107.0, now=116.9)
    assert silence.lasts(asked=116.0, last_sign=107.0, now=117.0)


def test_an_answer_ends_the_silence():
    silence = Silence(10.0)
    assert not silence.lasts(asked=100.0, last_sign=0.0, now=109.0)
    silence.broken()
    assert not silence.lasts(asked=109.5, last_sign=0.0, now=119.0)
    assert silence.lasts(asked=119.0, last_sign=0.0, now=119.5)


def test_a_silence_may_begin_at_the_clock_s_zero():
    assert Silence(0.0).lasts(asked=0.0, last_sign=0.0, now=0.0)
    silence = Silence(5.0)
    assert not silence.lasts(asked=0.0, last_sign=0.0, now=4.0)
    assert silence.lasts(asked=4.0, last_sign=0.0, now=5.0)
