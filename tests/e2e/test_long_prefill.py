"""A prefill that takes longer than the engine may be silent, on a real SGLang: it answers between two chunks."""

import json
import random
import shutil
import time

import pytest

from local.runpod_platform import Platform
from tests.support import free_port
from tests.worker import WorkerProcess

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]

HANG = 6  # seconds of silence after which the engine counts as hung here
UP = 300  # seconds within which something happens on a machine that is busy with other things
CONTEXT = 32_768  # tokens
CHUNK = 64  # tokens that are prefilled at once: a fraction of a second
# A model of random weights that takes many seconds for a long prompt on any CPU.
SLOW = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 4, "layer_types": ["full_attention"] * 4,
        "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": CONTEXT}


@pytest.fixture
def slow_model(model_path, tmp_path):
    folder = shutil.copytree(model_path, tmp_path / "slow")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **SLOW}))
    return folder


async def test_a_prefill_longer_than_the_hang_timeout_is_no_hang(real_environ, slow_model):
    environ = {**real_environ, "SGLANG_PORT": str(free_port()), "MODEL_NAME": str(slow_model), "LOAD_FORMAT": "dummy",
               "SGLANG_HANG_TIMEOUT": str(HANG), "CHUNKED_PREFILL_SIZE": str(CHUNK), "MAX_TOTAL_TOKENS": str(CONTEXT),
               "WARMUP": "off"}
    picks = random.Random(11)
    async with Platform() as platform, WorkerProcess(platform, environ, ready_within=UP) as worker:
        await worker.connected()
        # Longer and longer, until one is long enough for this machine.
        for tokens in (2_000, 4_000, 8_000, 16_000, CONTEXT - 100):
            began = time.monotonic()
            job = await platform.submit({"input_ids": [picks.randrange(10, 400) for _ in range(tokens)],
                                         "sampling_params": {"max_new_tokens": 1}})
            await job.finished(UP)
            took = time.monotonic() - began
            assert job.status == "COMPLETED", job.error
            assert job.output[0]["meta_info"]["prompt_tokens"] == tokens
            if took > 2 * HANG:
                break
        else:
            pytest.fail("no prefill was long enough to show anything")
        assert "no sign of life" not in worker.output and "restarting the engine" not in worker.output
