"""What other servers know and SGLang does not: put into its own, or refused; what asks for nothing stays harmless."""

import pytest

from job import foreign, routes
from job.routes import Context
from utils import JobError

PLAIN = Context("tiny", "org/tiny")
Q = [{"role": "user", "content": "Hi"}]
BASE = {"native": ("/generate", {"text": "Hi"}), "chat": ("/v1/chat/completions", {"messages": Q}),
        "completions": ("/v1/completions", {"prompt": "Hi"}), "responses": ("/v1/responses", {"input": "Hi"}),
        "messages": ("/v1/messages", {"messages": Q, "max_tokens": 9})}


def plan(kind, fields, context=PLAIN):
    path, body = BASE[kind]
    return routes.plan({"openai_route": path, "openai_input": {**body, **fields}}, context, "job-1").body


def refused(kind, fields):
    with pytest.raises(JobError) as caught:
        plan(kind, fields)
    assert caught.value.code == 400
    return caught.value


@pytest.mark.parametrize("kind, fields", [
    ("completions", {"suffix": " is Paris."}), ("chat", {"suffix": "x"}), ("native", {"suffix": "x"}),
    *((kind, {"bad_words": ["x"]}) for kind in BASE), *((kind, {"allowed_token_ids": [1]}) for kind in BASE),
    *((kind, {"use_beam_search": True}) for kind in BASE), *((kind, {"truncate_prompt_tokens": 5}) for kind in BASE),
    *((kind, {"prompt_logprobs": 0}) for kind in BASE), *((kind, {"typical_p": 0.5}) for kind in BASE),
    *((kind, {"truncate": 100}) for kind in BASE), *((kind, {"parameters": {"max_new_tokens": 5}}) for kind in BASE),
    *((kind, {"web_search_options": {}}) for kind in BASE), ("chat", {"options": {"num_predict": 5}}),
    ("chat", {"modalities": ["text", "audio"]}), ("chat", {"audio": {"voice": "x"}}), ("chat", {"system": "Be brief."}),
    ("chat", {"instructions": "Be brief."}), ("chat", {"add_generation_prompt": False}), ("chat", {"echo": True}),
    ("chat", {"add_special_tokens": True}), ("completions", {"add_special_tokens": False}),
    ("chat", {"thinking_budget": 100}), ("chat", {"max_thinking_tokens": 100}),
    ("completions", {"tools": [{"type": "function"}]}), ("completions", {"functions": [{"name": "f"}]}),
    ("completions", {"chat_template": "x"}),
    *((kind, {"num_beams": 4}) for kind in BASE), *((kind, {"max_time": 3}) for kind in BASE),
    *((kind, {"max_length": 30}) for kind in BASE), *((kind, {"think": False}) for kind in BASE),
    *((kind, {name: "http://x/y.png"}) for kind in BASE if kind != "native"
      for name in ("image_data", "video_data", "audio_data", "images")),
    *((kind, {"beam_width": 2}) for kind in BASE if kind != "native"), ("chat", {"return_logprob": True}),
    ("completions", {"spaces_between_special_tokens": False}), ("responses", {"system": "Be brief."}),
    ("responses", {"system_prompt": "Be brief."}), ("messages", {"instructions": "Be brief."}),
    ("responses", {"logprobs": True}), ("responses", {"prompt": {"id": "pmpt_1"}}),
    ("responses", {"conversation": "conv_1"}),
    ("responses", {"functions": [{"name": "f"}]}), ("responses", {"tool_choice": {"type": "web_search"}}),
    ("responses", {"tool_choice": {"type": "allowed_tools", "mode": "required", "tools": []}}),
    ("messages", {"mcp_servers": [{"url": "x"}]}), ("messages", {"chat_template_kwargs": {"enable_thinking": False}}),
    ("messages", {"repetition_penalty": 1.2}), ("messages", {"repeat_penalty": 1.2}),
    ("chat", {"reasoning": {"max_tokens": 100}}), ("chat", {"system_instruction": "Be brief."}),
    ("messages", {"presence_penalty": 0.5}),
    *((kind, {name: value}) for kind in ("responses", "messages") for name, value in (
        ("min_tokens", 5), ("min_new_tokens", 5), ("seed", 0), ("n", 2), ("logit_bias", {"1": 5}), ("ignore_eos", True),
        ("stop_token_ids", [1]), ("stop_regex", "a"), ("no_stop_trim", True), ("skip_special_tokens", False),
        ("continue_final_message", True))),
], ids=str)
def test_what_would_have_no_effect_is_refused_by_name(kind, fields):
    error = refused(kind, fields)
    assert error.param == next(iter(fields)) and f"`{error.param}" in error.message
    assert len(error.message) > 60  # says what to do instead


# As clients and their wrappers send them, asking for nothing.
NEUTRAL = [
    {"suffix": ""}, {"suffix": None}, {"bad_words": []}, {"use_beam_search": False}, {"typical_p": 1.0}, {"top_a": 0},
    {"tfs": 1}, {"mirostat_mode": 0}, {"no_repeat_ngram_size": 0}, {"echo": False}, {"add_generation_prompt": True},
    {"modalities": ["text"]}, {"audio": None}, {"parameters": {}}, {"truncate": False}, {"return_full_text": False},
    {"system": ""}, {"mcp_servers": []}, {"n": 1}, {"min_tokens": 0}, {"logit_bias": {}}, {"stop_token_ids": []},
    {"ignore_eos": False}, {"skip_special_tokens": True}, {"repetition_penalty": 1.0}, {"presence_penalty": 0},
    {"frequency_penalty": 0.0}, {"logprobs": False}, {"functions": []}, {"do_sample": True}, {"prompt_logprobs": None},
    {"think": True}, {"json_mode": False}, {"num_beams": 1}, {"beam_width": 1},
    {"spaces_between_special_tokens": True}, {"return_logprob": False}]


@pytest.mark.parametrize("kind", BASE)
@pytest.mark.parametrize("fields", NEUTRAL, ids=str)
def test_what_asks_for_nothing_is_harmless(kind, fields):
    plan(kind, fields)


# Hints, names and counters, and fields that nobody knows.
HARMLESS = {"user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "verbosity": "low",
            "safety_identifier": "u1", "prompt_cache_key": "k1", "parallel_tool_calls": True, "prediction": {
                "type": "content", "content": "x"}, "betas": ["x"], "context_management": {"a": 1}, "foo": [1]}


@pytest.mark.parametrize("kind", [kind for kind in BASE if kind != "native"])
def test_harmless_unknown_fields_are_carried_as_they_are(kind):
    body = plan(kind, HARMLESS)
    assert {name: body[name] for name in HARMLESS} == HARMLESS


def test_a_completion_template_reads_the_suffix():
    context = Context("tiny", "org/tiny", suffix=True)
    assert plan("completions", {"suffix": "x"}, context)["suffix"] == "x"
    with pytest.raises(JobError):
        plan("chat", {"suffix": "x"}, context)


def test_what_vllms_clients_send_along_is_no_fault_on_the_native_route():
    given = {"use_beam_search": False, "best_of": 1, "length_penalty": 1.0, "early_stopping": False, "max_tokens": 5,
             "include_stop_str_in_output": False, "spaces_between_special_tokens": True}
    expected = {"max_new_tokens": 5, "no_stop_trim": False, "spaces_between_special_tokens": True}
    for job_input in ({"text": "a", **given}, {"text": "a", "sampling_params": given}):
        assert routes.plan(job_input, PLAIN, "x").body["sampling_params"] == expected
    # the best of several is another answer, which the engine refuses by name
    assert plan("native", {"best_of": 3})["sampling_params"] == {"best_of": 3}


@pytest.mark.parametrize("kind", ["chat", "completions"])
def test_the_best_of_more_answers_than_are_given_is_refused_where_the_route_would_pass_over_it(kind):
    with pytest.raises(JobError, match=r"`best_of` \(3\) is not known to SGLang here .*: use `n`") as caught:
        plan(kind, {"best_of": 3, "n": 2})
    assert caught.value.param == "best_of"
    for given in ({"best_of": 1}, {"best_of": 2, "n": 2}, {"best_of": None}):
        plan(kind, given)


def test_what_a_template_reads_goes_where_sglang_passes_it_on():
    body = plan("chat", {"enable_thinking": False, "documents": [{"text": "a"}], "chat_template": "x",
                         "chat_template_kwargs": {"enable_thinking": True, "b": 1}})
    assert body["chat_template_kwargs"] == {"enable_thinking": True, "documents": [{"text": "a"}], "chat_template": "x",
                                            "b": 1}
    assert not {"enable_thinking", "documents", "chat_template"} & set(body)
    # there SGLang looks for it (openai/protocol.py, to_sampling_params)
    assert plan("chat", {"spaces_between_special_tokens": False})["chat_template_kwargs"] == {
        "spaces_between_special_tokens": False}
    assert "chat_template_kwargs" not in plan("chat", {"spaces_between_special_tokens": True})


@pytest.mark.parametrize("path, base, fields", [
    ("/v1/embeddings", {"input": "a"}, {"normalize": False}),
    ("/v1/embeddings", {"input": "a"}, {"late_chunking": True}),
    ("/v1/embeddings", {"input": "a"}, {"prompt_name": "query"}), ("/encode", {"text": "a"}, {"normalized": False}),
    ("/v1/embeddings", {"input": "a"}, {"truncate_prompt_tokens": 5}),
    ("/rerank", {"query": "a", "documents": ["b"]}, {"rank_fields": ["title"]})])
def test_embeddings_and_rankings_that_were_not_asked_for(path, base, fields):
    with pytest.raises(JobError) as caught:
        routes.plan({"openai_route": path, "openai_input": {**base, **fields}}, PLAIN, "x")
    assert caught.value.param == next(iter(fields))
    harmless = {"normalize": True, "late_chunking": False, "prompt_name": "", "user": "u", "input_type": "query"}
    routes.plan({"openai_route": path, "openai_input": {**base, **harmless}}, PLAIN, "x")


def test_greedy_in_hugging_faces_words():
    for kind in BASE:
        body = plan(kind, {"do_sample": False})
        assert (body.get("sampling_params") or body)["temperature"] == 0
    assert plan("chat", {"do_sample": False, "temperature": 0.5})["temperature"] == 0.5


def test_the_effort_of_a_chat_stands_where_the_route_has_it():
    assert plan("responses", {"reasoning_effort": "low"})["reasoning"] == {"effort": "low"}
    assert plan("responses", {"reasoning_effort": "low", "reasoning": {"effort": "high"}})["reasoning"] == {
        "effort": "high"}
    assert plan("messages", {"reasoning_effort": "low"})["output_config"] == {"effort": "low"}
    assert plan("chat", {"reasoning_effort": "low"})["reasoning_effort"] == "low"


def test_what_stands_beside_text_is_none_of_the_native_routes_own_fields():
    own = {"max_thinking_tokens", "modalities", "stream", "return_logprob", "image_data", "lora_path", "watermark"}
    assert not own & set(foreign.NATIVE)
    assert plan("native", {"max_thinking_tokens": 9, "modalities": ["image"]}) == {
        "text": "Hi", "max_thinking_tokens": 9, "modalities": ["image"], "rid": "job-1"}


def test_greedy_in_another_servers_words_beside_a_list_of_sampling_params_is_named():
    with pytest.raises(JobError, match="put every sampling field inside it") as caught:
        routes.plan({"text": ["a", "b"], "sampling_params": [{}, {}], "do_sample": False}, PLAIN, "x")
    assert caught.value.param == "do_sample"


# Fields of other servers and of SGLang's other routes, with a value that asks for something,
# and with one that does not.
ASKING = [
    ("banned_tokens", [1], []), ("ban_strings", ["x"], None), ("sequence_bias", {"a": 1}, {}), ("logit_bias_exp",
    [1], []),
    ("allowed_tokens", [1], []), ("grammar_triggers", [{"a": 1}], []), ("ban_eos_token", True, False),
    ("typ_p", 0.9, 1.0), ("typical", 0.9, 1), ("top_n_sigma", 1.0, -1), ("dynatemp_range", 0.5, 0.0),
    ("smoothing_factor", 0.2, 0), ("epsilon_cutoff", 0.1, 0), ("penalty_alpha", 0.5, 0), ("repetition_detection",
                                                                                         {"a": 1}, None),
    ("encoder_repetition_penalty", 1.2, 1), ("num_beam_groups", 2, 1), ("diversity_penalty", 0.5, 0.0),
    ("guidance_scale", 2.0, 1), ("cfg_scale", 2, 1.0), ("negative_prompt", "x", ""), ("vllm_xargs", {"a": 1}, {}),
    ("reasoning_budget", 100, -1), ("max_reasoning_tokens", 5, None), ("t_max_predict_ms", 100, 0), ("min_length", 5,
    0),
    ("exponential_decay_length_penalty", [1, 1.1], None), ("prompt_truncate_len", 5, None), ("n_indent", 4, 0),
    ("decoder_input_details", True, False), ("top_n_tokens", 3, 0), ("n_probs", 3, 0), ("logprob_token_ids", [1], []),
    ("return_tokens_as_token_ids", True, False), ("include_reasoning", False, True), ("token_healing", True, False),
    ("system_message", "Be brief.", ""), ("preamble", "Be brief.", None), ("safe_prompt", True, False),
    ("template", "{{x}}", ""), ("context", [1, 2], []), ("inputs", "Hi", ""), ("prompt_embeds", "x", ""),
    ("input_suffix", "x", ""), ("enable_search", True, False), ("plugins", [{"id": "web"}], []),
    ("lora", [{"id": 0, "scale": 0.5}], []), ("media_io_kwargs", {"video": {}}, {}), ("image", "http://x/y.png", None),
    ("generation_config", {"a": 1}, {}), ("inferenceConfig", {"a": 1}, {}), ("suffix", "x", "")]


@pytest.mark.parametrize("kind", BASE)
@pytest.mark.parametrize("name, asking, neutral", ASKING, ids=lambda value: value if isinstance(value, str) else "")
def test_more_fields_that_change_an_answer_and_that_no_route_reads(kind, name, asking, neutral):
    assert refused(kind, {name: asking}).param == name
    assert name not in plan(kind, {name: neutral})
    if kind == "native":
        with pytest.raises(JobError) as caught:
            routes.plan({"text": "a", "sampling_params": {name: asking}}, PLAIN, "x")
        assert caught.value.param == name


@pytest.mark.parametrize("kind, fields", [
    ("native", {"echo": True}), ("native", {"tools": [{"type": "function"}]}), ("native", {"system": "Be brief."}),
    ("native", {"chat_template_kwargs": {"a": 1}}), ("native", {"enable_thinking": False}), ("native",
    {"images": ["x"]}),
    ("native", {"documents": [{"a": 1}]}), ("native", {"continue_final_message": True}), ("native", {"functions": [1]}),
    ("native", {"thinking": {"type": "disabled"}}), ("native", {"add_special_tokens": False}),
    ("completions", {"chat_template_kwargs": {"a": 1}}), ("completions", {"enable_thinking": False}),
    ("completions", {"documents": [{"a": 1}]}), ("completions", {"continue_final_message": True}),
    ("completions", {"top_logprobs": 3}), ("completions", {"function_call": {"name": "f"}}),
    ("completions", {"messages": Q}), ("completions", {"thinking": {"type": "disabled"}}),
    ("completions", {"previous_response_id": "resp_1"}), ("completions", {"return_meta_info": True}),
    *((kind, {"top_logprobs_num": 2}) for kind in BASE if kind != "native"),
    *((kind, {"logprob_start_len": 0}) for kind in BASE if kind != "native"),
    *((kind, {"token_ids_logprob": [1]}) for kind in BASE if kind != "native"),
    ("chat", {"previous_response_id": "resp_1"}), ("chat", {"prompt": "Hi"}), ("chat", {"text": "Hi"}),
    ("chat", {"raw": True}), ("chat", {"mcp_servers": [{"a": 1}]}), ("messages", {"suffix": "x"}),
    ("messages", {"function_call": {"name": "f"}}), ("messages", {"priority": 5}), ("messages", {"cache_salt": "a"}),
    ("messages", {"documents": [{"a": 1}]}), ("messages", {"separate_reasoning": False}), ("messages",
    {"audio": {"a": 1}}),
    ("messages", {"session_params": {"id": "a"}}), ("messages", {"top_logprobs": 2}), ("messages", {"min_p": 0.1}),
    ("responses", {"messages": Q}), ("responses", {"suffix": "x"}), ("responses", {"return_hidden_states": True}),
    ("responses", {"add_generation_prompt": False}), ("responses", {"mm_processor_kwargs": {"a": 1}}),
    ("responses", {"watermark": {"a": 1}}), ("responses", {"reasoning_format": "none"}), ("chat",
    {"reasoning_format": "hidden"}),
    # by another name than the table has
    ("responses", {"eos_token_id": 5}), ("messages", {"rep_pen": 1.2}), ("messages", {"num_return_sequences": 2}),
    ("responses", {"logitBias": {"1": 5}}), ("messages", {"frequencyPenalty": 0.5}), ("messages", {"minTokens": 5}),
    *((kind, {"repeat_last_n": 64, "repetition_penalty": 1.1}) for kind in ("native", "chat", "completions",
    "responses")),
], ids=str)
def test_fields_that_only_some_routes_read(kind, fields):
    assert refused(kind, fields).param == next(iter(fields))


def test_a_window_of_repetitions_that_nothing_is_counted_in_is_no_wish():
    for kind in BASE:
        body = plan(kind, {"repeat_last_n": 64, "repetition_penalty": 1})
        assert "repeat_last_n" not in body and "repeat_last_n" not in body.get("sampling_params", {})


def test_thinking_is_turned_off_in_the_words_of_each_route():
    assert plan("messages", {"enable_thinking": False})["thinking"] == {"type": "disabled"}
    assert plan("responses", {"enable_thinking": False})["chat_template_kwargs"] == {"enable_thinking": False}
    assert plan("responses", {"thinking": {"type": "disabled"}})["reasoning"] == {"effort": "none"}
    assert plan("chat", {"reasoning_format": "none"})["separate_reasoning"] is False
    assert "separate_reasoning" not in plan("chat", {"reasoning_format": "auto"})


# What each of SGLang's generating routes reads in its body (openai/protocol.py, anthropic/protocol.py, io_struct.py of
# 0.5.23), of the fields that not all of them do. One that a route does not read must not be dropped without a word.
READ = {
    "chat": "frequency_penalty logit_bias logprobs top_logprobs n presence_penalty response_format seed tools "
            "return_hidden_states return_prompt_token_ids return_token_ids return_meta_info regex ebnf min_p "
            "min_tokens repetition_penalty stop_token_ids stop_regex no_stop_trim ignore_eos continue_final_message "
            "chat_template_kwargs mm_processor_kwargs custom_logit_processor custom_params watermark session_params "
            "cache_salt extra_key priority",
    "completions": "echo frequency_penalty logit_bias logprobs n presence_penalty seed return_hidden_states "
                   "return_token_ids min_p min_tokens json_schema regex ebnf repetition_penalty stop_token_ids "
                   "stop_regex no_stop_trim ignore_eos custom_logit_processor custom_params watermark session_params "
                   "mm_processor_kwargs cache_salt extra_key priority response_format",
    "responses": "previous_response_id instructions tools top_logprobs chat_template_kwargs frequency_penalty "
                 "presence_penalty min_p repetition_penalty cache_salt extra_key priority",
    "messages": "system tools",
    "native": "return_logprob logprob_start_len top_logprobs_num token_ids_logprob image_data video_data audio_data "
              "max_thinking_tokens session_params mm_processor_kwargs custom_logit_processor cache_salt extra_key "
              "priority watermark",
}
SAMPLE = {"response_format": {"type": "json_object"}, "tools": [{"type": "function", "function": {"name": "f"}}],
          "logit_bias": {"1": 5}, "chat_template_kwargs": {"a": 1}, "regex": "a", "ebnf": "root ::= \"a\"",
          "json_schema": {"type": "object"}, "stop_regex": "a", "stop_token_ids": [1], "custom_params": {"a": 1},
          "mm_processor_kwargs": {"a": 1}, "watermark": {"a": 1}, "session_params": {"id": "a"}, "seed": 1,
          "instructions": "Be brief.", "system": "Be brief.", "previous_response_id": "resp_1", "cache_salt": "a",
          "extra_key": "a", "custom_logit_processor": "x", "token_ids_logprob": [1], "min_p": 0.1, "n": 2}
TRANSLATED = {"json_schema", "regex", "ebnf", "response_format", "custom_params", "stop_regex", "no_stop_trim",
              "ignore_eos", "stop_token_ids", "logit_bias", "n", "seed", "min_p", "min_tokens", "frequency_penalty",
              "presence_penalty", "repetition_penalty", "logprobs",
              "top_logprobs"}  # into sampling_params or the schema
UNSAID = {"return_hidden_states", "return_token_ids", "return_prompt_token_ids", "return_meta_info"}  # native: always


@pytest.mark.parametrize("kind", BASE)
@pytest.mark.parametrize("name", sorted({name for names in READ.values() for name in names.split()}))
def test_no_field_of_one_route_of_sglang_is_dropped_on_another(kind, name):
    fields = {name: SAMPLE.get(name, 3 if "num" in name or name in ("priority", "top_logprobs", "min_tokens") else
                               0.5 if "penalty" in name else "http://x/y.png" if name.endswith("_data") else True)}
    try:
        body = plan(kind, fields)
    except JobError as error:
        assert error.param == name and name not in READ[kind].split()
        return
    translated = name in TRANSLATED and kind in ("native", "chat", "completions", "responses", "messages")
    assert name in READ[kind].split() or (translated and name not in body) or kind == "native" and name in UNSAID
