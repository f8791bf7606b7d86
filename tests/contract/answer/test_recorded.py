"""What SGLang 0.5.23 really answered, replayed to the worker in several cuts: what comes out is what it said.

The expectation is made of the engine's recorded bytes, never of what a worker made of them then.
"""

import json
import sys
from pathlib import Path

import aiohttp
import pytest

from local.recorded import Case, Exchange, Group
from local.runpod_platform import Platform
from tests.support import ROOT
from tests.worker import WorkerProcess, contract_environ

FOLDER = Path(ROOT) / "tests" / "recorded"
GROUPS = [Group.read(folder) for folder in sorted(FOLDER.iterdir())]
CUTS = ("recorded", "whole", "7", "utf8")
TOO_LONG = "longer than the model's context length"


def asked(case: Case) -> Exchange:
    """The exchange whose answer is the job's: a native prompt may be tokenized first."""
    return case.exchanges[-1]


def events(text: str) -> list[str]:
    return [part for part in text.split("\n\n") if part]


def data(event: str):
    [line] = [line for line in event.split("\n") if line.startswith("data:")]
    return json.loads(line[5:]) if line[5:].strip() != "[DONE]" else "[DONE]"


def fails(value) -> bool:
    """Whether the object of an event reports a failure."""
    return isinstance(value, dict) and (bool(value.get("error")) or value.get("type") == "response.failed")


def check(case: Case, job, cumulative: bool) -> None:
    recorded = asked(case)
    said = recorded.answer.decode()
    if recorded.status >= 400:
        assert job.status == "FAILED", job.output
        assert json.loads(job.error)["code"] == recorded.status
    elif not recorded.streamed:
        assert (job.status, job.output) == ("COMPLETED", [json.loads(said)]), job.error
    elif fails(data(events(said)[-1])) or len(events(said)) > 1 and fails(data(events(said)[-2])):
        check_failure(job, said)
    elif cumulative and recorded.path == "/generate":
        check_cumulative(job, said)
    else:
        assert (job.status, "".join(job.output)) == ("COMPLETED", said), job.error


def check_failure(job, said: str) -> None:
    assert job.status == "FAILED"
    error = json.loads(job.error)
    assert TOO_LONG in said and TOO_LONG in error["message"]
    assert error["code"] == 400
    [last] = [value for value in map(data, events(said)) if fails(value)]
    told = data(events(job.text)[-1])
    assert fails(told) and told.get("type") == last.get("type")  # the event that this route's clients know
    assert "[DONE]" not in job.text


def check_cumulative(job, said: str) -> None:
    assert job.status == "COMPLETED", job.error
    given, known = events("".join(job.output)), events(said)
    assert given[-1] == known[-1] == "data: [DONE]"
    places = [known.index(event) for event in given]
    assert places == sorted(places)
    last = {data(event).get("index"): event for event in known[:-1]}
    assert set(last.values()) <= set(given)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
async def test_a_recorded_answer_comes_out_as_it_was(group):
    environ = contract_environ(**group.environ, REPLAY_FOLDER=str(FOLDER / group.name), WARMUP="off",
                               SGLANG_LAUNCH_COMMAND=f"{sys.executable} -m local.replay_engine")
    wrong = []
    async with Platform(long_poll=5) as platform, WorkerProcess(platform, environ) as worker:
        await worker.connected()
        async with aiohttp.ClientSession() as session:
            for cut in CUTS:
                async with session.get(f"http://127.0.0.1:{environ['SGLANG_PORT']}/_replay?cut={cut}") as response:
                    assert (await response.json())["cut"] == cut
                for case in group.cases:
                    job = await (await platform.submit(case.job)).finished()
                    try:
                        check(case, job, cumulative="INCREMENTAL_STREAMING_OUTPUT" not in group.environ)
                    except (AssertionError, IndexError) as error:
                        wrong.append(f"{case.name}, cut {cut}: {error}"[:700])
    assert not wrong, "\n\n".join(wrong)


def test_the_recordings_are_what_they_should_be():
    names = {group.name: {case.name for case in group.cases} for group in GROUPS}
    assert set(names) == {"generation", "incremental", "embedding"}
    assert {"aborted-chat-stream", "aborted-generate-stream", "refused-generate-stream", "refused-responses-stream",
            "chat-tools-stream", "responses-stream", "messages-stream", "generate-batch-stream",
            "chat-n-stream"} <= names["generation"]
    for group in GROUPS:
        for case in group.cases:
            assert asked(case).ended and asked(case).path != "/tokenize" or case.name == "tokenize", case.name


def test_the_recordings_tell_nothing_of_the_machine_they_were_made_on():
    for file in FOLDER.glob("*/*.json"):
        text = file.read_text()
        assert not any(word in text for word in ("/root", "/home/", "/tmp", "worker-sglang")), file
