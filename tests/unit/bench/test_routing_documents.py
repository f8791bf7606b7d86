"""The figures of routing in the documents are those of the data beside them."""

import json

from bench import routing, routing_faults
from tests.dockerfile import ROOT

DATA = ROOT / "docs/scaling/routing"


def test_the_table_of_caches_is_what_was_measured():
    runs = json.loads((DATA / "cache.json").read_text(encoding="utf-8"))["runs"]
    page = (ROOT / "docs/scaling.md").read_text(encoding="utf-8")
    assert "\n".join(routing.table(runs)) in page


def test_the_table_of_workers_that_go_is_what_was_measured():
    runs = json.loads((DATA / "faults.json").read_text(encoding="utf-8"))["runs"]
    page = (ROOT / "docs/deploying/router.md").read_text(encoding="utf-8")
    assert "\n".join([*routing_faults.HEAD, *map(routing_faults.row, runs)]) in page
