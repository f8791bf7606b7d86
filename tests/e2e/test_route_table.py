"""The table of open routes against the installed SGLang: each of the server's routes is open, or closed with a reason.

Runs where SGLang is: in the engine's own environment, as a child process.
"""

import json

import pytest

from job.route_table import ROUTES
from tests.e2e.test_flag_snapshot import run

__all__ = ["run"]

_LIST = """
import json
from sglang.srt.entrypoints.http_server import app

def listed(routes):
    for route in routes:
        if hasattr(route, "path"):
            yield route.path, sorted(getattr(route, "methods", None) or [])
        for name in ("routes", "original_router", "router", "app"):  # routers that were included, applications mounted
            inner = getattr(route, name, None)
            if inner is not None:
                yield from listed(inner if isinstance(inner, list) else getattr(inner, "routes", []))
                break

print(json.dumps(list(listed(app.routes))))
"""
_WEIGHTS = "moves or changes the weights"
_STATE = "changes how the server runs, for everybody"
_INSIDE = "shows the server's insides"
_PAGES = "the framework's pages for people"
_HANGS = "400 bytes are enough to hang it, and the whole HTTP process"
# The routes that take a name.
_NAMED = {"/v1/models/{model:path}", "/v1/responses/{response_id}", "/v1/responses/{response_id}/cancel"}
CLOSED = {
    "/": "says that the server runs, as /health does", "/docs": _PAGES, "/docs/oauth2-redirect": _PAGES,
    "/openapi.json": _PAGES, "/redoc": _PAGES,
    "/v1/realtime": "a web socket, which a job cannot carry",
    "/parse_function_call": _HANGS, "/separate_reasoning": _HANGS,
    "/abort_request": "ends other jobs", "/open_session": "holds memory until it is closed",
    "/close_session": "ends other jobs' sessions",
    **dict.fromkeys((
        "/get_model_info", "/model_info", "/get_server_info", "/server_info", "/v1/loads", "/list_external_corpora",
        "/get_hicache_l3_cache_layout", "/is_scaling_elastic_ep", "/get_remote_instance_transfer_engine_info",
        "/remote_instance_transfer_engine_info"), _INSIDE),
    **dict.fromkeys((
        "/update_weights_from_disk", "/init_weights_send_group_for_remote_instance",
        "/send_weights_to_remote_instance", "/init_weights_update_group", "/destroy_weights_update_group",
        "/update_weights_from_tensor", "/begin_weight_update", "/end_weight_update",
        "/update_weights_from_distributed", "/update_weights_from_ipc", "/update_weight_version",
        "/get_weights_by_name", "/release_memory_occupation", "/resume_memory_occupation", "/weights_checker",
        "/load_lora_adapter", "/load_lora_adapter_from_tensors", "/unload_lora_adapter"), _WEIGHTS),
    **dict.fromkeys((
        "/set_internal_state", "/flush_cache", "/add_external_corpus", "/remove_external_corpus",
        "/hicache/storage-backend/clear", "/hicache/storage-backend", "/start_profile", "/stop_profile",
        "/set_trace_level", "/freeze_gc", "/start_expert_distribution_record", "/stop_expert_distribution_record",
        "/dump_expert_distribution_record", "/slow_down", "/pd_role_switch", "/configure_logging",
        "/pause_generation", "/continue_generation", "/scale_elastic_ep", "/dumper/{method}"), _STATE),
}
# Served by the worker alone, in other clients' shapes.
_OURS = {"/rerank", "/v2/rerank", "/api/ps", "/api/version"}


@pytest.fixture(scope="module")
def served(run):
    """{path: methods} of the server, from its own application."""
    done = run("-c", _LIST)
    assert done.returncode == 0, done.stderr[-2000:]
    return {path: set(methods) for path, methods in json.loads(done.stdout.splitlines()[-1])}


def test_each_route_of_the_server_is_open_or_closed_with_a_reason(served):
    assert {"/generate", "/v1/chat/completions", "/v1/loads"} <= set(served)
    assert set(served) - set(ROUTES) - _NAMED - set(CLOSED) == set()
    assert set(ROUTES) & set(CLOSED) == set() and all(CLOSED.values())


def test_each_open_route_is_the_servers_with_that_method(served):
    for path, entry in ROUTES.items():
        assert path in served or path in _OURS, path
        assert entry.method in served[entry.engine or path], path
    assert set(served) >= _NAMED


def test_nothing_is_closed_that_the_server_lacks(served):
    conditional = {"/dumper/{method}", "/v1/loads", "/scale_elastic_ep", "/is_scaling_elastic_ep"}
    assert set(CLOSED) - set(served) - conditional == set()
