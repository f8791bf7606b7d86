"""The loader against a fake of the engine's two calls, which watches what may never happen."""

import asyncio
import random
from collections import Counter

import pytest

from lora.loading import Loader
from lora.sources import Wanted
from utils import JobError


def wanted(*names: str) -> tuple[Wanted, ...]:
    return tuple(Wanted(name, ((f"/vol/{name}", "/vol"),)) for name in names)


class Fake:
    """The engine: what is loaded in its life, who uses it, and faults."""

    def __init__(self, limit: int | None = 4, present: dict[str, bool] | None = None, seconds: float = 60.0):
        self.limit, self.present, self.life = limit, present or {}, 1
        self.up, self.loaded, self.uses = True, set(self.present), Counter()
        self.calls: list[tuple[str, str]] = []
        self.busy, self.most = 0, 0
        self.gates: dict[str, asyncio.Event] = {}
        self.refuse: dict[str, str] = {}
        self.bad: dict[str, JobError] = {}
        self.prepared: list[str] = []
        self.dies_of: set[str] = set()
        self.loader = Loader(self.post, lambda life: self.up and self.life == life, self.fate, self.prepare,
                             limit=limit, present=self.present, seconds=seconds)

    async def fate(self, life: int) -> str | None:
        return None if self.up and self.life == life else "it ended"

    async def prepare(self, one: Wanted) -> str:
        self.prepared.append(one.name)
        await self._pass(f"prepare {one.name}")
        if error := self.bad.get(one.name):
            raise error
        return one.folders[0][0]

    async def _pass(self, what: str) -> None:
        await asyncio.sleep(0)
        if what in self.gates:
            await self.gates[what].wait()

    def hold(self, what: str) -> None:
        self.gates[what] = asyncio.Event()

    def let(self, what: str) -> None:
        self.gates.pop(what).set()

    async def post(self, path, body, limit):
        name, life = body["lora_name"], self.life
        self.calls.append((path, name))
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            await self._pass(name)
        finally:
            self.busy -= 1
        if name in self.dies_of:
            self.restart()
        if life != self.life:
            raise ConnectionError
        if path == "/load_lora_adapter":
            assert body["lora_path"] == f"/vol/{name}"
            if name in self.refuse:
                return 400, {"success": False, "error_message": self.refuse[name]}
            assert name not in self.loaded
            self.loaded.add(name)
            assert self.limit is None or len(self.loaded) <= self.limit
        else:
            assert not self.uses[name], "unloaded while in use"
            self.loaded.remove(name)
            if "incomplete unload" in self.refuse.get(name, ""):
                del self.refuse[name]
        return 200, {"success": True, "error_message": ""}

    def restart(self) -> None:
        self.life += 1
        self.loaded, self.uses = set(self.present), Counter()

    async def use(self, names: tuple[str, ...], until: asyncio.Event | None = None, proves: bool = True) -> None:
        """One request, from first to last, as job/ makes it."""
        while not await self.loader.take(wanted(*names), life := self.life):  # noqa: ASYNC110
            await asyncio.sleep(0)
        try:
            if life == self.life:
                assert self.loaded >= set(names), "not loaded"
                self.uses.update(names)
            await (until.wait() if until else asyncio.sleep(0))
        finally:
            if life == self.life:
                self.uses.subtract(names)
            self.loader.give(wanted(*names), life)
        if proves:
            self.loader.answered(wanted(*names))


async def settled() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_hundred_requests_are_one_load():
    fake = Fake()
    await asyncio.gather(*[fake.use(("a",)) for _ in range(100)])
    assert fake.calls == [("/load_lora_adapter", "a")] and fake.prepared == ["a"]


async def test_what_is_loaded_waits_for_nothing():
    fake = Fake(present={"base": False})
    fake.hold("slow")
    slow = asyncio.create_task(fake.use(("slow",)))
    await settled()
    assert fake.calls
    await asyncio.wait_for(fake.use(("base",)), 5)
    fake.let("slow")
    await slow


async def test_one_that_takes_long_to_prepare_holds_up_no_other():
    fake = Fake()
    fake.hold("prepare slow")
    slow = asyncio.create_task(fake.use(("slow",)))
    await settled()
    await asyncio.wait_for(fake.use(("quick",)), 5)
    fake.let("prepare slow")
    await slow


async def test_who_leaves_while_granted_gives_back():
    fake = Fake(limit=1)
    fake.hold("a")
    task = asyncio.create_task(fake.loader.take(wanted("a"), 1))
    await settled()
    fake.let("a")
    while "a" not in fake.loader.loaded:  # noqa: ASYNC110
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    if not task.cancelled():
        fake.loader.give(wanted("a"), 1)
    await asyncio.wait_for(fake.use(("b",)), 5)  # there is room only if nothing of it is held


async def test_what_was_closed_opens_when_nobody_needs_room_any_more():
    fake, end = Fake(limit=1, present={"a": False}), asyncio.Event()
    stream = asyncio.create_task(fake.use(("a",), end))
    await settled()
    new = asyncio.create_task(fake.use(("b",)))
    await settled()
    late = asyncio.create_task(fake.use(("a",)))
    await settled()
    assert not late.done()  # it is to go
    new.cancel()
    await asyncio.wait_for(late, 5)
    end.set()
    await stream
    assert not fake.calls


async def test_what_cannot_be_prepared_fails_for_all_who_wait_and_is_looked_at_anew():
    fake = Fake()
    fake.bad["a"] = JobError("no", code=400)
    results = await asyncio.gather(*[fake.use(("a", "b")) for _ in range(3)], return_exceptions=True)
    assert {str(result) for result in results} == {"no"}
    del fake.bad["a"]
    await fake.use(("a", "b"))
    fake.bad["c"] = ValueError("a fault of the worker")
    with pytest.raises(JobError) as raised:
        await fake.use(("c",))
    assert raised.value.code == 500 and "fault" not in raised.value.message


async def test_one_bad_adapter_of_a_batch_is_told_before_the_other_is_there():
    fake = Fake()
    fake.hold("prepare slow")
    fake.bad["bad"] = JobError("no", code=400)
    with pytest.raises(JobError):
        await asyncio.wait_for(fake.use(("slow", "bad")), 5)
    fake.let("prepare slow")
    await settled()
    await fake.loader.close()


async def test_what_the_engine_refuses_and_what_it_has_already():
    fake = Fake()
    fake.refuse["a"] = "wrong rank"
    with pytest.raises(JobError, match="wrong rank") as raised:
        await fake.use(("a",))
    assert raised.value.code == 400
    fake.refuse["a"] = "Failed to load LoRA adapter a because it is already loaded"
    fake.loaded.add("a")
    await fake.use(("a",))
    fake.refuse["b"] = "LoRA adapter 'b' has an incomplete unload. Retry the unload before loading it again."
    fake.loaded.add("b")
    await fake.use(("b",))  # whoever asks for it next hears nothing of that
    assert fake.calls[-3:] == [("/load_lora_adapter", "b"), ("/unload_lora_adapter", "b"), ("/load_lora_adapter", "b")]


async def test_too_many_at_once_and_pinned_ones():
    fake = Fake(limit=2, present={"p": True, "q": False})
    with pytest.raises(JobError, match="MAX_LOADED_LORAS"):
        await fake.use(("a", "b"))
    await fake.use(("p", "a"))
    assert fake.loaded == {"p", "a"}
    with pytest.raises(JobError, match="MAX_LOADED_LORAS"):
        await fake.use(("p", "a", "b"))


async def test_waiting_is_bounded_and_the_load_goes_on():
    fake = Fake(seconds=0.05)
    fake.hold("a")
    with pytest.raises(JobError, match="LORA_LOAD_TIMEOUT") as raised:
        await fake.use(("a",))
    assert raised.value.code == 503
    fake.let("a")
    while "a" not in fake.loader.loaded:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await fake.use(("a",))
    assert len(fake.calls) == 1


async def test_what_nobody_waits_for_any_more_does_not_pile_up():
    fake = Fake(seconds=0.01)
    ended = []

    async def prepare(one: Wanted) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(one.name)
        return ""

    fake.loader._prepare = prepare
    for name in map(str, range(40)):
        with pytest.raises(JobError, match="LORA_LOAD_TIMEOUT"):
            await fake.use((name,))
    await settled()
    assert len(ended) >= 30 and "0" not in ended  # the first ones go on: they are the nearest to their end
    await fake.loader.close()
    assert len(ended) == 40 and len(set(ended)) == 40


async def test_what_was_ended_is_prepared_anew_for_who_asks_again():
    fake = Fake(seconds=0.05)
    names = [str(number) for number in range(20)]
    for name in names:
        fake.hold(f"prepare {name}")
    await asyncio.gather(*[fake.use((name,)) for name in names], return_exceptions=True)
    await settled()
    fake.loader._seconds = 60.0
    for name in names:
        fake.let(f"prepare {name}")
    for name in names:
        await fake.use((name,))
    assert len(fake.prepared) > 20
    await fake.loader.close()


async def test_an_engine_that_died_with_it_twice_before_an_answer():
    fake = Fake()
    fake.dies_of = {"a"}
    with pytest.raises(JobError, match="died twice"):
        await fake.use(("a",))
    assert fake.life == 3
    fake.dies_of = set()
    with pytest.raises(JobError, match="died twice"):
        await fake.use(("a",))
    await fake.use(("b",))
    fake.loader.died(wanted("b"), 3)  # which answered before, so that it was something else
    fake.loader.died(wanted("b"), 4)
    await fake.use(("b",))
    fake.loader.died(wanted("c"), 5)
    fake.loader.died(wanted("c"), 5)  # of one death each request tells
    await fake.use(("c",))


async def test_an_engine_that_died_while_it_made_room_did_not_die_of_what_was_waited_for():
    fake, restart = Fake(limit=1, present={"old": False}), Fake.restart
    fake.dies_of = {"old"}

    def restarted() -> None:
        restart(fake)
        if fake.life == 4:
            fake.dies_of = set()

    fake.restart = restarted
    await fake.use(("a",))
    assert fake.loaded == {"a"} and fake.life == 4


async def test_closing_ends_what_is_under_way():
    fake = Fake()
    fake.hold("prepare a")
    fake.hold("b")
    tasks = [asyncio.create_task(fake.use((name,))) for name in "ab"]
    await settled()
    await fake.loader.close()
    for task in tasks:
        task.cancel()
    assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*tasks, return_exceptions=True))


@pytest.mark.parametrize("seed", range(30))
async def test_whatever_happens_everybody_is_served_and_nothing_breaks(seed):
    """Random requests for more adapters than fit, which leave, last, fail and see the engine die."""
    chance = random.Random(seed)
    fake = Fake(limit=chance.choice((2, 3, 5)), present=chance.choice(({}, {"p": True}, {"q": False})))
    fake.bad["bad"] = JobError("no", code=400)
    names = [f"a{number}" for number in range(9)] + ["bad", *fake.present]
    fake.loader.answered(wanted(*names))  # so that none is suspected of the deaths

    async def request() -> None:
        for _ in range(chance.randrange(20)):
            await asyncio.sleep(0)
        some = tuple(dict.fromkeys(chance.choices(names, k=chance.choice((1, 1, 1, 2)))))
        end = asyncio.Event()
        asyncio.get_running_loop().call_later(chance.random() * 0.01, end.set)
        await fake.use(some, end if chance.random() < 0.3 else None)

    async def trouble() -> None:
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0.002)
            fake.restart()

    tasks = [asyncio.create_task(request()) for _ in range(120)]
    troubles = asyncio.create_task(trouble())
    for task in chance.sample(tasks, 15):
        await asyncio.sleep(0)
        task.cancel()
    async with asyncio.timeout(60):
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        await troubles
    for end in ends:
        assert end is None or isinstance(end, asyncio.CancelledError) or isinstance(end, JobError) and (
            end.message == "no" or "MAX_LOADED_LORAS" in end.message), repr(end)
    assert fake.most <= 1 and not +fake.uses
    assert not fake.loader._waiting and (fake.loader._running is None or fake.loader._running.done())
    async with asyncio.timeout(10):  # and nothing is left held or closed
        for name in names[:9]:
            await fake.use((name,))
