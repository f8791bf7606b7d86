from lora.table import Table


def test_all_or_none_are_held():
    table = Table(3, {"a": False})
    assert not table.take(["a", "b"]) and table.missing(["a", "b"]) == ["b"]
    table.add("b")
    assert table.take(["a", "b"])
    assert table.victim(()) is None  # both are in use, so nothing of the first try may be left
    table.give(["a", "b"])
    assert table.victim(()) == "a"


def test_the_least_recently_used_that_nobody_uses_goes():
    table = Table(3, {})
    for name in "abc":
        table.add(name)
    assert table.full
    table.take(["a"])
    assert table.victim(()) == "b"
    table.take(["b"])
    table.give(["b"])  # used until now
    assert table.victim(()) == "c"
    table.give(["a"])
    assert [table.victim(("c",)), table.victim(("c", "b"))] == ["b", "a"]
    table.remove("c")
    assert not table.full and table.names == ("b", "a")


def test_where_all_are_in_use_the_oldest_takes_nobody_new():
    table = Table(2, {})
    for name in "ab":
        table.add(name)
        table.take([name])
    assert table.victim(()) is None
    assert not table.take(["a"]) and table.take(["b"])
    assert table.victim(()) is None  # and no second one is closed
    assert table.take(["b"])
    table.give(["b", "b", "b"][:1])
    table.give(["a"])
    assert table.victim(()) == "a"
    assert table.take(["a"])  # what was closed is open again, until it is gone


def test_whoever_is_free_first_goes_and_the_closed_one_stays():
    table = Table(2, {})
    for name in "ab":
        table.add(name)
        table.take([name])
    assert table.victim(()) is None and not table.take(["a"])
    table.give(["b"])
    assert table.victim(()) == "b" and table.take(["a"])
    assert not table.reopen()


def test_reopening_says_whether_anything_was_closed():
    table = Table(1, {"a": False})
    table.take(["a"])
    assert table.victim(()) is None
    assert table.reopen() and not table.reopen() and table.take(["a"])


def test_pinned_ones_stay_and_take_room():
    table = Table(3, {"a": True, "b": False})
    assert table.room(["x"]) == 2 and table.room(["a", "x"]) == 3
    assert table.victim(()) == "b"
    table.remove("b")
    assert table.victim(()) is None and table.take(["a"])


def test_without_a_limit_nothing_is_full():
    table = Table(None, {})
    for number in range(99):
        table.add(str(number))
    assert not table.full and table.room(["x"]) is None
