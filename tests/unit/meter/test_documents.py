"""docs/observability.md and the dashboard say what is there, and nothing else."""

import json
import re
from pathlib import Path

from meter.catalogue import METRICS, PREFIX
from meter.line import fields
from meter.record import OUTCOMES, REASONS, Record

DOCS = Path(__file__).parents[3] / "docs"
TEXT = (DOCS / "observability.md").read_text(encoding="utf-8")
DASHBOARD = json.loads((DOCS / "observability" / "grafana.json").read_text(encoding="utf-8"))
_KINDS = {"total": "counter"}


def row(metric) -> str:
    behind = "_total" if metric.kind in ("counter", "total") else ""
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.prometheus}{behind}` | {_KINDS.get(metric.kind, metric.kind)} | {labels} | {metric.help} |"


def test_the_table_of_metrics():
    table = TEXT.split("| metric | kind |")[1].split("\n\n")[0]
    assert table.splitlines()[2:] == [row(metric) for metric in METRICS]


def test_every_field_of_the_line_has_its_row_and_its_place_in_the_example():
    table = TEXT.split("| field | what it says |")[1].split("\n\n")[0]
    named = [name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert named == ["message", "level", *fields(Record())]
    example = json.loads(TEXT.split("```json\n")[1].split("```")[0])
    assert list(example) == named


def test_every_outcome_and_reason_is_named():
    told = {name for line in TEXT.splitlines() if line.startswith(("| `outcome`", "| `reason`"))
            for name in re.findall(r"`(\w+)`", line)}
    assert told == {"outcome", "reason", *OUTCOMES, *REASONS.values(), "full", "starting", "leaving", "other"}


def test_every_name_in_the_dashboard_is_one_that_is_there():
    known = set()
    for metric in METRICS:
        behind = {"counter": ("_total",), "total": ("_total",), "gauge": ("",),
                  "histogram": ("_bucket", "_sum", "_count")}[metric.kind]
        known |= {metric.prometheus + one for one in behind}
    asked = queried()
    assert asked <= known
    shown = {metric.prometheus for metric in METRICS if any(name.startswith(metric.prometheus) for name in asked)}
    assert shown == {metric.prometheus for metric in METRICS}  # and the other way round


def test_the_dashboard_asks_for_labels_that_are_there():
    for expression in expressions():
        for name, given in re.findall(rf"({PREFIX}_\w+)\{{([^}}]*)\}}", expression):
            [metric] = [one for one in METRICS if re.fullmatch(
                rf"{one.prometheus}(_total|_bucket|_sum|_count)?", name)]
            assert set(re.findall(r"(\w+)=", given)) <= {*metric.labels, "instance"}, expression
        for by in re.findall(r"by \(([^)]*)\)", expression):
            assert set(by.split(", ")) <= {label for metric in METRICS for label in metric.labels} | {"le"}, expression


def expressions() -> list[str]:
    found = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    assert len(found) > 20
    return found


def queried() -> set[str]:
    texts = [*expressions(), *(str(one["query"]) for one in DASHBOARD["templating"]["list"])]
    return {name for text in texts for name in re.findall(rf"\b{PREFIX}_\w+", text)}
