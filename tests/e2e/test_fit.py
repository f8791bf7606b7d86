"""The estimator against SGLang itself: its own code for published models, and real engines for small ones."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from bench import fit_check, fit_log
from bench.fit_shapes import TINY
from builder import presets
from fit import Gpu, Model, Serving
from fit.cache import cache
from fit.reserve import reserve
from local import environments
from tests.support import free_port
from tests.unit.fit.configs import MODELS

SIZES, DTYPES = [1, 2, 8], ["bfloat16", "fp8_e4m3"]
MIB = [16376, 24564, 32607, 46068, 81559, 143771, 183359]
TOKENS = 300_000
CONFIGS = {name: config for name, (config, _) in MODELS.items()} | {
    name: told["config"] for name, told in presets.configs().items()}


def complete(config):
    """With what transformers asks for beside what a model's size depends on."""
    scaling = config.get("rope_scaling") or {}
    if scaling.get("rope_type") != "llama3":
        return config
    return {**config, "rope_scaling": {"low_freq_factor": 1.0, "high_freq_factor": 4.0, **scaling}}


@pytest.fixture(scope="module")
def facts(engine_python):
    asked = {"models": {name: complete(config) for name, config in CONFIGS.items()}, "sizes": SIZES, "dtypes": DTYPES,
             "mib": MIB}
    told = subprocess.run([engine_python, str(Path(__file__).with_name("fit_facts.py"))], input=json.dumps(asked),
                          env=environments.engine_environ(os.environ), capture_output=True, text=True, check=True)
    return json.loads(told.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", CONFIGS)
def test_sglangs_own_code_reckons_the_same_of_a_published_model(facts, name):
    model, said = Model(CONFIGS[name]), facts[name]
    assert "error" not in said, said
    assert model.context == said["context"]
    for size in SIZES:
        for dtype in DTYPES:
            assert cache(model, Serving(tp_size=size, kv_cache_dtype=dtype)).token == pytest.approx(
                said["token_bytes"][dtype][str(size)], rel=0.001)
        assert cache(model, Serving(tp_size=size)).state == said["state_bytes"][str(size)]
    for mib in MIB:
        kept = reserve(model, Serving(tp_size=1), Gpu("", mib))
        fraction, chunk, batch = said["settled"][str(mib)]
        assert (kept.chunk, kept.graph_batch) == (chunk, batch)
        assert kept.fraction == pytest.approx(fraction, abs=0.0005)


@pytest.mark.parametrize("shape", TINY)
def test_an_engine_on_the_cpu_allocates_what_is_estimated(engine_python, tmp_path, shape):
    """Within 5 %: the engine rounds what it says to hundredths of a GiB."""
    config = TINY[shape]
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    said = fit_check.started(
        [str(engine_python), "-m", "sglang.launch_server", "--model-path", str(tmp_path), "--load-format", "dummy",
         "--skip-tokenizer-init", "--skip-server-warmup", "--host", "127.0.0.1", "--port", str(free_port()),
         "--device", "cpu", "--attention-backend", "torch_native", "--disable-overlap-schedule", "--dtype", "bfloat16",
         "--max-total-tokens", str(TOKENS), "--max-running-requests", "32", "--max-mamba-cache-size", "400",
         "--mem-fraction-static", "0.9"],
        tmp_path / "log", time.monotonic() + 240, done=fit_log.POOLS, environ=environments.engine_environ(os.environ))
    found = cache(Model(config), Serving(tp_size=1, disable_overlap_schedule=True))
    allocated = said["cache_gib"] * 2**30 / TOKENS
    assert found.token == pytest.approx(allocated, rel=0.05)
    if found.sliding:
        assert said["full_tokens"] == TOKENS and said["sliding_tokens"] == int(TOKENS * found.ratio)
    if found.state:
        assert found.state == pytest.approx(said["state_gib"] * 2**30 / (said["states"] + 1), rel=0.05)
