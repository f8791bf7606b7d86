"""Engines of tiny programs, stopped after each test."""

import contextlib
import os
import signal
import uuid

import pytest

import utils
from engine import Engine
from tests.contract.server.trees import Output, members, program
from tests.support import free_port


@pytest.fixture
def mark():
    """Goes into the environment of everything a test starts; whatever a failed test leaves is killed."""
    text = f"engine-test-{uuid.uuid4().hex}"
    yield text
    for pid in members(text):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def environ(mark):
    return {**os.environ, "ENGINE_TEST": mark}


@pytest.fixture
def output():
    return Output()


@pytest.fixture
def build(environ, output, monkeypatch):
    """Engine(command, ...) with a port and an environment of this test; stopped afterwards."""
    monkeypatch.setattr(utils, "_state", dict(utils._state))
    built = []

    def make(command, cls=Engine, **options):
        options.setdefault("port", free_port())
        engine = cls(command, options.pop("environ", environ), **{"on_line": output, **options})
        built.append(engine)
        return engine

    yield make
    for engine in built:
        engine.stop(0)


@pytest.fixture
def serve(build):
    """An engine whose server answers on its port as told; /ready with 200 unless told otherwise."""
    def make(answers=None, *, engine=None, **options):
        port = free_port()
        command = program("server", port=port, answers=answers or {"/ready": [200]}, **options)
        return build(command, port=port, **(engine or {}))
    return make
