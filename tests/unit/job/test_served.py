"""What the running server says of its names, adapters and template, and what stays when it says nothing."""

import json

import pytest

from job.context import Context
from job.served import learned

START = Context("served", "org/name")
CARDS = [{"id": "real", "parent": None}, {"id": "a", "parent": "real"}, {"id": "b", "parent": "real"}]


class Server:
    """Answers `Engine.get` from tables; `shows` says which roles its template shows at which places."""

    def __init__(self, reads, shows=lambda place, role: True, refuses=()):
        self.reads, self.shows, self.refuses, self.asked = reads, shows, refuses, []

    def get(self, path, timeout=5.0, body=None):
        self.asked.append(path)
        if path == "/tokenize":
            messages = json.loads(body)["messages"]
            if any(m["role"] in self.refuses for m in messages):
                return 400, b'{"object": "error"}'
            seen = "".join(m["content"] for place, m in enumerate(messages) if self.shows(place, m["role"]))
            return 200, json.dumps({"tokens": list(seen.encode()), "count": 1}).encode()
        if path not in self.reads:
            return None, b""
        return 200, json.dumps(self.reads[path]).encode()


def test_names_and_adapters_are_the_servers():
    context = learned(START, Server({"/v1/models": {"data": CARDS}}))
    assert (context.served_model_name, context.model, context.adapters, context.lora) == (
        "real", "org/name", ("a", "b"), True)


def test_a_model_that_a_configuration_file_names():
    reads = {"/v1/models": {"data": CARDS[:1]}, "/model_info": {"model_path": "org/model", "is_generation": True}}
    context = learned(Context("default", "default"), Server(reads))
    assert (context.served_model_name, context.model, context.adapters) == ("real", "org/model", ())
    assert learned(START, Server(reads)).model == "org/name"


@pytest.mark.parametrize("info, before, reasoning", [
    ({"reasoning_parser": "qwen3"}, False, True), ({"reasoning_parser": None}, True, False), ({}, True, True),
    ({}, False, False)])
def test_the_reasoning_parser_is_the_servers(info, before, reasoning):
    context = Context("served", "org/name", reasoning=before)
    assert learned(context, Server({"/model_info": info})).reasoning is reasoning


@pytest.mark.parametrize("info, before, tools", [
    ({"tool_call_parser": "qwen"}, False, True), ({"tool_call_parser": None}, True, False), ({}, True, True)])
def test_the_parser_of_tool_calls_is_the_servers(info, before, tools):
    context = Context("served", "org/name", tools=before)
    assert learned(context, Server({"/model_info": info})).tools is tools


@pytest.mark.parametrize("server, developer", [
    (Server({}), (True, True)), (Server({}, lambda place, role: role != "developer"), (False, False)),
    (Server({}, lambda place, role: role != "developer" or place == 0), (True, False)),
    (Server({}, refuses=("developer",)), (False, False))])
def test_the_template_is_asked_by_what_it_shows(server, developer):
    assert learned(START, server).developer == developer


def test_a_model_that_only_embeds_is_not_asked_for_a_template():
    server = Server({"/model_info": {"is_generation": False}})
    assert learned(START, server).developer == (False, False) and "/tokenize" not in server.asked


def test_a_server_without_a_tokenizer_is_not_asked_for_a_template():
    server = Server({})
    assert learned(START, server, tokenizer=False) == START and "/tokenize" not in server.asked


@pytest.mark.parametrize("answer", [None, [], "x", {"data": None}, {"data": ["x", {"id": 5}]}, {"data": []}])
def test_what_makes_no_sense_changes_nothing(answer):
    server = Server({"/v1/models": answer, "/model_info": answer}, refuses=("developer",))
    assert learned(START, server) == START
