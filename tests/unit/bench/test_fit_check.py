"""What is read of an engine's log, and what the comparison makes of it."""

import json
import sys
import time
from pathlib import Path

import pytest

from bench import fit_check, fit_log
from bench.fit_shapes import SHAPES, TINY
from fit import Gpu, Model, Serving, serving
from fit.weights import parameters

# As SGLang 0.5.16 and 0.5.23 print them.
LOG = """\
[2026-11-25 10:00:00] server_args=ServerArgs(model_path='/m', mem_fraction_static=0.83, tp_size=1)
[2026-11-25 10:00:10] Load weight begin. avail mem=78.60 GB
[2026-11-25 10:00:20] Load weight end. elapsed=9.4 s, type=LlamaForCausalLM, avail mem=63.56 GB, mem usage=15.04 GB.
[2026-11-25 10:00:21] KV Cache is allocated. dtype: torch.bfloat16, #tokens: 411000, K size: 25.09 GB, V size: 25.09 GB
[2026-11-25 10:00:21] Memory pool end. avail mem=12.80 GB
[2026-11-25 10:00:30] max_total_num_tokens=411000, chunked_prefill_size=8192, max_prefill_tokens=16384, \
max_running_requests=4096, context_len=32768, available_gpu_mem=11.94 GB
""".splitlines()


def test_a_log_tells_memory_tokens_and_the_fraction():
    assert fit_log.read(LOG) == {
        "fraction": 0.83, "free_gib": 78.6, "weights_gib": 15.04, "after_weights_gib": 63.56, "after_pool_gib": 12.8,
        "tokens": 411000, "chunk": 8192, "requests": 4096, "context": 32768, "left_gib": 11.94,
        "caches": [(411000, 50.18)], "cache_gib": 50.18}


def test_the_newer_engine_prints_its_arguments_as_a_dict():
    assert fit_log.read(["server_args={'model_path': '/m', 'mem_fraction_static': 0.719}"])["fraction"] == 0.719


def test_caches_of_layers_with_a_window_and_states_are_read():
    said = fit_log.read([
        "Use sliding window memory pool. full_layer_tokens=9000, swa_layer_tokens=7200",
        "Use sliding window memory pool. full_layer_tokens=1000, swa_layer_tokens=800",
        "KV Cache is allocated. dtype: torch.bfloat16, #tokens: 800, K size: 1.00 GB, V size: 1.50 GB",
        "KV Cache is allocated. dtype: torch.bfloat16, #tokens: 1000, KV size: 2.00 GB",
        "Mamba Cache is allocated. max_mamba_cache_size: 60, conv_state size: 0.10GB, ssm_state size: 1.90GB"])
    assert (said["full_tokens"], said["sliding_tokens"]) == (1000, 800)
    assert said["cache_gib"] == 4.5 and said["state_gib"] == 2.0 and said["states"] == 60


def test_the_comparison_names_both_figures_and_the_difference():
    figures = fit_check.compared(SHAPES["8b"], fit_log.read(LOG), Gpu("here", 81559, linked=True), Serving(tp_size=1))
    assert figures["weights_gib"]["differs"] == pytest.approx(0, abs=0.01)
    assert figures["token_bytes"] == {"engine": pytest.approx(131072, rel=0.001), "estimate": 131072,
                                      "differs": pytest.approx(0, abs=0.001)}
    assert figures["tokens_at"]["differs"] == pytest.approx(0, abs=0.05)
    row = {"shape": "8b", "graphs": True, "figures": figures}
    assert fit_check.right(row) and "8b with graphs" in fit_check.table([row])
    assert not fit_check.right({"shape": "8b", "error": "died"})


def test_two_gpus_are_judged_as_two():
    given = fit_check._serving("--tp-size 2", graphs=True)
    figures = fit_check.compared(SHAPES["8b"], {}, Gpu("here", 81559, linked=True), given)
    assert given.tp == 2 and figures["weights_gib"]["estimate"] == pytest.approx(7.49, abs=0.02)
    assert figures["token_bytes"]["estimate"] == 65536 and figures["free_gib"]["differs"] is None


def test_an_engine_that_dies_is_told_at_once_with_its_last_words(tmp_path):
    words = [sys.executable, "-c", "print('CUDA error: no kernel image'); raise SystemExit(3)"]
    with pytest.raises(fit_check.Dead, match=r"status 3:\nCUDA error"):
        fit_check.started(words, tmp_path / "log", time.monotonic() + 60)


def test_an_engine_is_ended_as_soon_as_its_cache_is_made(tmp_path):
    program = "print(" + json.dumps(LOG[-1]) + ", flush=True); import time; time.sleep(600)"
    assert fit_check.started([sys.executable, "-c", program], tmp_path / "log", time.monotonic() + 60)[
        "tokens"] == 411000


def test_an_engine_that_takes_too_long_is_given_up(tmp_path):
    with pytest.raises(fit_check.Dead, match="no cache yet"):
        fit_check.started([sys.executable, "-c", "import time; time.sleep(600)"], tmp_path / "log", time.monotonic())


@pytest.mark.parametrize("config", [*SHAPES.values(), *TINY.values()], ids=[*SHAPES, *(f"tiny {n}" for n in TINY)])
def test_every_shape_fits_one_gpu_of_80_gb(config):
    # With room for a cache beside them, in 16 bits.
    assert parameters(Model(config)) < 20e9


def test_flags_of_an_engine_are_read_as_they_are_written():
    read = serving.from_words(["--device", "cpu", "--context-length", "16k", "--disable-cuda-graph", "--tp-size=2"])
    assert read == Serving(context_length=16000, disable_cuda_graph=True, tp_size=2)


MEASURED = Path(__file__).resolve().parents[3] / "docs" / "fitting" / "h100.json"


def test_an_h100_was_as_it_is_estimated(capsys):
    rows = fit_check.reread(MEASURED)
    assert len(rows) == 7
    for row in rows:
        for name, figure in row["figures"].items():
            assert figure["differs"] == pytest.approx(0, abs=0.01), (row["shape"], name)
    assert fit_check.main(["--read", str(MEASURED)]) == 0
    assert capsys.readouterr().out.strip() in (MEASURED.parents[1] / "fitting.md").read_text(encoding="utf-8")
