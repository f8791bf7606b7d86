"""docs/deploying.md: the snippet for calls of an endpoint that may be cold, run as it stands there."""

import http.server
import json
import re
import threading

import openai
import pytest

from tests.support import ROOT

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/deploying.md").read_text(encoding="utf-8"), re.DOTALL)
[SNIPPET] = [block for block in BLOCKS if "no workers available" in block]
ADDRESS = "https://<ENDPOINT_ID>.api.runpod.ai"
COLD = (400, {"error": "no workers available"})
ANSWER = (200, {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [
    {"index": 0, "message": {"role": "assistant", "content": "Paris."}, "finish_reason": "stop"}]})
UNKNOWN = (404, {"error": {"message": "The model does not exist", "type": "not_found_error", "code": 404}})
WRONG = (400, {"error": {"message": "temperature must not be negative", "type": "BadRequestError", "code": 400}})
BROKEN = (502, {"error": {"message": "The engine ended while this job was running", "code": 502}})


class Balancer(http.server.HTTPServer):
    """Answers one request after another with what it was given, the last again and again."""

    def __init__(self, answers):
        self.answers, self.asked = answers, 0
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        assert (self.path, self.headers["Authorization"]) == ("/v1/chat/completions", "Bearer key-of-nobody")
        self.rfile.read(int(self.headers["Content-Length"]))
        status, body = self.server.answers[min(self.server.asked, len(self.server.answers) - 1)]
        self.server.asked += 1
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def ask(monkeypatch):
    """ask(answers, …): the snippet's function against a balancer that gives these; returns (what it gave or raised,
    requests, seconds it would have waited)."""
    def run(answers, **options):
        waited = []
        with Balancer(answers) as balancer:
            threading.Thread(target=balancer.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
            assert SNIPPET.count(ADDRESS) == 1
            names = {}
            exec(SNIPPET.replace(ADDRESS, f"http://127.0.0.1:{balancer.server_port}"), names)
            monkeypatch.setattr(names["time"], "sleep", waited.append)
            try:
                outcome = names["ask"]([{"role": "user", "content": "?"}], **options)
            except openai.APIStatusError as error:
                outcome = error
            names["client"].close()
            balancer.shutdown()
        return outcome, balancer.asked, sum(waited)

    monkeypatch.setenv("RUNPOD_API_KEY", "key-of-nobody")
    return run


def test_a_cold_endpoint_is_asked_until_it_has_a_worker(ask):
    answer, asked, waited = ask([COLD, COLD, COLD, ANSWER])
    assert answer.choices[0].message.content == "Paris." and asked == 4 and waited == 30


def test_a_worker_that_broke_is_asked_again(ask):
    answer, _, _ = ask([BROKEN, ANSWER])
    assert answer.choices[0].message.content == "Paris."


def test_it_gives_up_in_the_end(ask):
    error, asked, waited = ask([COLD], tries=3)
    assert isinstance(error, openai.BadRequestError) and asked == 3 and waited == 20


@pytest.mark.parametrize("refusal", [UNKNOWN, WRONG])
def test_what_cannot_succeed_is_not_tried_again(ask, refusal):
    error, asked, _ = ask([refusal])
    assert isinstance(error, openai.APIStatusError) and error.status_code == refusal[0] and asked == 1
