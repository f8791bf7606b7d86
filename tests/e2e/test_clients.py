"""The programs of `python3 -m local clients` that need nothing beside the tests' own packages, through both fronts."""

import sys

import pytest

from local.clients import installing, run
from local.clients.catalogue import CLIENTS
from tests.over_http import KEY

pytestmark = pytest.mark.asyncio(loop_scope="session")
HERE = [client for client in CLIENTS if client.title in ("openai for Python", "anthropic for Python",
                                                         "runpod for Python", "Open WebUI's requests")]


@pytest.mark.parametrize("way, client", [(front, client) for client in HERE for front in client.fronts],
                         indirect=["way"], ids=lambda value: getattr(value, "title", value))
async def test_every_check_of_a_client_is_right(platform, worker, client):
    front, url = "http" if worker.over_http else "queue", platform.openai_url.removesuffix("/v1")
    told = run.facts(front, url, "generation", None, KEY, many=1500)
    checks = await run.checks_of([sys.executable, str(installing.PROGRAMS / client.program)], told)
    assert len(checks) >= 4 and not [check for check in checks if not check["ok"]], checks
