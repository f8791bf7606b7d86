"""What an older SGLang would do in silence is refused, whatever the route calls it; a newer one is asked."""

import pytest

from job import context, older, routes
from job.routes import Context
from settings import config
from tests.flag_samples import SNAPSHOTS
from utils import JobError

Q = [{"role": "user", "content": "Hi"}]
ENDLESS = "{% for i in range(10**9) %}{% endfor %}"
OLD, NEW = sorted(SNAPSHOTS)
GUARD = "--trust-request-chat-template"


def plan(where: Context, route: str, **fields):
    return routes.plan({"openai_route": route, "openai_input": {"messages": Q, **fields}}, where, "job-1").body


def refused(where: Context, route: str, **fields) -> JobError:
    with pytest.raises(JobError) as caught:
        plan(where, route, **fields)
    assert caught.value.code == 400
    return caught.value


def of(version: str, **environ) -> Context:
    return context.of(config.load({"MODEL_NAME": "org/tiny", **environ}, SNAPSHOTS[version], None, "python3"))


@pytest.mark.parametrize("version", SNAPSHOTS)
@pytest.mark.parametrize("fields", [{"chat_template": ENDLESS}, {"chat_template_kwargs": {"chat_template": ""}}])
def test_a_callers_template_is_refused_unless_the_operator_lets_it_in(version, fields):
    assert refused(of(version), "/v1/chat/completions", **fields).param == "chat_template"
    if "chat_template_kwargs" in fields:
        assert refused(of(version), "/v1/tokenize", **fields).param == "chat_template"
    assert plan(of(version), "/v1/chat/completions", chat_template_kwargs={"a": 1})["chat_template_kwargs"] == {"a": 1}


def test_the_operator_lets_it_in_where_the_server_can_be_told():
    assert GUARD in SNAPSHOTS[NEW]["flags"] and GUARD not in SNAPSHOTS[OLD]["flags"]
    open_ = of(NEW, TRUST_REQUEST_CHAT_TEMPLATE="true")
    body = plan(open_, "/v1/chat/completions", chat_template=ENDLESS)
    assert body["chat_template_kwargs"]["chat_template"] == ENDLESS
    # Of a configuration file only the server knows what it says; an older one has no such option.
    file = {"SGLANG_CONFIG_FILE": "/x/server.yaml"}
    assert "chat_template" in plan(of(NEW, **file), "/v1/chat/completions", chat_template="x")["chat_template_kwargs"]
    assert refused(of(OLD, **file), "/v1/chat/completions", chat_template="x").param == "chat_template"


@pytest.mark.parametrize("fields", [
    {"guided_json": {"type": "object"}}, {"response_format": {"type": "json_object"}},
    {"output_config": {"format": {"type": "json_schema", "schema": {}}}}])
def test_a_schema_on_messages_is_refused_where_it_would_be_ignored(fields):
    error = refused(of(OLD), "/v1/messages", max_tokens=9, **fields)
    assert error.param == "output_config.format" and f"this endpoint has {OLD}" in str(error)
    assert "format" in plan(of(NEW), "/v1/messages", max_tokens=9, **fields)["output_config"]
    effort = {"effort": "low"}
    assert plan(of(OLD), "/v1/messages", max_tokens=9, output_config=effort)["output_config"] == effort
    assert plan(of(OLD), "/v1/chat/completions", **fields)


@pytest.mark.parametrize(("version", "old"), [
    ("0.5.19", True), ("0.5.22.post1", True), ("0.4.10", True), ("0.5.23", False), ("0.6", False), ("1.0.0", False),
    ("", False), ("0.0.0", False), ("unknown", False)])
def test_a_version_that_nobody_knows_counts_as_the_newest(version, old):
    body = {"output_config": {"format": {}}}
    where = Context("tiny", "org/tiny", sglang=version)
    if old:
        with pytest.raises(JobError):
            older.check(body, "messages", where)
    else:
        older.check(body, "messages", where)
