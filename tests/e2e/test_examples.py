"""The files of examples/, run as their readers would: on a real SGLang, through the queue's stand-in and over HTTP."""

import contextlib
import json
import shutil

import pytest
import pytest_asyncio

from local import platform_rates, tiny_adapters
from local.platform_records import Refused
from local.runpod_platform import Platform
from tests.e2e.fronts import http_beside
from tests.examples import ADAPTERS, EXAMPLES, SETTINGS, on, output_of, run
from tests.over_http import KEY
from tests.support import free_port
from tests.worker import WorkerProcess

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]
UP = 300  # seconds within which an engine is up, on a machine that is busy with other things
class Narrow(platform_rates.Rates):
    """Rate limits that remember whether they refused."""

    refused = 0

    @contextlib.contextmanager
    def counted(self, kind):
        try:
            with super().counted(kind):
                yield
        except Refused:
            self.refused += 1
            raise


def reranker(model_path, folder):
    """The tiny model as SGLang takes it for a reranker of Qwen3's kind: its template says so, and it knows a token for
    "yes" (entrypoints/openai/serving_rerank.py). Everything else of it stays."""
    shutil.copytree(model_path, folder)
    template = folder / "chat_template.jinja"
    template.write_text('{#- Note that the answer can only be "yes" or "no". -#}\n' + template.read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    model = tokenizer["model"]
    rare = max(model["vocab"], key=model["vocab"].get)  # the last merge that was learnt
    model["vocab"]["yes"] = model["vocab"].pop(rare)
    model["merges"] = [pair for pair in model["merges"] if rare not in (*pair, "".join(pair))]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def another(request, real_environ, model_path, tmp_path_factory):
    """{front: base URL} of an engine with settings of its own; the next comes when all tests of one are done."""
    settings = {**real_environ, **SETTINGS[request.param], "SGLANG_PORT": str(free_port())}
    if request.param == "second":
        settings["MODEL_NAME"] = str(reranker(model_path, tmp_path_factory.mktemp("models") / "reranker"))
        adapters = tmp_path_factory.mktemp("adapters")
        for seed, name in enumerate(ADAPTERS, 1):
            tiny_adapters.make(adapters / name, seed)
        settings["LORA_SOURCES"] = str(adapters)
    async with Platform() as platform, WorkerProcess(platform, settings, ready_within=UP) as worker:
        await worker.connected()
        async with http_beside(worker) as (front, _):
            yield {"queue": platform.openai_url, "http": front.openai_url}


@pytest.mark.parametrize("way, name", [(front, name) for name, front in on("tiny")], indirect=["way"])
async def test_an_example(platform, worker, monkeypatch, name):
    more = {}
    if name == "openai/fan_out.py":  # RunPod's 429, of which the stand-in has the shape
        platform.rates = refusing = Narrow()
        monkeypatch.setitem(platform_rates.RATES, "openai", (2000, 4))
    if name == "runpod/webhook.py":
        port = free_port()
        more = {"WEBHOOK_URL": f"http://127.0.0.1:{port}/done", "WEBHOOK_PORT": str(port)}
    try:
        EXAMPLES[name].seen(await output_of(name, platform.openai_url, **more))
    finally:
        if name == "openai/fan_out.py":
            platform.rates = None
    assert name != "openai/fan_out.py" or refusing.refused


@pytest.mark.parametrize("another", ["second"], indirect=True)
@pytest.mark.parametrize("name, front", on("second"))
async def test_an_example_that_needs_settings(another, name, front):
    EXAMPLES[name].seen(await output_of(name, another[front]))


@pytest.mark.parametrize("another", ["embedding"], indirect=True)
@pytest.mark.parametrize("name, front", on("embedding"))
async def test_an_example_of_embeddings(another, name, front):
    EXAMPLES[name].seen(await output_of(name, another[front]))


async def test_a_refusal_ends_an_example_with_its_reason(behind_queue, over_http):
    for front in (behind_queue[0], over_http[0]):
        status, said, wrong = await run("openai/json_schema.py", BASE_URL=front.openai_url, RUNPOD_API_KEY=KEY,
                                        MODEL="no-such-model")
        assert status == 1 and not said and "Traceback" not in wrong
        assert "The model 'no-such-model' does not exist; this endpoint serves 'tiny'." in wrong


@pytest.mark.parametrize("name", ["openai/embeddings.py", "runpod/embeddings.py", "curl/embeddings.sh"])
async def test_a_job_that_the_endpoint_cannot_do_ends_an_example_with_what_to_set(behind_queue, name):
    status, said, wrong = await run(name, BASE_URL=behind_queue[0].openai_url, RUNPOD_API_KEY=KEY)
    assert status and "IS_EMBEDDING=true" in said + wrong and "Traceback" not in wrong
