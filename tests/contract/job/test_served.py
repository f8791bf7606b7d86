"""Names and shapes through a whole worker: what the server says of itself counts, and answers are reshaped."""

import json

import pytest

from local.runpod_platform import Platform
from tests.support import say
from tests.worker import WorkerProcess, contract_environ


def environ_of(folder) -> dict[str, str]:
    """A worker whose model stands in SGLang's own configuration file alone."""
    (folder / "server.yaml").write_text("model-path: org/name\nserved-model-name: my-model\n", encoding="utf-8")
    environ = contract_environ(SGLANG_CONFIG_FILE=str(folder / "server.yaml"), WORKER_LOG_LEVEL="debug")
    for name in ("MODEL_NAME", "SERVED_MODEL_NAME", "DEVICE"):
        environ.pop(name)
    # the scripted engine reads no file
    environ["SGLANG_LAUNCH_COMMAND"] += " --served-model-name my-model --model-path org/name"
    return environ


@pytest.fixture
async def started(tmp_path):
    async with Platform() as stand_in, WorkerProcess(stand_in, environ_of(tmp_path)) as worker:
        yield stand_in, await worker.connected()


async def test_what_the_server_says_of_itself_counts(started):
    platform, worker = started

    async def done(job_input):
        return await (await platform.submit(job_input)).finished()

    listed = (await done({"openai_route": "/v1/models"})).output[0]["data"]
    assert [card["id"] for card in listed] == ["my-model"]
    for name in ("my-model", "org/name", "default", "", None):
        job = await done({"model": name, "messages": say({"text": "Paris."})})
        assert (job.status, job.output[0]["model"]) == ("COMPLETED", "my-model"), name
    for name in ("other", "my-model:adapter", "adapter"):
        job = await done({"model": name, "messages": say({"text": "Paris."})})
        assert job.status == "FAILED" and json.loads(job.error)["code"] == 404, name

    # an answer in another shape than the engine's
    job = await done({"route": "/vertex_generate", "body": {
        "instances": [{"text": "Hi"}], "parameters": {"sampling_params": {"max_tokens": 4}}}})
    assert job.output[0]["predictions"][0]["meta_info"]["completion_tokens"] == 4

    # the scripted engine has no reasoning parser, and the wish to think is left out with a line in the log
    job = await done({"openai_route": "/v1/messages?beta=true", "openai_input": {
        "model": "my-model", "max_tokens": 9, "messages": say({"text": "Paris."}), "thinking": {"type": "adaptive"}}})
    assert job.status == "COMPLETED"
    await worker.line("`thinking` was left out")
