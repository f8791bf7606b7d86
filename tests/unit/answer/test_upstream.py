"""Attempts in scripted dialogues: what is sent again, what is told, and what is aborted by name."""

import asyncio
import contextlib
import json

import pytest

from answer import upstream
from answer.forms import Form, Upload
from answer.outcome import DECISIONS
from answer.request import Request
from answer.running import Last
from answer.upstream import KEEPALIVE, ConnectionBroke, Patience, Upstream
from answer.wire import Broke, Unreached
from tests.unit.answer.dialogue import BROKEN, Engine, Network, Reply, events, whole
from utils import JobError

FULL = {"object": "error", "message": "The request queue is full.", "type": "503", "param": None, "code": 503}
CHAT = "/v1/chat/completions"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(upstream, "_RETRY_FIRST", 0.001)
    monkeypatch.setattr(upstream, "_RETRY_LAST", 0.002)


def request(stream=False, path=CHAT, **more):
    return Request("POST", path, {"stream": stream}, rids=("job",), **more)


def client(network, engine=None, **patience):
    patience = Patience(**{"idle": 30, "request": 30, "retry": 30, **patience})
    hooks = {"available": engine.available, "fate": engine.fate} if engine else {}
    return Upstream("", patience=patience, network=network, **hooks)


async def collect(network, asked, engine=None, **patience):
    """The chunks, and the error that came last, or None."""
    chunks, failed = [], None
    one = client(network, engine, **patience)
    try:
        async for chunk in one.run(asked):
            chunks.append(chunk)
    except JobError as error:
        failed = error
    await one.close()
    assert not one._running and not one._aborts
    return chunks, failed


async def test_an_answer():
    network = Network(whole({"a": 1}))
    assert await collect(network, request()) == ([{"a": 1}], None)
    assert network.aborted == []


async def test_the_last_chunk_of_a_stream_says_so():
    class Over(Reply):
        def arrived(self):
            data = super().arrived()
            if not self._parts and not self.ended.done():
                self.ended.set_result(None)
            return data

    chunks, failed = await collect(Network(Over(*events("a", "b"))), request(stream=True))
    assert (chunks, failed) == (['data: "a"\n\n', 'data: "b"\n\n'], None)
    assert [isinstance(chunk, Last) for chunk in chunks] == [False, True]
    chunks, failed = await collect(Network(Over(*events("a", {"error": {"message": "no"}}))), request(stream=True))
    assert failed and not any(isinstance(chunk, Last) for chunk in chunks)  # the event of the failure follows
    assert len(chunks) == 2


async def test_a_stream():
    network = Network(Reply(*events("a", "b")))
    assert await collect(network, request(stream=True)) == (['data: "a"\n\n', 'data: "b"\n\n'], None)
    assert network.aborted == []


# --- tried again --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("first, aborted", [
    (lambda: whole(FULL, 503), []), (lambda: whole({"error": "slow down"}, 429), []), (Unreached("x"), []),
    (BROKEN, ["job"]), (lambda: Reply(BROKEN), ["job"]), (lambda: Reply(*events({"error": FULL})), ["job"])])
async def test_what_did_not_run_and_what_broke_unseen_is_tried_again(first, aborted):
    network = Network(first, first, lambda: Reply(*events("a")))
    assert await collect(network, request(stream=True)) == (['data: "a"\n\n'], None)
    assert len(network.sent) == 3
    assert network.aborted == aborted * 2  # before the same id is used again


START, ERROR = ('event: message_start\ndata: {"type": "message_start"}\n\n',
                'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "%s"}}\n\n')


@pytest.mark.parametrize("together", [True, False])
async def test_a_message_that_was_opened_to_say_that_there_is_no_room_is_tried_again(together):
    parts = [START.encode(), (ERROR % "The request queue is full.").encode()]
    full = [b"".join(parts)] if together else parts
    network = Network(lambda: Reply(*full), lambda: Reply(START.encode(), b"event: ping\ndata: {}\n\n"))
    chunks, failed = await collect(network, request(stream=True, path="/v1/messages"))
    assert failed is None and "".join(chunks) == START + "event: ping\ndata: {}\n\n"
    assert len(network.sent) == 2


async def test_a_message_that_is_only_opened_arrives():
    network = Network(lambda: Reply(START.encode()))
    assert await collect(network, request(stream=True, path="/v1/messages")) == ([START], None)


async def test_it_is_tried_again_as_long_as_patience_lasts():
    network = Network(*[lambda: whole(FULL, 503)] * 1000)
    chunks, failed = await collect(network, request(), retry=0.05)
    assert not chunks and failed.code == 503
    assert 1 < len(network.sent) < 1000


async def test_no_patience_is_one_attempt():
    network = Network(whole(FULL, 503))
    chunks, failed = await collect(network, request(), retry=0)
    assert not chunks and failed.code == 503 and len(network.sent) == 1


# --- not tried again ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("text", [text for text, _ in DECISIONS])
@pytest.mark.parametrize("shape", ["whole", "chat", "native"])
async def test_what_the_engine_decided_is_not_run_again(text, shape):
    aborted = {"text": "", "meta_info": {"finish_reason": {"type": "abort", "status_code": 503, "message": text}}}
    network = Network({"whole": lambda: whole({**FULL, "message": text}, 503),
                       "chat": lambda: Reply(*events({"error": {**FULL, "message": text}})),
                       "native": lambda: Reply(*events(aborted))}[shape])
    chunks, failed = await collect(network, request(stream=shape != "whole"))
    assert not chunks and (failed.code, failed.message) == (503, text)
    assert len(network.sent) == 1


async def test_nothing_is_tried_again_once_something_was_seen():
    network = Network(Reply(*events("a"), BROKEN))
    chunks, failed = await collect(network, request(stream=True))
    assert chunks[0] == 'data: "a"\n\n' and "connection" in json.loads(chunks[1][6:])["error"]["message"]
    assert failed.code == 502 and len(chunks) == 2
    assert network.aborted == ["job"]


async def test_an_error_event_before_any_token_has_no_chunk():
    network = Network(Reply(*events({"error": {"message": "no", "code": 400}})))
    chunks, failed = await collect(network, request(stream=True))
    assert chunks == [] and (failed.code, failed.message) == (400, "no")


async def test_a_read_that_says_503_is_an_answer():
    network = Network(Reply(status=503, content_type="text/plain"))
    chunks, failed = await collect(network, Request("GET", "/health"))
    assert not chunks and failed.code == 503 and len(network.sent) == 1


# --- the engine's lives -------------------------------------------------------------------------------------------

async def test_no_engine_in_time_is_final():
    busy = JobError("The engine is being restarted; try again.", type="overloaded_error", code=503)
    network, engine = Network(), Engine(busy)
    chunks, failed = await collect(network, request(), engine)
    assert not chunks and failed is busy and network.sent == [] and engine._lives == []


async def test_a_request_that_saw_the_engine_die_is_told_and_not_sent_again():
    network, engine = Network(BROKEN), Engine(7, fate="It died.")
    chunks, failed = await collect(network, request(), engine)
    assert not chunks and isinstance(failed, ConnectionBroke)
    assert (failed.life, failed.message, failed.code) == (7, "It died.", 502)
    assert engine.asked == [7] and network.aborted == []


async def test_what_was_never_carried_waits_for_the_next_life():
    network, engine = Network(Unreached("x"), whole({"a": 1})), Engine(7, 8, fate="It died.")
    assert await collect(network, request(), engine) == ([{"a": 1}], None)


async def test_a_connection_that_broke_blames_no_life_while_the_engine_lives():
    network, engine = Network(BROKEN), Engine(7)
    _, failed = await collect(network, request(), engine, retry=0)
    assert isinstance(failed, ConnectionBroke) and failed.life is None
    assert network.aborted == ["job"]


# --- time ---------------------------------------------------------------------------------------------------------

def never():
    return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("line", [never, lambda: Reply(never())])
@pytest.mark.parametrize("stream, name", [(True, "ENGINE_IDLE_TIMEOUT"), (False, "REQUEST_TIMEOUT")])
async def test_what_takes_too_long_fails_and_frees_the_engine(line, stream, name):
    network = Network(line)
    chunks, failed = await collect(network, request(stream), idle=0.02, request=0.02)
    assert not chunks and failed.code == 504 and name in failed.message
    assert network.aborted == ["job"] and len(network.sent) == 1


async def test_comments_bridge_any_silence_and_do_not_prolong_it():
    network = Network(lambda: Reply(*events("a"), never()))
    chunks, failed = await collect(network, request(stream=True, openai=True), idle=0.5, keepalive=0.3)
    assert chunks[0] == 'data: "a"\n\n' and failed.code == 504
    assert chunks[1:-1] == [KEEPALIVE]  # a second one would come after 0.6 s
    assert "ENGINE_IDLE_TIMEOUT" in chunks[-1]


async def test_a_delivery_is_no_silence():
    network, delivered = Network(Reply(*events("a", "b"))), []
    async for chunk in client(network, idle=0.01).run(request(stream=True)):
        await asyncio.sleep(0.05)  # noqa: ASYNC110 - longer than the silence that is allowed
        delivered.append(chunk)
    assert len(delivered) == 2


# --- ends from outside --------------------------------------------------------------------------------------------

STOPPED = JobError("The worker was stopped.", type="overloaded_error", code=503)


@pytest.mark.parametrize("line", [never, lambda: Reply(never()), lambda: Reply(*events("a"), never())])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_closing_worker_fails_what_waits_for_the_engine(line, stream):
    network = Network(line)
    one = client(network)

    async def all_of_it():
        return [chunk async for chunk in one.run(request(stream))]

    task = asyncio.create_task(all_of_it())
    while not network.sent:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    one.fail_all(STOPPED)
    with pytest.raises(JobError) as raised:
        await task
    assert raised.value is STOPPED
    await one.close()
    assert network.aborted == ["job"]


async def test_a_closing_worker_lets_a_delivery_end_and_then_tells():
    network = Network(lambda: Reply(*events("a", "b")))
    one, chunks = client(network), []
    with pytest.raises(JobError):
        async for chunk in one.run(request(stream=True)):
            chunks.append(chunk)
            one.fail_all(STOPPED)
    assert chunks[0] == 'data: "a"\n\n' and "stopped" in chunks[1] and len(chunks) == 2
    await one.close()


async def test_it_fails_between_two_attempts_too(monkeypatch):
    monkeypatch.setattr(upstream, "_RETRY_FIRST", 25.0)
    network = Network(lambda: whole(FULL, 503))
    one = client(network)
    task = asyncio.create_task(anext(one.run(request())))
    while not network.sent:  # noqa: ASYNC110
        await asyncio.sleep(0)
    one.fail_all(STOPPED)
    with pytest.raises(JobError) as raised:
        await task
    assert raised.value is STOPPED
    await one.close()


async def test_leaving_a_stream_aborts_it_by_name():
    network = Network(lambda: Reply(*events("a"), never()))
    one = client(network)
    async with contextlib.aclosing(one.run(request(stream=True))) as stream:
        await anext(stream)
    await one.close()
    assert network.aborted == ["job"]


async def test_a_cancelled_job_lets_go_though_its_generator_lives_on():
    network, kept = Network(lambda: Reply(*events("a"), never())), []
    one = client(network)

    async def deliver():
        kept.append(one.run(request(stream=True)))
        await anext(kept[0])
        await asyncio.Event().wait()

    task = asyncio.create_task(deliver())
    while not kept or not network.sent:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.gather(*(job.carrying for job in one._running), return_exceptions=True)
    await one.close()
    assert network.aborted == ["job"]
    await kept[0].aclose()


async def test_a_closed_client_fails_what_still_runs():
    one = client(Network(never))
    task = asyncio.create_task(anext(one.run(request())))
    while not one._running:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await one.close()
    with pytest.raises(JobError) as raised:
        await task
    assert raised.value.code == 503


# --- templates ----------------------------------------------------------------------------------------------------

async def test_texts_are_templated_first():
    network = Network(whole({"tokens": [1, 2]}), whole({"text": "x"}))
    asked = Request("POST", "/generate", {"text": "Hello", "n": 1}, template_texts=("Hello",))
    assert await collect(network, asked) == ([{"text": "x"}], None)
    assert network.sent[0] == ("/tokenize", {"messages": [{"role": "user", "content": "Hello"}]})
    assert network.sent[1] == ("/generate", {"n": 1, "input_ids": [1, 2]})


async def test_a_template_that_fails_is_told():
    network = Network(whole({"object": "error", "message": "No template.", "code": 400}, 400))
    asked = Request("POST", "/generate", {"text": "Hello"}, template_texts=("Hello",))
    _, failed = await collect(network, asked)
    assert (failed.code, failed.message) == (400, "No template.") and len(network.sent) == 1


def test_a_broken_connection_is_an_unreached_engine_too():
    assert issubclass(Unreached, Broke)


# --- forms whose file is on its way -----------------------------------------------------------------------------------

class Reads:
    """A line of the script that reads so many pieces of the form first."""

    def __init__(self, network, pieces, then):
        self._network, self._pieces, self._then = network, pieces, then

    async def answer(self):
        form = self._network.sent[-1][1]
        try:
            async for _ in form.each():
                self._pieces -= 1
                if not self._pieces:
                    break
        except JobError:  # as a client of the network: it says that the connection broke
            raise BROKEN from None
        if isinstance(self._then, Exception):
            raise self._then
        return self._then

    def __call__(self):
        return asyncio.ensure_future(self.answer())


async def audio(*pieces):
    for piece in pieces:
        if isinstance(piece, Exception):
            raise piece
        yield piece


def uploading(*pieces):
    return request(path="/v1/audio/transcriptions", upload=Form((), Upload("a", "audio/wav", audio(*pieces))))


async def test_a_form_is_sent_again_while_nothing_of_its_file_is_gone():
    network = Network(Unreached("ClientConnectorError"))
    network._script += [Reads(network, 1, whole(FULL, 503)), Reads(network, 9, whole({"text": "x"}))]
    assert await collect(network, uploading(b"a", b"b")) == ([{"text": "x"}], None)
    assert len(network.sent) == 3


@pytest.mark.parametrize("then", [whole, BROKEN])
async def test_a_form_whose_file_is_gone_is_not_sent_again(then):
    network = Network()
    network._script += [Reads(network, 2, then(FULL, 503) if callable(then) else then)]
    _, failed = await collect(network, uploading(b"a", b"b"))
    assert failed.code == (503 if callable(then) else 502) and len(network.sent) == 1


async def test_why_a_file_broke_off_is_told_and_not_that_the_connection_did():
    network, engine = Network(), Engine(1, fate="it ended")
    network._script += [Reads(network, 9, None)]
    _, failed = await collect(network, uploading(b"a", JobError("too slow", code=408)), engine)
    assert (failed.code, failed.message, engine.asked) == (408, "too slow", [])


# --- what the engine must have first ------------------------------------------------------------------------------

class Steps:
    """`available` and `before`, in the order in which they were awaited. answers: of `before`, in turn."""

    def __init__(self, *answers):
        self.answers, self.seen, self.life = list(answers), [], 0

    async def available(self):
        self.life += 1
        self.seen.append(f"life {self.life}")
        return self.life

    async def before(self, life):
        self.seen.append(f"before {life}")
        answer = self.answers.pop(0)
        if isinstance(answer, JobError):
            raise answer
        return answer

    async def fate(self, life):
        return None


async def test_each_attempt_waits_for_what_the_engine_must_have():
    steps = Steps(True, True)
    network = Network(lambda: whole(FULL, 503), whole({"a": 1}))
    assert await collect(network, request(before=steps.before), steps) == ([{"a": 1}], None)
    assert steps.seen == ["life 1", "before 1", "life 2", "before 2"]


async def test_a_life_that_ended_meanwhile_is_followed_by_the_next():
    steps = Steps(False, False, True)
    assert await collect(Network(whole({"a": 1})), request(before=steps.before), steps) == ([{"a": 1}], None)
    assert steps.seen == ["life 1", "before 1", "life 2", "before 2", "life 3", "before 3"]


@pytest.mark.parametrize("code", [400, 503])
async def test_what_cannot_be_had_is_final_and_nothing_is_sent(code):
    steps = Steps(JobError("no", code=code))
    network = Network()
    chunks, failed = await collect(network, request(before=steps.before), steps)
    assert chunks == [] and failed.code == code and network.sent == [] and network.aborted == []


async def test_a_question_that_is_no_jobs():
    network = Network(whole({"success": False}, 400), whole("ok"))
    one = client(network)
    assert await one.ask("/load_lora_adapter", {"lora_name": "a"}, 5) == (400, {"success": False})
    assert await one.ask("/load_lora_adapter", {"lora_name": "a"}, 5) == (200, "ok")
    await one.close()
    broken = client(Network(BROKEN))
    with pytest.raises(Broke):
        await broken.ask("/load_lora_adapter", {}, 5)
    await broken.close()
