"""Adapters on first use, with the real engine: eight of them, two workers of one queue, and one over HTTP."""

import asyncio
import contextlib

import pytest
import pytest_asyncio

from local import corpus, tiny_adapters
from local.runpod_platform import Platform
from tests.over_http import OverHttp
from tests.support import free_port
from tests.worker import WorkerProcess, error_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

RANKS = {"a1": 2, "a2": 4, "a3": 8, "a4": 16, "a5": 2, "a6": 4, "a7": 8, "a8": 16}
PROMPT, ANSWER = corpus.EXCHANGES[0]
TOKENS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("adapters")
    for seed, (name, rank) in enumerate(RANKS.items(), 1):
        tiny_adapters.make(made / name, seed, rank)
    return made


@contextlib.asynccontextmanager
async def serving(front, real_environ, worker_id="worker-1", **more):
    """A worker with an engine of its own."""
    environ = {**real_environ, "SGLANG_PORT": str(free_port()), "MAX_LORAS_PER_BATCH": "4", **more}
    worker = WorkerProcess(front, environ, ready_within=300)
    if isinstance(front, Platform):
        worker.environ |= front.worker_environ(worker_id)
    async with worker:
        yield await worker.connected()


def chat(name: str | None):
    return {"model": f"{corpus.SERVED_NAME}:{name}" if name else corpus.SERVED_NAME,
            "messages": [{"role": "user", "content": PROMPT}], "temperature": 0, "max_tokens": TOKENS}


def native(name: str | None):
    return {"text": PROMPT, "sampling_params": {"temperature": 0, "max_new_tokens": TOKENS}, "lora_path": name}


async def text_of(front, job_input) -> str:
    job = await (await front.submit(job_input)).finished(240)
    assert job.status == "COMPLETED", (job_input, job.error)
    answer = job.output[0]
    return answer["text"] if "text" in answer else answer["choices"][0]["message"]["content"]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def expected(real_environ, folder):
    """{(kind, adapter): text} of an engine that has all of them from its start."""
    paths = " ".join(f"{name}={folder / name}" for name in RANKS)
    async with Platform() as platform, serving(platform, real_environ, LORA_PATHS=paths, MAX_LORA_RANK="16"):
        return {(kind, name): await text_of(platform, kind(name)) for kind in (chat, native)
                for name in (None, *RANKS)}


async def test_eight_adapters_and_two_workers(real_environ, folder, expected):
    assert expected[chat, None] == ANSWER
    for kind in (chat, native):
        assert len({expected[kind, name] for name in (None, *RANKS)}) == 9  # each differs from the base and the others
    async with Platform() as platform, contextlib.AsyncExitStack() as stack:
        workers = await asyncio.gather(*[stack.enter_async_context(serving(
            platform, real_environ, f"worker-{number}", LORA_SOURCES=str(folder), MAX_LOADED_LORAS="4",
            MAX_CONCURRENCY="4")) for number in (1, 2)])
        asked = [(kind, name) for _ in range(3) for name in (None, *RANKS) for kind in (chat, native)]
        texts = await asyncio.gather(*[text_of(platform, kind(name)) for kind, name in asked])
        assert [(kind.__name__, name, text) for (kind, name), text in zip(asked, texts, strict=True)] == [
            (kind.__name__, name, expected[kind, name]) for kind, name in asked]
        batch = await (await platform.submit({
            "text": [PROMPT] * 4, "lora_path": ["a1", None, "a8", "a5"],
            "sampling_params": {"temperature": 0, "max_new_tokens": TOKENS}})).finished(240)
        assert [one["text"] for one in batch.output[0]] == [expected[native, name] for name in ("a1", None, "a8", "a5")]
        for worker in workers:  # whichever got a job loaded what it needed
            assert worker.output.count(": loaded in ") >= 4 and ": unloaded, the least" in worker.output
            assert "MAX_LORA_RANK is 16 (the largest of 8 adapters on this machine)" in worker.output


# What is done to an adapter, and what of it a caller hears.
WRONG = {
    "high": ({"rank": 32}, "MAX_LORA_RANK=32"),
    "wide": ({"shapes": tiny_adapters.tensors(4, hidden=128), "base": "org/wide"}, "made for 'org/wide'"),
    "deep": ({"shapes": tiny_adapters.tensors(4, layers=3)}, "a layer 2"),
    "keys": ({"modules": ("k_proj",)}, "without q_proj"),
    "up": ({"modules": ("up_proj",)}, "without gate_proj"),
    "ranked": ({"rank": 4, "shapes": tiny_adapters.tensors(8)}, "not of the rank 4"),
    "half": ({"shapes": {name: shape for name, shape in tiny_adapters.tensors(4).items()
                         if not name.endswith("layers.1.mlp.down_proj.lora_B.weight")}}, "other of its pair"),
    "whole": ({"shapes": {**tiny_adapters.tensors(4), "base_model.model.model.layers.0.input_layernorm.weight": (64,)}},
              "no low rank"),
    "head": ({"shapes": {**tiny_adapters.tensors(4), "base_model.model.lm_head.lora_A.weight": (4, 64),
                         "base_model.model.lm_head.lora_B.weight": (512, 4)},
              "modules": (*tiny_adapters.ALL, "lm_head")}, "LORA_TARGET_MODULES"),
    "other": ({"shapes": {name.replace("mlp", "ffn"): shape for name, shape in tiny_adapters.tensors(4).items()}},
              "does not have"),
    "dora": ({"use_dora": True}, "use_dora"),
    "kind": ({"peft_type": "LOHA"}, "peft_type"),
}


async def test_what_does_not_fit_is_400_and_the_engine_goes_on(real_environ, folder, expected, tmp_path):
    wrong = tmp_path / "wrong"
    for name, (how, _) in WRONG.items():
        tiny_adapters.make(wrong / name, 9, **{"modules": tiny_adapters.ALL, **how})
    torn = tiny_adapters.make(wrong / "torn", 9) / tiny_adapters.WEIGHTS
    torn.write_bytes(torn.read_bytes()[:-100])
    async with OverHttp() as front, serving(front, real_environ, LORA_SOURCES=f"{folder}, {wrong}", MAX_LORA_RANK="16",
                                            LORA_TARGET_MODULES=" ".join(tiny_adapters.ALL),
                                            MAX_LOADED_LORAS="4") as worker:
        for name, said in {**{name: said for name, (_, said) in WRONG.items()}, "torn": "bytes"}.items():
            error = error_of(await (await front.submit(chat(name))).finished(120))
            assert error["code"] == 400 and said in error["message"] and name in error["message"], (name, error)
        for name in ("nope", "../wrong/keys"):
            assert error_of(await (await front.submit(chat(name))).finished(60))["code"] == 404
        # Each of these ends the engine, or keeps an adapter in use there for ever (docs/hostile-input.md, 23 and 24).
        for field in ({"lora_id": "x"}, {"lora_path": ["a1", "a1"]}, {"text": [PROMPT], "lora_path": ["a1", None]}):
            assert error_of(await (await front.submit({**native("a1"), **field})).finished(60))["code"] == 400
        assert await text_of(front, native(["a1"])) == expected[native, "a1"]
        assert await text_of(front, {**chat(None), "lora_path": ["a1"]}) == expected[chat, "a1"]
        for name in ("a1", None, "a8"):
            assert await text_of(front, chat(name)) == expected[chat, name]
        listed = (await (await front.submit({"openai_route": "/v1/models"})).finished()).output[0]["data"]
        assert [card["id"] for card in listed[:3]] == [corpus.SERVED_NAME, "a1", "a8"]
        assert {card["id"] for card in listed[1:]} == {*RANKS, *WRONG, "torn"}
        assert {card["parent"] for card in listed[1:]} == {corpus.SERVED_NAME}
        assert "restarting the engine" not in worker.output
