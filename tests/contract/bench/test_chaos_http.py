"""Short runs over HTTP: chaos, slow clients, a soak; and that the judgement is strict."""

import json
from dataclasses import replace

import pytest

from bench import chaos_http_plan, soak_http
from bench.chaos_checks import BAD
from bench.chaos_http import HttpChaos
from bench.chaos_http_checks import HttpFacts, judge
from bench.chaos_http_client import Answer
from bench.chaos_http_plan import Asked
from bench.chaos_plan import Planned
from bench.loris import Loris, Slow


@pytest.mark.timeout(900)
async def test_each_answer_is_exact_or_an_error_with_a_true_status_and_nothing_is_left():
    plan = chaos_http_plan.make(seed=1, count=300, concurrency=32, faults=3)
    report = await HttpChaos(plan, 1, 32).run()
    assert report.clean, report.markdown() + "\n" + "\n".join(report.problems)
    assert sum(report.outcomes.values()) == 300 and not any(report.outcomes[bad] for bad in BAD)
    # The run was one: everything that it is for did happen.
    assert report.outcomes["completed"] > 50 and report.outcomes["left"] and report.outcomes["failed"]
    assert sum(report.faults.values()) == 3 and report.restarts
    assert {"400", "404"} <= set(report.codes()) and any(asked.stalls for asked in plan.requests)


@pytest.mark.timeout(600)
async def test_slow_clients_hold_up_nobody_and_are_let_go():
    report = await Loris(Slow(heads=40, bodies=30, readers=4, pause=0.1), 3.0).run()
    assert not report.wrong, report.markdown() + "\n" + "\n".join(report.wrong)
    assert {kind: sum(ends.values()) for kind, ends in report.ends.items()} == {
        "heads": 40, "bodies": 30, "readers": 4}
    assert all(report.times.values()) and report.samples["at most"]["descriptors"] > 70


@pytest.mark.timeout(600)
async def test_a_short_soak():
    report = await soak_http.run(200, 16, 20, print)
    assert (report.wrong, report.status, len(report.samples)) == ([], 0, 10)


def test_a_seed_gives_the_same_requests():
    plans = [chaos_http_plan.make(seed, 400, 64, 5) for seed in (3, 3, 4)]
    assert repr(plans[0]) == repr(plans[1]) != repr(plans[2])
    assert len(plans[0].faults) == 5 and len({asked.path for asked in plans[0].requests}) > 5


# ------------------------------------------------------------------ the judgement
CHAT = Asked(0, "POST", "/v1/chat/completions", b"{}", Planned(0, "chat", {}, "chat", ("Paris.",)))
STREAM = replace(CHAT, planned=Planned(0, "chat, streamed", {}, "chat-stream", ("Paris.",)))
REFUSED = replace(CHAT, planned=Planned(0, "bad request", {}, fails=frozenset({400})))
FACTS = HttpFacts([], 2, 60.0)
FELL = HttpFacts([], 2, 60.0, [(1.2, 1.8)])


def answer(status: int, body: object, **changed) -> Answer:
    text = body if isinstance(body, str) else json.dumps(body)
    kind = "text/event-stream" if isinstance(body, str) else "application/json"
    headers = {"content-type": kind, "x-request-id": "a"}
    given = {"sent": 1.0, "ended": 2.0, "whole": True, "headers": headers, **changed}
    return Answer("a", status=status, body=text.encode(), **given)


def events(*texts: str, done: bool = True) -> str:
    found = [{"choices": [{"delta": {"content": text}, "finish_reason": None}]} for text in texts]
    found += [{"choices": [{"delta": {}, "finish_reason": "stop"}]}] if done else []
    return "".join(f"data: {json.dumps(event)}\n\n" for event in found) + "data: [DONE]\n\n" * done


def error(code: int, message: str = "no") -> dict:
    return {"error": {"message": message, "type": "t", "param": None, "code": code}}


WHOLE = {"choices": [{"message": {"content": "Paris."}}]}
AGAIN = {"content-type": "application/json", "x-request-id": "a", "retry-after": "2"}
BROKEN = events("Par", done=False) + f"data: {json.dumps(error(502))}\n\n"


@pytest.mark.parametrize(("asked", "seen", "facts", "outcome"), [
    (CHAT, answer(200, WHOLE), FACTS, "completed"),
    (STREAM, answer(200, events("Par", "is.")), FACTS, "completed"),
    (REFUSED, answer(400, error(400)), FACTS, "failed"),
    (CHAT, None, FACTS, "hung"),
    (CHAT, answer(200, WHOLE, ended=99.0), FACTS, "hung"),
    (CHAT, answer(200, {"choices": [{"message": {"content": "Rome."}}]}), FACTS, "corrupted"),
    (CHAT, answer(200, WHOLE, headers={"content-type": "application/json", "x-request-id": "b"}), FACTS, "corrupted"),
    (CHAT, answer(0, ""), FACTS, "corrupted"),
    (CHAT, answer(200, WHOLE, whole=False), FACTS, "corrupted"),
    (STREAM, answer(200, events("Par", done=False)), FACTS, "corrupted"),         # it ends as if nothing were missing
    (STREAM, answer(200, events("Rome.")), FACTS, "corrupted"),
    (STREAM, answer(200, WHOLE), FACTS, "corrupted"),
    (REFUSED, answer(200, WHOLE), FACTS, "corrupted"),
    (REFUSED, answer(404, error(404)), FACTS, "corrupted"),
    (REFUSED, answer(400, error(404)), FACTS, "corrupted"),                        # the status is not the body's
    (REFUSED, answer(400, {"detail": "no"}), FACTS, "corrupted"),
    (REFUSED, answer(400, error(400, "Internal error of the worker (KeyError).")), FACTS, "corrupted"),
    (STREAM, answer(200, BROKEN), HttpFacts([1.5], 2, 60.0), "failed"),
    (STREAM, answer(200, BROKEN), FACTS, "corrupted"),                             # nothing explains it
    (CHAT, answer(502, error(502)), HttpFacts([1.5], 2, 60.0), "failed"),
    (CHAT, answer(502, error(502)), HttpFacts([9.0], 2, 60.0), "corrupted"),
    (CHAT, answer(429, error(429), headers=AGAIN, crowd=3), FACTS, "failed"),
    (CHAT, answer(429, error(429), headers=AGAIN, crowd=2), FACTS, "corrupted"),   # there was room
    (CHAT, answer(429, error(429), crowd=3), FACTS, "corrupted"),                  # it does not say when
    (STREAM, answer(200, events("Par", done=False), whole=False), FELL, "failed"),  # its process was killed
    (STREAM, answer(200, events("Rom", done=False), whole=False), FELL, "corrupted"),
    (CHAT, answer(0, ""), FELL, "failed"),
    (CHAT, answer(0, ""), HttpFacts([], 2, 60.0, [(8.0, 9.0)]), "corrupted"),
    (STREAM, answer(200, events("Par", done=False), whole=False), FACTS, "corrupted"),
    (STREAM, answer(200, events("Par", done=False)[:-9], left=1.5, whole=False), FACTS, "left"),
    (STREAM, answer(200, events("Rom", done=False), left=1.5, whole=False), FACTS, "corrupted"),
])
def test_the_judgement_of_a_request(asked, seen, facts, outcome):
    assert judge(asked, seen, facts).outcome == outcome
