"""What is true of one process is true of two: some tests of the HTTP front again, with HTTP_PROCESSES=2.

All of them run so with TEST_HTTP_PROCESSES=2 in the environment.
"""

import pytest

from tests.contract.front.http_worker import http, start
from tests.contract.front.test_http import (
    test_a_signal_while_the_engine_loads_ends_in_order,
    test_an_engine_that_is_lost_ends_the_worker_with_1,
    test_clients_raise_what_their_users_catch,
    test_every_kind_of_answer,
    test_health_is_there_before_the_engine_and_says_what_the_worker_is_at,
    test_nobody_comes_in_without_a_key_but_health,
)
from tests.contract.front.test_http_audio import ears, test_a_form_and_all_its_answers
from tests.contract.front.test_http_leaving import (
    test_two_hundred_who_leave_at_any_moment_leave_every_place_and_all_memory,
)
from tests.contract.front.test_http_manners import (
    test_a_worker_that_is_full_reads_no_body,
    test_no_body_is_read_before_there_is_room_for_it,
)
from tests.contract.front.test_http_ollama import test_what_clients_ask_first
from tests.contract.front.test_http_realtime import test_a_session_holds_a_place
from tests.contract.meter.test_metrics import (
    test_on_a_port_of_its_own_health_has_it_without_a_key_and_nobody_else,
    test_what_it_says_after_requests,
)
from tests.contract.meter.test_otel import receiver, test_a_request_s_span_and_metrics

__all__ = [
    "ears", "http", "receiver", "start", "test_a_form_and_all_its_answers", "test_a_request_s_span_and_metrics",
    "test_a_session_holds_a_place", "test_a_signal_while_the_engine_loads_ends_in_order",
    "test_a_worker_that_is_full_reads_no_body", "test_an_engine_that_is_lost_ends_the_worker_with_1",
    "test_clients_raise_what_their_users_catch", "test_every_kind_of_answer",
    "test_health_is_there_before_the_engine_and_says_what_the_worker_is_at",
    "test_no_body_is_read_before_there_is_room_for_it", "test_nobody_comes_in_without_a_key_but_health",
    "test_on_a_port_of_its_own_health_has_it_without_a_key_and_nobody_else",
    "test_two_hundred_who_leave_at_any_moment_leave_every_place_and_all_memory", "test_what_clients_ask_first",
    "test_what_it_says_after_requests"]


@pytest.fixture(autouse=True)
def two(monkeypatch):
    monkeypatch.setenv("TEST_HTTP_PROCESSES", "2")
