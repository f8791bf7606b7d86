"""The figures of a run, and the medians of its repeats. Pure.

Definitions as in SGLang's serving benchmark: see sse_reading.Answer for those of one answer, docs/performance.md for
all of them. Milliseconds unless a name says otherwise.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

MIB = 2**20
QUANTILES = (50, 90, 99)


def percentile(ordered: list[float], q: float) -> float:
    """The q-th percentile of sorted values, linear between neighbours, as numpy's default."""
    if not ordered:
        return 0.0
    place = (len(ordered) - 1) * q / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def spread(seconds: Iterable[float]) -> dict[str, float]:
    """{"p50": …, "p90": …, "p99": …} in milliseconds."""
    ordered = sorted(seconds)
    return {f"p{q}": percentile(ordered, q) * 1000 for q in QUANTILES}


def summary(answers: list[dict]) -> dict:
    """The clients' side of a run: sse_reading.Answer.data() of every request."""
    good = [answer for answer in answers if answer["error"] is None]
    seconds = max(1e-9, max(a["ended"] for a in answers) - min(a["sent"] for a in answers))
    tokens = sum(answer["tokens"] for answer in good)
    return {
        "requests": len(answers), "failed": len(answers) - len(good),
        "errors": sorted({answer["error"] for answer in answers if answer["error"]})[:5],
        "seconds": seconds, "at_once": at_once(answers), "tokens": tokens, "tok_s": tokens / seconds,
        "prompt_tokens": statistics.fmean(a["prompt_tokens"] for a in good) if good else 0,
        "ttft": spread(a["ttft"] for a in good),
        "itl": spread(gap for a in good for gap in a["itls"]),
        "tpot": spread((a["e2e"] - a["ttft"]) / (a["tokens"] - 1) for a in good if a["tokens"] > 1),
        "e2e": spread(a["e2e"] for a in good),
        "events_a_read": sum(a["events"] for a in good) / max(1, sum(a["reads"] for a in good))}


def at_once(answers: list[dict]) -> int:
    """The most answers that were under way at one time."""
    running = most = 0
    for _, change in sorted([(a["ended"], -1) for a in answers] + [(a["sent"], 1) for a in answers]):
        running += change
        most = max(most, running)
    return most


def process_figures(run: dict, *, cpu: float, idle: int, before: int, peak: int, after: int) -> dict:
    """The measured process's side: cpu in seconds over the run, memory in bytes; idle: before its first load."""
    return {"cpu_us_token": cpu * 1e6 / max(1, run["tokens"]), "cpu_share": cpu / run["seconds"],
            "rss_idle_mib": idle / MIB, "rss_before_mib": before / MIB, "rss_peak_mib": peak / MIB,
            "rss_after_mib": after / MIB}


def against(run: dict, engine: dict, post_ms: float) -> dict:
    """How `run` compares with the engine itself in the same repeat under the same load."""
    lag = run["e2e"]["p50"] - engine["e2e"]["p50"]
    return {"throughput_ratio": run["tok_s"] / engine["tok_s"] if engine["tok_s"] else 0.0,
            "ttft_added": run["ttft"]["p50"] - engine["ttft"]["p50"],
            "ttft_added_p99": run["ttft"]["p99"] - engine["ttft"]["p99"], "lag": lag,
            **({"lag_posts": lag / post_ms} if post_ms else {})}


def compared(records: list[dict]) -> list[dict]:
    """The records, each with how it compares with the engine's of the same load and repeat, where there is one."""
    engines = {(r["load"], r["repeat"]): r for r in records if r["design"] == "engine"}
    return [record | (against(record, engine, record["post_ms"])
                      if (engine := engines.get((record["load"], record["repeat"]))) else {}) for record in records]


def medians(runs: list[dict]) -> dict:
    """Of each figure over the repeats of one target under one load; counts of failures are summed, texts joined."""
    merged = {}
    for key, value in runs[0].items():
        values = [run[key] for run in runs if key in run]
        if key == "failed":
            merged[key] = sum(values)
        elif key == "errors":
            merged[key] = sorted({text for texts in values for text in texts})[:5]
        elif isinstance(value, dict):
            merged[key] = medians(values)
        else:
            merged[key] = statistics.median(values)
    return merged
