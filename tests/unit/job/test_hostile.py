"""Every request that killed, froze or slowed a bare engine is refused before it is sent, or is harmless by now."""

import pytest

from job.amend import without_unknown_stops
from job.hazards import check
from job.limits import check_input
from job.model import ModelFacts
from job.routes import Context, plan
from settings.limits import Limits
from tests.e2e import hostile_inputs as hostile
from utils import JobError

CONTEXT = Context("tiny", "tiny")
# Prevented inside the engine by SGLANG_SANITIZE_NAN_LOGITS, or bounded by the job's own limits only.
NOT_REFUSED = {
    "regex with min_new_tokens", "response_format with min_tokens", "schema of itself", "response_format of itself",
    "responses format of itself", "strict tool of itself", "ebnf of itself", "ebnf of each other", "ebnf ambiguous",
    # Only with --enable-custom-logit-processor, which hands the engine to its callers anyway.
    "custom_logit_processor garbage", "chat custom_logit_processor garbage",
    # Sent without the ids that the model does not have.
    "stop_token_ids with min_new_tokens", "stop_token_ids negative", "stop_token_ids over int64", "chat stop_token_ids",
    "chat stop_token_ids as strings", "stop_token_ids beside a neighbour's min_new_tokens",
}


def send(case, facts: ModelFacts) -> None:
    job_input = {"openai_route": case.route, "openai_input": case.body}
    check_input(job_input, Limits())
    request = plan(job_input, CONTEXT, "job")
    check(request.path, without_unknown_stops(request.path, request.body, facts), facts, Limits())


@pytest.mark.parametrize("case", [*hostile.GENERATING, *hostile.UNLOCKED], ids=lambda case: case.name)
def test_a_generating_model_never_sees_it(case):
    facts = ModelFacts(hostile.VOCABULARY, context=2048, width=64)
    if case.name in NOT_REFUSED:
        send(case, facts)
    else:
        with pytest.raises(JobError) as raised:
            send(case, facts)
        assert raised.value.code in (400, 404, 413)


@pytest.mark.parametrize("case", hostile.OTHER_TYPE, ids=lambda case: case.name)
def test_a_server_in_another_type_never_sees_it(case):
    with pytest.raises(JobError):
        send(case, ModelFacts(hostile.VOCABULARY, context=2048, width=64, takes_embeds=False))
    send(case, ModelFacts(hostile.VOCABULARY, context=2048, width=64))


@pytest.mark.parametrize("case", hostile.EMBEDDING, ids=lambda case: case.name)
def test_an_embedding_model_never_sees_it(case):
    with pytest.raises(JobError):
        send(case, ModelFacts(hostile.VOCABULARY, generates=False, context=2048, width=64))
