"""What is found out of the model that is served, of a server that says everything, something or nothing."""

import json

import pytest

from job.hazards import check
from job.model import ModelFacts, learned
from settings.limits import Limits
from utils import JobError

ROW = [0.5, 0.25]


class Server:
    """Answers as SGLang's routes do; what is None is not answered."""

    def __init__(self, **routes):
        self.routes = routes

    def get(self, path, body=None):
        value = self.routes.get(path.strip("/").replace("/", "_"))
        if value is None:
            return None, b""
        return 200, value if isinstance(value, bytes) else json.dumps(value).encode()


def server(**info) -> Server:
    return Server(
        generate=b'{"error":{"message":"logit_bias must has keys in [0, 511], got 4611686018427387904."}}',
        model_info={"is_generation": True}, v1_models={"data": [{"max_model_len": 2048}]},
        server_info={"disable_radix_cache": False, "dtype": "auto", **info})


def folder(tmp_path, **config) -> str:
    (tmp_path / "config.json").write_text(json.dumps(config))
    return str(tmp_path)


def test_a_server_and_a_folder_that_say_everything(tmp_path):
    name = folder(tmp_path, vocab_size=500, hidden_size=2, dtype="bfloat16")
    assert learned(server(), name, {}) == ModelFacts(512, True, 2048, 2, "bfloat16", True)
    assert learned(server(dtype="float16"), name, {}).dtype == "float16"


def test_a_server_that_says_nothing(tmp_path):
    assert learned(Server(), str(tmp_path), {}) == ModelFacts()
    assert learned(Server(), folder(tmp_path, vocab_size=500, hidden_size=2), {}) == ModelFacts(500, width=2)
    odd = Server(generate=b"[", model_info=[], v1_models={"data": []}, server_info={"dtype": 5})
    assert learned(odd, "nowhere", {}) == ModelFacts()


@pytest.mark.parametrize("said, generates", [({"is_generation": False}, False), ({"is_generation": True}, True),
                                             ({}, True), ({"is_generation": None}, True)])
def test_whether_it_generates(said, generates):
    assert learned(Server(model_info=said), "nowhere", {}).generates is generates


@pytest.mark.parametrize("said, images", [({"has_image_understanding": True, "is_generation": True}, True),
                                          ({"has_image_understanding": True}, True), ([], False), ({}, False),
                                          ({"has_image_understanding": "yes"}, False)])
def test_whether_it_takes_images(said, images):
    assert learned(Server(model_info=said), "nowhere", {}).images is images


@pytest.mark.parametrize("length, context", [(2048, 2048), (1, 1), (0, None), (-1, None), ("x", None), (None, None)])
def test_the_context(length, context):
    assert learned(Server(v1_models={"data": [{"max_model_len": length}]}), "nowhere", {}).context == context


@pytest.mark.parametrize("radix_cache_off, dtype, config, takes", [
    (False, "auto", {}, True), (False, "float16", {}, True), (True, "bfloat16", {}, True), (True, "float16", {}, False),
    (True, "float32", {"dtype": "bfloat16"}, False), (True, "auto", {"dtype": "bfloat16"}, True),
    (True, "auto", {"torch_dtype": "bfloat16"}, True), (True, "auto", {"text_config": {"dtype": "bfloat16"}}, True),
    (True, "auto", {"torch_dtype": "float16"}, False), (True, "auto", {}, False), (True, None, {}, False),
    (True, "bfloat16", {"dtype": "float16"}, True)])
def test_embeds_are_taken_only_where_they_do_not_end_the_server(tmp_path, radix_cache_off, dtype, config, takes):
    told = server(disable_radix_cache=radix_cache_off, dtype=dtype)
    facts = learned(told, folder(tmp_path, hidden_size=2, **config), {})
    assert facts.takes_embeds is takes
    body = {"input_embeds": [ROW]}
    if takes:
        check("/generate", body, facts, Limits())
    else:
        with pytest.raises(JobError) as raised:
            check("/generate", body, facts, Limits())
        assert raised.value.param == "input_embeds" and raised.value.code == 400
        assert "DISABLE_RADIX_CACHE needs DTYPE=bfloat16" in raised.value.message
    check("/generate", {"text": "x", "input_embeds": None}, facts, Limits())
