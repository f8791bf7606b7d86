"""The pure parts of the serving benchmark: plans, figures, saturation, reports."""

import argparse
import contextlib
import json
import random
import statistics
import subprocess
from pathlib import Path

import pytest

from bench import (
    native_bytes,
    process_usage,
    serving,
    serving_metrics,
    serving_plan,
    serving_report,
    serving_saturation,
)
from bench.serving_plan import ENGINE, HTTP, WORKER, Load, Target


def test_percentiles_are_linear_between_neighbours():
    assert serving_metrics.percentile([], 50) == 0
    assert serving_metrics.percentile([3.0], 99) == 3
    assert serving_metrics.percentile([1.0, 2.0, 3.0, 4.0], 50) == 2.5
    values = sorted(random.Random(1).random() for _ in range(101))
    assert serving_metrics.percentile(values, 90) == values[90]
    assert serving_metrics.percentile(values, 99) == pytest.approx(statistics.quantiles(
        values, n=100, method="inclusive")[98])


def test_each_repeat_has_every_target_in_an_order_of_its_own():
    targets = serving_plan.targets([ENGINE, WORKER, HTTP], [0.0, 30.0])
    assert targets == [Target(ENGINE), Target(WORKER, 0.0), Target(WORKER, 30.0), Target(HTTP)]
    assert [target.name for target in targets] == ["engine", "worker, 0 ms", "worker, 30 ms", "http"]
    plan = serving_plan.runs(targets, [Load(1), Load(8)], 6, seed=1)
    assert len(plan) == len(set(plan)) == 4 * 2 * 6
    orders = {tuple(run.target for run in plan[i:i + 4]) for i in range(0, len(plan), 4)}
    assert len(orders) > 1
    assert plan == serving_plan.runs(targets, [Load(1), Load(8)], 6, seed=1)
    assert plan != serving_plan.runs(targets, [Load(1), Load(8)], 6, seed=2)


def test_poisson_arrivals_come_at_their_rate():
    times = serving_plan.arrivals(random.Random(1), 20.0, 2000)
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
    assert times[0] == 0 and min(gaps) > 0
    assert statistics.fmean(gaps) == pytest.approx(1 / 20, rel=0.1)
    assert statistics.pstdev(gaps) == pytest.approx(1 / 20, rel=0.1)  # as its mean: exponential


def test_lanes_of_both_kinds_of_arrival():
    shape = {"seed": 1, "model": "m", "tokens": 5, "prompt_tokens": 12}
    closed = serving_plan.lanes(Load(3, 2), 0, **shape)
    assert [[request["at"] for request in lane] for lane in closed] == [[0.0, 0.0]] * 3
    poisson = serving_plan.lanes(Load(4, 4, 8.0), 0, **shape)
    assert [len(lane) for lane in poisson] == [1] * 4 and poisson[3][0]["at"] > poisson[1][0]["at"]
    assert closed == serving_plan.lanes(Load(3, 2), 0, **shape) != serving_plan.lanes(Load(3, 2), 1, **shape)
    body = json.loads(closed[0][0]["body"])
    assert (body["max_tokens"], body["ignore_eos"], body["stream_options"]) == (5, True, {"include_usage": True})
    assert len(body["messages"][0]["content"].split()) == 12
    assert sorted(map(len, serving_plan.split(closed, 2))) == [1, 2] and len(serving_plan.split(closed, 9)) == 3


def answer(sent: float, ttft: float, e2e: float, tokens: int = 5, error: str | None = None) -> dict:
    return {"sent": sent, "ended": sent + e2e, "ttft": ttft, "e2e": e2e, "itls": [0.1] * (tokens - 1),
            "tokens": tokens, "prompt_tokens": 7, "events": tokens, "reads": tokens, "error": error}


def test_figures_of_a_run():
    figures = serving_metrics.summary([answer(0, 0.1, 0.5), answer(1, 0.3, 1.0), answer(1, 0, 1.5, 5, "cut")])
    assert (figures["requests"], figures["failed"], figures["errors"], figures["tokens"]) == (3, 1, ["cut"], 10)
    assert figures["tok_s"] == pytest.approx(10 / 2.5)
    assert figures["ttft"]["p50"] == pytest.approx(200)
    assert figures["tpot"]["p50"] == pytest.approx((100 + 175) / 2)
    assert figures["at_once"] == 2
    used = serving_metrics.process_figures(figures, cpu=0.5, idle=2**20, before=2**20, peak=3 * 2**20, after=2 * 2**20)
    assert used["cpu_us_token"] == pytest.approx(50_000) and used["cpu_share"] == pytest.approx(0.2)
    assert used["rss_peak_mib"] == 3
    engine = serving_metrics.summary([answer(0, 0.1, 0.4)])
    compared = serving_metrics.against(figures, engine, 100.0)
    assert (compared["ttft_added"], compared["ttft_added_p99"]) == pytest.approx((100, 198))
    assert compared["lag"] == pytest.approx(350) and compared["lag_posts"] == pytest.approx(3.5)
    assert compared["throughput_ratio"] == pytest.approx(4 / (5 / 0.4))


def test_a_run_in_which_everything_failed_has_figures_too():
    figures = serving_metrics.summary([answer(0, 0, 0, 5, "refused")])
    assert (figures["failed"], figures["tok_s"]) == (1, 0)


def row(design: str, streams: int, post_ms: float = 0.0, **more) -> dict:
    return {"design": design, "post_ms": post_ms, "streams": streams, **more}


def test_saturation_is_where_it_stays():
    rows = [row("worker", n, throughput_ratio=ratio, cpu_share=0.5)
            for n, ratio in ((1, 0.85), (2, 0.95), (4, 0.89), (8, 0.5))]
    rows += [row("worker", 4, 30.0, throughput_ratio=1.0, cpu_share=0.96), row("engine", 8, throughput_ratio=0.1)]
    assert serving_saturation.saturation(rows) == {("worker", 0.0): 4, ("worker", 30.0): 4}
    assert "| worker | 0 | 4 streams | throughput 0.89 of the engine's |" in serving_saturation.table(rows)
    assert serving_saturation.saturation(rows[:2]) == {}


def test_a_bench_at_its_own_end_says_so():
    shares = {"platform": 0.95, "engine": 0.1, "clients": 1.7}
    found = serving_saturation.remarks([row("worker", 8, load="8 streams", shares=shares)], 2)
    assert len(found) == 2 and "95%" in found[0] and "--client-processes" in found[1]
    assert serving_saturation.remarks([row("worker", 8, load="8 streams", shares=shares)], 4) == found[:1]


def records(failed: int = 0) -> list[dict]:
    found = []
    for repeat in range(3):
        for design, e2e in (("worker", 0.6), ("engine", 0.5)):
            figures = serving_metrics.summary([answer(0, 0.1, e2e + repeat / 10)])
            figures |= {"shares": {"platform": 0.1, "engine": 0.2, "clients": 0.3}, "failed": failed}
            found.append({"design": design, "post_ms": 30.0 * (design == "worker"), "load": "1", "streams": 1,
                          "repeat": repeat, **figures})
    return serving_metrics.compared(found)


def options() -> argparse.Namespace:
    return argparse.Namespace(engine="scripted", tokens=5, repeats=3, client_processes=1, out=None, quiet=True,
                              loads=[], worker_env=[("HF_TOKEN", "hf_secret")])


def test_report_has_the_medians_side_by_side(tmp_path):
    result = serving_report.result(records(), options())
    engine, worker = result["medians"]
    assert (engine["design"], worker["design"]) == ("engine", "worker")
    assert engine["e2e"]["p50"] == pytest.approx(600) and worker["lag"] == pytest.approx(100)
    assert worker["lag_posts"] == pytest.approx(100 / 30)
    text = serving_report.markdown(result)
    assert "| worker | 30 |" in text and "100 (3.3 POSTs)" in text and "NOT COMPLETE" not in text
    serving_report.write(result, tmp_path)
    written = json.loads((tmp_path / "results.json").read_text())
    assert len(written["runs"]) == 6 and written["machine"]["cores"] and "hf_secret" not in json.dumps(written)


def test_failures_are_loud():
    assert "**6 ANSWERS WERE NOT COMPLETE" in serving_report.markdown(serving_report.result(records(1), options()))


def test_the_command_line_is_kept_without_secrets():
    shown = serving_report.command("bench.serving", [
        "--engine", "env", "--worker-env", "HF_TOKEN=hf_secret", "--out", "/tmp/x", "--worker-env", "TP_SIZE=2"])
    assert shown == "python -m bench.serving --engine env --worker-env 'HF_TOKEN=***' --worker-env TP_SIZE=2"


@pytest.mark.parametrize(("name", "hidden"), [
    ("HF_TOKEN", True), ("HUGGING_FACE_HUB_TOKEN", True), ("WORKER_API_KEY", True),
    ("AWS_SECRET_ACCESS_KEY", True),
    ("SSL_KEYFILE_PASSWORD", True), ("MY_TOKENS", True), ("HFTOKEN", True),
    ("KEY_FOR_IT", True), ("TOKEN_OF_MINE", True),
    ("TOKENIZER_WORKER_NUM", False), ("DETOKENIZER_WORKER_NUM", False), ("TOKENIZER_MODE", False)])
def test_a_name_is_that_of_a_secret_by_its_words(name, hidden):
    shown = serving_report.command("bench.serving", ["--worker-env", f"{name}=a=value", f"--worker-env={name}=a=value"])
    assert shown.count("a=value") == (0 if hidden else 2) and "--worker-env=" in shown and shown.count(name) == 2
    assert ("value" in shown) != hidden


@pytest.mark.parametrize(("arguments", "wrong"), [
    (["--designs", "engine,nothing"], "unknown designs: nothing"),
    (["--engine", "http://127.0.0.1:1"], "the worker starts its engine itself"),
    (["--engine", "http://127.0.0.1:1", "--designs", "engine,http"], "the worker starts its engine itself"),
    (["--engine", "http://127.0.0.1:1", "--designs", "engine"], "which model"),
    (["--streams", "4,300"], None),
])
def test_options_that_do_not_fit_are_refused(arguments, wrong, monkeypatch):
    for name in ("MODEL_NAME", "SERVED_MODEL_NAME"):
        monkeypatch.delenv(name, raising=False)
    parsed = serving.parser().parse_args(arguments)
    found = serving.settle(parsed)
    assert (found or "").startswith(wrong or "") and bool(found) == bool(wrong)
    if not wrong:
        assert (parsed.max_concurrency, parsed.model) == (600, "tiny")


def test_growth_of_native_bytes():
    assert native_bytes.growth([(500, 1000), (1000, 2000), (4000, 8000)]) == pytest.approx(1)
    assert native_bytes.growth([(1, 1), (500, 1000), (4000, 64000)]) == pytest.approx(2)


def test_warm_runs_are_of_the_engine_alone_with_prompts_of_their_own():
    loads = [Load(1), Load(8)]
    runs = serving_plan.warm_runs(loads, 2)
    assert [(run.target, run.load) for run in runs] == [(Target("engine"), load) for load in loads] * 2
    asked = {json.dumps(serving_plan.lanes(run.load, run.repeat, seed=1, model="m", tokens=5, prompt_tokens=8))
             for run in [*runs, *serving_plan.runs([Target("engine")], loads, 3, seed=1)]}
    assert len(asked) == 2 * 2 + 3 * 2
    assert not serving_plan.warm_runs(loads, 0)
    targets = (Target("engine"), Target("http"))
    assert [run.target for run in serving_plan.warm_runs(loads[:1], 2, targets)] == [*targets, *targets]


def test_the_designs_over_http_say_how_many_processes_they_are():
    assert [serving_plan.http_processes(design, 3) for design in ("http", "http-2", "http-16")] == [3, 2, 16]
    assert all(Target(design).name == design for design in ("http", "http-4"))  # no platform, so no round trip
    options = serving.parser().parse_args(["--designs", "engine,http,http-4"])
    assert serving.settle(options) is None
    options = serving.parser().parse_args(["--designs", "engine,http-1"])
    assert serving.settle(options) == "unknown designs: http-1"
    options = serving.parser().parse_args(["--engine", "http://a,http://b", "--designs", "http-2"])
    assert "starts its engine itself" in serving.settle(options)


def test_what_each_process_of_an_engine_took_is_a_table_of_its_own():
    rows = [{"design": "engine", "engine_shares": {"server": 0.5, "scheduler_DP0": 1.0}},
            {"design": "http", "engine_shares": {"server": 0.25, "scheduler_DP0": 1.0, "scheduler_DP1": 0.1}}]
    assert serving_report.processes(rows)[1:] == [
        "| of a core | server | scheduler_DP0 | scheduler_DP1 |", "|---|---|---|---|",
        "| engine | 50% | 100% | 0% |", "| http | 25% | 100% | 10% |"]
    assert serving_report.processes([{"design": "engine", "engine_shares": {"server": 0.5}}]) == []
    assert serving_report.processes([{"design": "engine"}]) == []


def test_processes_of_an_engine_go_by_the_names_that_they_give_themselves():
    titles = ("sglang::scheduler_DP0", "sglang::scheduler_DP0", "sglang::tokenizer_worker:4711",
              "/usr/bin/python3 -m sglang.launch_server", "x -c from multiprocessing.resource_tracker import main")
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(subprocess.Popen(["bash", "-c", 'exec -a "$0" sleep 60', title]))
                    for title in titles]
        for child, title in zip(children, titles, strict=True):
            stack.callback(child.kill)
            while title.split()[0] not in Path(f"/proc/{child.pid}/cmdline").read_text().split("\0")[0].split():
                pass  # still the shell
        found = process_usage.by_role([*(child.pid for child in children), 2**22 + 1])
    assert list(found) == ["scheduler_DP0", "scheduler_DP0 2", "tokenizer_worker", "server"]
