"""Where a design stops following the engine. Pure."""

from __future__ import annotations

LEAST_RATIO = 0.9  # of the engine's own throughput
MOST_CPU = 0.95  # of a core: the SDK runs all jobs on one thread
_MOST_PLATFORM, _MOST_CLIENTS = 0.9, 0.8  # of a core, the latter each


def saturation(medians: list[dict]) -> dict[tuple[str, float], int]:
    """{(design, POST ms): the smallest number of streams from which on it is saturated}, without those that never are.

    From which on: with few streams a run is short, and what one answer waits for at its start already counts as
    throughput that is missing.
    """
    found: dict[tuple[str, float], int] = {}
    below: set[tuple[str, float]] = set()
    for row in sorted(medians, key=lambda row: -row["streams"]):
        target = row["design"], row["post_ms"]
        if row["design"] == "engine" or target in below:
            continue
        if reason(row):
            found[target] = row["streams"]
        else:
            below.add(target)
    return found


def reason(row: dict) -> str | None:
    """Why this row counts as saturated, None when it does not."""
    if row.get("cpu_share", 0) > MOST_CPU:
        return f"CPU {row['cpu_share']:.0%} of a core"
    if row.get("throughput_ratio", 1) < LEAST_RATIO:
        return f"throughput {row['throughput_ratio']:.2f} of the engine's"
    return None


def remarks(medians: list[dict], client_processes: int) -> list[str]:
    """What of the bench itself was at its end, so that a row says less about its design than about the bench."""
    found = []
    for row in medians:
        where = f"{row['design']}, {row['post_ms']:g} ms, {row['load']}"
        if row["shares"]["platform"] > _MOST_PLATFORM:
            found.append(f"the platform's stand-in used {row['shares']['platform']:.0%} of a core ({where}): on "
                         "its one thread nothing can be faster")
        if row["shares"]["clients"] > _MOST_CLIENTS * client_processes:
            found.append(f"the clients used {row['shares']['clients']:.0%} of a core in {client_processes} processes "
                         f"({where}): more --client-processes")
    return found


def table(medians: list[dict]) -> str:
    """Markdown: for each design the load from which on it is saturated, and why there."""
    limits, lines = saturation(medians), ["| design | POST ms | saturated from | because of |", "|---|---|---|---|"]
    targets = dict.fromkeys((row["design"], row["post_ms"]) for row in medians if row["design"] != "engine")
    most = max(row["streams"] for row in medians)
    for design, post_ms in targets:
        at = limits.get((design, post_ms))
        why = next((reason(row) for row in medians
                    if (row["design"], row["post_ms"], row["streams"]) == (design, post_ms, at)), None)
        lines.append(f"| {design} | {post_ms:g} | {f'{at} streams' if at else f'not up to {most}'} | {why or '-'} |")
    return "\n".join(lines)
