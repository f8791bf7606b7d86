"""The permits' two sides in scripted dialogues: what the owner and the fronts say to each other, in any order."""

import asyncio
import random

import pytest

from front.http.gate import Full
from front.http.processes.lease import Lease
from front.http.processes.ledger import Ledger


def told(orders):
    return [(front, *message) for front, message in orders]


def joined(ledger, *fronts):
    for front in fronts:
        assert ledger.join(front) == []
    return ledger


# ------------------------------------------------------------ the owner's side
def test_the_first_to_ask_gets_some_to_keep_and_the_others_as_well():
    ledger = joined(Ledger(12, True), "a", "b")
    assert told(ledger.ask("a", 1)) == [("a", "grant", [1], 3)]
    assert told(ledger.ask("b", 1)) == [("b", "grant", [1], 2)]
    assert (ledger.free, ledger.held) == (5, {"a": 4, "b": 3})


def test_who_asks_when_none_is_free_has_all_fronts_give_back_what_they_keep():
    ledger = joined(Ledger(3, True), "a", "b")
    ledger.ask("a", 1)  # one to run on, none to keep: 2 // 3
    ledger.ask("a", 2)
    ledger.ask("a", 3)
    assert ledger.free == 0
    assert told(ledger.ask("b", 1)) == [("a", "pressed", 1), ("b", "pressed", 1)]
    assert ledger.give("b", 0, 1) == []  # a may keep one still
    assert told(ledger.give("a", 1, 1)) == [("b", "grant", [1], 0)]
    assert ledger.held == {"a": 2, "b": 1}
    assert told(ledger.give("a", 1, 1)) == [("a", "pressed", 0), ("b", "pressed", 0)]


def test_who_waits_does_so_in_the_order_of_all_fronts():
    ledger = joined(Ledger(1, True), "a", "b", "c")
    ledger.ask("a", 1)
    ledger.ask("b", 1)
    assert ledger.give("a", 0, 1) == ledger.give("b", 0, 1) == []
    assert told(ledger.give("c", 0, 1)) == [("a", "full", True), ("b", "full", True), ("c", "full", True)]
    assert told(ledger.ask("c", 1)) == [("c", "refuse", 1)]
    assert told(ledger.give("a", 1, 1))[0] == ("b", "grant", [1], 0)
    assert ("a", "refuse", 2) not in told(ledger.ask("a", 2)) and ledger.waiting == 1  # one may wait again


def test_nobody_is_refused_before_every_front_has_answered():
    ledger = joined(Ledger(2, False), "a", "b")
    ledger.ask("a", 1)
    ledger.ask("a", 2)
    assert told(ledger.ask("b", 1)) == [("a", "pressed", 1), ("b", "pressed", 1)]
    assert ledger.give("b", 0, 1) == []
    assert told(ledger.give("a", 0, 1)) == [("b", "refuse", 1), ("a", "full", True), ("b", "full", True)]
    assert told(ledger.give("a", 1, 1)) == [("a", "pressed", 0), ("b", "pressed", 0), ("a", "full", False),
                                            ("b", "full", False)]


def test_an_answer_to_an_earlier_shortage_does_not_count_for_this_one():
    ledger = joined(Ledger(1, False), "a", "b")
    ledger.ask("a", 1)
    ledger.ask("b", 1)          # round 1
    ledger.give("a", 1, 1)      # b's
    ledger.give("b", 1, 1)      # over
    assert told(ledger.ask("a", 2)) == [("a", "grant", [2], 0)]
    ledger.ask("b", 2)          # round 2
    assert ledger.give("b", 0, 2) == []
    assert ledger.give("a", 0, 1) == []  # late
    assert told(ledger.give("a", 0, 2))[0] == ("b", "refuse", 2)


def test_what_a_front_held_is_free_when_it_has_ended_and_whoever_it_asked_for_waits_no_more():
    ledger = joined(Ledger(2, True), "a", "b")
    ledger.ask("a", 1)
    ledger.ask("a", 2)
    ledger.ask("b", 1)
    ledger.ask("a", 3)
    assert told(ledger.leave("a")) == [("b", "grant", [1], 0), ("b", "pressed", 0)]
    assert (ledger.free, ledger.held, ledger.waiting) == (1, {"b": 1}, 0)


def test_one_that_comes_later_is_told_how_it_stands():
    ledger = joined(Ledger(1, False), "a")
    ledger.ask("a", 1)
    ledger.ask("a", 2)
    ledger.give("a", 0, 1)
    assert told(ledger.join("b")) == [("b", "pressed", 1), ("b", "full", True)]


def test_nobody_gives_back_what_he_does_not_hold():
    ledger = joined(Ledger(2, True), "a")
    with pytest.raises(ValueError):
        ledger.give("a", 1)


def test_who_looks_hears_whether_an_ask_would_be_refused():
    ledger = joined(Ledger(1, True), "a", "b")
    assert told(ledger.look("a", 1)) == [("a", "seen", 1, False)]  # one is free
    ledger.ask("a", 1)
    assert told(ledger.look("b", 2)) == [("a", "pressed", 1), ("b", "pressed", 1)]  # a may keep it
    ledger.give("b", 0, 1)
    assert told(ledger.give("a", 0, 1)) == [("b", "seen", 2, False)]  # one may wait
    ledger.ask("b", 1)
    assert ("a", "seen", 3, True) in told(ledger.look("a", 3))
    assert ledger.waiting == 1 and ledger.held == {"a": 1, "b": 0}


# ------------------------------------------------------------ a front's side
def lease(patience=10.0):
    said = []
    made = Lease(patience, said.append)
    made.limit = 4
    return made, said


async def inside(gate, until):
    async with gate.passing() as waited:
        await until.wait()
        return waited


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_kept_permit_costs_no_message_and_is_kept_again():
    gate, said = lease()
    gate.granted([], 1)
    for _ in range(3):
        async with gate.passing():
            assert (gate.inside, gate.spare) == (1, 0)
    assert said == [] and gate.spare == 1


async def test_while_they_are_short_each_is_asked_for_and_goes_back():
    gate, said = lease()
    gate.granted([], 2)
    gate.pressed(3)
    assert said == [["give", 2, 3]]
    go, task = asyncio.Event(), None
    task = asyncio.create_task(inside(gate, go))
    await turns()
    assert said[1:] == [["ask", 1]] and gate.waiting == 1
    gate.granted([1], 0)
    await turns()
    assert gate.inside == 1
    go.set()
    await task
    assert said[2:] == [["give", 1, 3]] and gate.inside == gate.waiting == 0


async def test_who_is_refused_or_waits_too_long_is_told_so():
    gate, said = lease(0.01)
    with pytest.raises(Full, match="runs 4 requests already"):
        await inside(gate, asyncio.Event())
    assert said == [["ask", 1], ["withdraw", 1]]
    gate, said = lease(0.0)
    task = asyncio.create_task(inside(gate, asyncio.Event()))
    await turns()
    gate.refused(1)
    with pytest.raises(Full):
        await task
    gate.full(True)
    with pytest.raises(Full):
        gate.check()
    gate.full(False)
    gate.check()


async def test_who_looks_is_told_before_it_asks():
    gate, said = lease()
    gate.granted([], 1)
    await gate.look()  # there is one
    assert said == []
    gate.pressed(1)
    for number, full in ((1, False), (2, True)):
        task = asyncio.create_task(gate.look())
        await turns()
        assert said[-1] == ["look", number]
        gate.seen(number, full)
        await asyncio.gather(task, return_exceptions=True)
        assert isinstance(task.exception(), Full) is full


async def test_what_was_granted_to_somebody_who_has_left_goes_on():
    gate, said = lease()
    for number in (1, 2):
        task = asyncio.create_task(inside(gate, asyncio.Event()))
        await turns()
        if number == 1:  # left, and then granted
            task.cancel()
            await turns()
            assert said[-1] == ["withdraw", 1]
            gate.granted([1], 0)
        else:  # granted, and left before it knew
            gate.granted([2], 0)
            task.cancel()
            await turns()
        assert task.cancelled() and gate.inside == 0
    assert gate.spare == 2 and gate.waiting == 0


# ------------------------------------------------------------ both, with messages that take their time
@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("patience", [0.0, 1000.0])
async def test_never_more_than_the_limit_run_and_none_is_lost_or_forgotten(seed, patience):
    """Requests come, leave and end, fronts die and come back, in an order that the seed draws; each message takes as
    long as it likes, in order."""
    draw = random.Random(seed)
    limit, numbers = draw.choice((1, 2, 5, 16)), range(draw.choice((2, 3, 5)))
    ledger, gates, there, back = Ledger(limit, patience > 0), {}, {}, {}
    tasks, refused = [], 0

    def join(name):
        there[name], back[name] = [], []
        gates[name] = Lease(patience, back[name].append)
        post(ledger.join(name))

    def post(orders):
        for name, message in orders:
            there[name].append(message)

    def carry(name):
        if back[name] and draw.random() < 0.5:
            word, *about = back[name].pop(0)
            post(getattr(ledger, word)(name, *about))
        elif there[name]:
            word, *about = there[name].pop(0)
            getattr(gates[name], {"grant": "granted", "refuse": "refused"}.get(word, word))(*about)

    def check():
        assert ledger.free + sum(ledger.held.values()) == limit and ledger.free >= 0
        assert sum(gate.inside for gate in gates.values()) <= limit
        for name, gate in gates.items():
            assert gate.inside + gate.spare <= ledger.held[name]

    for name in numbers:
        join(name)
    for _ in range(400):
        what, name = draw.random(), draw.choice(list(gates))
        if what < 0.25:
            go = asyncio.Event()
            tasks.append((name, go, asyncio.create_task(inside(gates[name], go))))
        elif what < 0.4 and tasks:
            tasks[draw.randrange(len(tasks))][1].set()
        elif what < 0.45 and tasks:
            tasks[draw.randrange(len(tasks))][2].cancel()
        elif what < 0.46:
            for other, _go, task in tasks:
                if other == name:
                    task.cancel()
            del gates[name]
            post_later = ledger.leave(name)
            there.pop(name), back.pop(name)
            post(post_later)
            join(name)
        else:
            carry(name)
        await turns(3)
        check()
        for entry in [entry for entry in tasks if entry[2].done()]:
            tasks.remove(entry)
            if not entry[2].cancelled() and entry[2].exception():
                assert isinstance(entry[2].exception(), Full)
                refused += 1
    for _name, go, _task in tasks:  # everybody's turn comes, once those before have ended
        go.set()
    for _ in range(5000):
        for name in gates:
            carry(name)
        await turns(1)
        check()
        if all(task.done() for *_, task in tasks) and not any(there.values()) and not any(back.values()):
            break
    await asyncio.gather(*(task for *_, task in tasks), return_exceptions=True)
    assert all(gate.inside == gate.waiting == 0 for gate in gates.values()) and ledger.waiting == 0
    assert {name: gate.spare for name, gate in gates.items()} == ledger.held
