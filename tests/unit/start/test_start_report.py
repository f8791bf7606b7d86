"""The start report: phases from captured lines, the line, the structured line, the table and the picture."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from start import start_report
from start.start_report import Span, Timeline, read, sentence, structured, table
from start.waterfall import svg

ROOT = Path(__file__).parents[3]

# SGLang 0.5.16 on one H200, shortened.
GPU = """\
[2026-11-22 10:00:28] server_args={'model_path': '/models/llama', 'tokenizer_mode': 'auto'}
[2026-11-22 10:00:47] Init torch distributed begin.
[2026-11-22 10:00:48] Init torch distributed ends. elapsed=0.52 s, mem usage=0.11 GB
[2026-11-22 10:00:48] Load weight begin. avail mem=138.54 GB
[2026-11-22 10:00:49] Load weight end. elapsed=1.02 s, type=LlamaForCausalLM, avail mem=123.4 GB, mem usage=15.1 GB.
[2026-11-22 10:00:50] KV Cache is allocated. dtype: torch.bfloat16, #tokens: 857000, K size: 52.2 GB, V size: 52.2 GB
[2026-11-22 10:00:50] Memory pool end. avail mem=18.2 GB
[2026-11-22 10:00:51] Capture target prefill CUDA graph begin. backend=full, num_tokens=[4], avail mem=18.0 GB
[2026-11-22 10:01:56] Capture target prefill CUDA graph end. elapsed=65.4 s, mem usage=0.4 GB, avail mem=17.6 GB.
[2026-11-22 10:01:56] Capture target decode CUDA graph begin. backend=full, num_tokens_per_req=1, avail mem=17.6 GB
[2026-11-22 10:02:02] Capture target decode CUDA graph end. bs=[1, 2], elapsed=6.0 s, mem usage=0.1 GB.
[2026-11-22 10:02:02] max_total_num_tokens=857000, chunked_prefill_size=8192, max_prefill_tokens=16384
[2026-11-22 10:02:03] INFO:     Application startup complete.
[2026-11-22 10:02:03] INFO:     Uvicorn running on http://127.0.0.1:30000 (Press CTRL+C to quit)
[2026-11-22 10:02:13] The server is fired up and ready to roll!
[2026-11-22 10:05:00] Load weight begin. avail mem=1 GB
""".splitlines()
ALL = ["server imports", "scheduler imports", "distributed init", "weights", "kv cache", "prefill graphs",
       "decode graphs", "server", "server warm-up"]

# Two ranks and a draft model, as SGLang 0.4 worded it.
RANKS = """\
[2026-03-04 16:46:00] server_args=ServerArgs(model_path='/m', tp_size=2)
[2026-03-04 16:46:10 TP1] Init torch distributed begin.
[2026-03-04 16:46:12 TP0] Init torch distributed begin.
[2026-03-04 16:46:14 TP0] Load weight begin. avail mem=78.4 GB
[2026-03-04 16:46:15 TP1] Load weight begin. avail mem=78.4 GB
Fetching 4 files:   0%|          | 0/4 [00:00<?, ?it/s]
[2026-03-04 16:46:35 TP0] Using model weights format ['*.safetensors']
Loading safetensors checkpoint shards:   0% Completed | 0/4 [00:00<?, ?it/s]
[2026-03-04 16:46:40 TP0] Load weight end. type=LlamaForCausalLM, dtype=torch.bfloat16, avail mem=60 GB
[2026-03-04 16:46:42 TP1] Load weight end. type=LlamaForCausalLM, dtype=torch.bfloat16, avail mem=60 GB
[2026-03-04 16:46:43 TP0] KV Cache is allocated. K size: 8 GB, V size: 8 GB.
[2026-03-04 16:46:43 TP1] KV Cache is allocated. K size: 8 GB, V size: 8 GB.
[2026-03-04 16:46:44 TP0] Capture cuda graph begin. This can take up to several minutes. avail mem=15.30 GB
[2026-03-04 16:46:44 TP1] Capture cuda graph begin. This can take up to several minutes. avail mem=15.30 GB
[2026-03-04 16:46:50 TP0] Capture cuda graph end. Time elapsed: 6.23 s. avail mem=14.58 GB.
[2026-03-04 16:46:51 TP1] Capture cuda graph end. Time elapsed: 7.23 s. avail mem=14.58 GB.
[2026-03-04 16:46:52 TP0] Load weight begin. avail mem=14.0 GB
[2026-03-04 16:46:53 TP0] Load weight end. type=LlamaForCausalLMEagle, avail mem=13.0 GB
[2026-03-04 16:46:54 TP0] Capture draft cuda graph begin. This can take up to several minutes.
[2026-03-04 16:46:55 TP0] Capture draft cuda graph end. Time elapsed: 1.23 s.
[2026-03-04 16:46:56] INFO:     Uvicorn running on http://127.0.0.1:30000 (Press CTRL+C to quit)
[2026-03-04 16:46:58] The server is fired up and ready to roll!
""".splitlines()


def fed(lines) -> Timeline:
    timeline = Timeline()
    for at, line in enumerate(lines):
        timeline.feed(line, at)
    return timeline


def names(lines) -> list[str]:
    return [span.name for span in fed(lines).spans]


def test_every_phase_of_a_start_on_a_gpu():
    spans = {span.name: span for span in read(GPU)}
    assert list(spans) == ALL
    assert spans["prefill graphs"][1:3] == (23, 88) and spans["decode graphs"][1:3] == (88, 94)
    assert spans["server warm-up"][1:3] == (95, 105) and spans["scheduler imports"][1:3] == (0, 19)


def test_ranks_and_a_draft_model():
    spans = read(RANKS)
    assert [span[:3] for span in spans if span.name == "weights"] == [("weights", 14, 42), ("weights", 52, 53)]
    assert [span[:3] for span in spans if span.name == "decode graphs"] == [
        ("decode graphs", 44, 51), ("decode graphs", 54, 55)]
    assert [span[:3] for span in spans if span.name == "download"] == [("download", 15, 35)]
    assert "distributed init" in {span.name for span in spans} and spans[-1].end == 58


def test_what_runs_is_told_at_every_moment():
    timeline, seen = Timeline(), []
    for line in GPU:
        seen.append([name for name, _ in timeline.running()])
        timeline.feed(line, float(len(seen)))
    assert seen[:6] == [["server imports"], ["scheduler imports"], ["distributed init"], ["distributed init"],
                        ["weights"], ["kv cache"]]
    assert seen[8:11] == [["prefill graphs"], ["server"], ["decode graphs"]] and seen[-2:] == [["server warm-up"], []]
    assert timeline.running() == []
    ranks = Timeline()
    ranks.feed("Load weight begin", 1.0)
    ranks.feed("Load weight begin", 2.0)
    ranks.feed("Load weight end", 3.0)
    assert ranks.running() == [("weights", 1.0)]  # one of two ranks has it


def test_readiness_is_told_once():
    timeline = Timeline()
    assert [timeline.feed(line, 1.0) for line in GPU] == [False] * 14 + [True, False]


@pytest.mark.parametrize(("lines", "expected"), [
    ([], []),
    (["nothing", "that anybody knows", ""], []),
    (["Load weight end"], ["weights"]),
    (["fired up and ready to roll", "Load weight begin"], ["server warm-up"]),
    ([line for line in GPU for _ in range(2)], ALL),
    (["Load weight begin", "Load weight begin", "Load weight end", "Memory pool end"],
     ["server imports", "weights", "kv cache"]),
    (["Capture cuda graph begin", "fired up and ready to roll"], ["server warm-up"]),
    (["Running FlashInfer autotune with cache: x", "FlashInfer autotune completed."], ["autotune"]),
    (["Capture piecewise CUDA graph begin", "Capture piecewise CUDA graph end"], ["prefill graphs"]),
    (["Capture target decode CPU graph begin. x", "Capture target decode CPU graph end. x"], ["decode graphs"]),
    (["x" * 5000 + "Load weight end"], []),
])
def test_unknown_missing_and_repeated_lines_are_harmless(lines, expected):
    assert names(lines) == expected


LINES = st.lists(st.sampled_from([*GPU, *RANKS, "noise"]) | st.text(max_size=30), max_size=60)


@given(LINES)
def test_any_order_of_lines_gives_spans_that_can_be_told(lines):
    spans = fed(lines).spans
    assert all(span.start <= span.end for span in spans)
    assert sentence(100.0, spans).startswith("engine ready after 100.0 s: ")
    if spans:
        assert read([structured(spans)])
        ElementTree.fromstring(svg(spans))
        assert len(table(spans).splitlines()) == len(spans) + 2


def test_the_sentence_is_one_line_of_phases():
    assert sentence(7.04, []) == "engine ready after 7.0 s: readiness 7.0"
    spans = [Span("server imports", 0, 12), Span("weights", 12, 32.5), Span("weights", 32.5, 33)]
    before = [Span("configuration", -1, -0.9), Span("worker imports", 0, 2, True)]
    assert sentence(33.25, spans, before) == (
        "engine ready after 33.2 s: configuration 0.1, worker imports (meanwhile) 2.0, server imports 12.0, "
        "weights 21.0, readiness 0.2")


SPANS = [Span("container", 1000.0, 1001.25), Span("server imports", 1001.5, 1010.0),
         Span("worker imports", 1001.5, 1003.0, True)]


def test_the_structured_line_is_counted_from_the_first_beginning():
    line = structured(reversed(SPANS))
    assert "\n" not in line and line.startswith("start report {")
    assert json.loads(line.removeprefix("start report ")) == {"total_s": 10.0, "phases": [
        {"name": "container", "start_s": 0.0, "end_s": 1.25},
        {"name": "worker imports", "start_s": 1.5, "end_s": 3.0, "meanwhile": True},
        {"name": "server imports", "start_s": 1.5, "end_s": 10.0}]}


def test_a_report_of_a_start_that_is_not_over():
    told = start_report.report([Span("python", 5.0, 6.0), Span("imports", 5.5, 6.5, True)], [("weights", 6.0)], 9.0)
    assert told == {"total_s": 4.0, "phases": [
        {"name": "python", "start_s": 0.0, "end_s": 1.0},
        {"name": "imports", "start_s": 0.5, "end_s": 1.5, "meanwhile": True}, {"name": "weights", "start_s": 1.0}]}
    assert start_report.report([], [("server imports", 3.0)], 4.5) == {
        "total_s": 1.5, "phases": [{"name": "server imports", "start_s": 0.0}]}
    assert start_report.report([]) == {"total_s": 0.0, "phases": []}


def test_a_workers_log_is_read_in_both_forms():
    line = structured(SPANS)
    plain = ["INFO  | x", *GPU, f"INFO  | {line}", "INFO  | serving"]
    platform = [json.dumps({"requestId": None, "message": line, "level": "INFO"}), "[later] lines"]
    assert read(plain) == read(platform) != read(GPU)
    assert len(read(platform)) == 3
    # One that was cut on its way is passed over.
    assert read([*GPU, "INFO | " + line[:40]]) == read(GPU)
    with pytest.raises(ValueError):
        read(["start report nonsense", "start report {}", '{"message": "start report ['])


def test_the_picture_is_xml_with_a_bar_a_phase():
    picture = ElementTree.fromstring(svg([*SPANS, Span('a <b> & "c" \x00', 1010.0, 1010.0)]))
    assert len(picture.findall(".//{*}rect")) == 5  # the ground, and four bars
    assert all(float(bar.get("width")) > 0 for bar in picture.findall(".//{*}rect")[1:])
    text = "".join(picture.itertext())
    assert "10.0 s" in text and 'a <b> & "c" ?' in text
    ElementTree.fromstring(svg([Span("only", 5.0, 5.0)]))


def program(*arguments, stdin=None):
    return subprocess.run([sys.executable, "-m", "start.start_report", *arguments], cwd=ROOT, input=stdin, text=True,
                          capture_output=True)


def test_the_program_draws_and_tells(tmp_path):
    log = tmp_path / "worker.log"
    log.write_text("\n".join(GPU))
    drawn = program(str(log))
    assert drawn.returncode == 0
    ElementTree.fromstring(drawn.stdout)
    told = program("--text", "-", stdin=log.read_text())
    assert re.search(r"prefill graphs +23\.0 +88\.0 +65\.0 +#+", told.stdout)
    assert "#" in told.stdout.splitlines()[1]
    for missing in (program("/nowhere"), program("-", stdin="nothing")):
        assert missing.returncode == 1 and missing.stderr and not missing.stdout


def test_marks_match_what_they_are_made_for():
    assert {mark.name for mark in start_report.MARKS} >= set(ALL)


# ------------------------------------------------------------------ how far it has come
def test_how_far_a_start_of_two_ranks_has_come():
    timeline = start_report.Timeline()
    names = ("server imports", "scheduler imports", "weights", "kv cache")

    def far(line):
        timeline.feed(line, 1.0)
        return {name for name in names if timeline.over(name)}, timeline.begun("weights")

    imported = {"server imports", "scheduler imports"}
    assert far("nothing") == (set(), False)
    assert far("server_args=x") == ({"server imports"}, False)
    assert far("Init parallel begin") == (imported, False)
    assert far("Load weight begin") == far("Load weight begin") == (imported, True)
    assert far("Load weight end") == (imported, True)  # of one rank
    assert far("Load weight end") == (imported | {"weights"}, True)
    assert far("KV Cache is allocated") == (set(names), True)


def test_a_replica_that_is_ahead_ends_nothing_for_one_that_still_loads():
    timeline = start_report.Timeline()
    for line in ("Load weight begin", "Load weight begin", "Load weight end", "KV Cache is allocated"):
        timeline.feed(line, 1.0)
    assert not timeline.over("weights") and timeline.over("kv cache")
    timeline.feed("The server is fired up and ready to roll!", 2.0)  # should a line have been lost
    assert timeline.over("weights")


def test_a_phase_of_which_only_the_beginning_was_told_is_over_with_a_later_one():
    timeline = start_report.Timeline()
    for line in ("Load weight begin", "KV Cache is allocated"):
        timeline.feed(line, 1.0)
    assert timeline.over("weights")


def test_a_phase_without_lines_of_its_own_is_over_with_the_next():
    timeline = start_report.Timeline()
    timeline.feed("Memory pool end", 1.0)
    assert timeline.over("weights") and timeline.begun("weights") and not timeline.over("decode graphs")


def test_facts_stand_beside_the_phases():
    line = start_report.structured([Span("weights", 0.0, 1.0)], {"weights": {"bytes": 5}})
    assert json.loads(line.removeprefix(start_report.PREFIX)) == {
        "total_s": 1.0, "weights": {"bytes": 5}, "phases": [{"name": "weights", "start_s": 0.0, "end_s": 1.0}]}
    assert start_report.read([line])[0].name == "weights"
