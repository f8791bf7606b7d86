"""Odd requests that harm nobody, and that are seen in the wild: none of them is refused."""

import base64
import random

import pytest

from job.amend import without_unknown_stops
from job.hazards import check
from job.limits import check_input
from job.model import ModelFacts
from job.routes import Context, plan
from settings.limits import Limits

MODEL = ModelFacts(vocabulary=151_936, context=32_768, width=4096)
EMBEDDER = ModelFacts(vocabulary=151_936, generates=False, context=8192, width=1024)
CONTEXT = Context("tiny", "org/tiny", lora=True)
IMAGE = base64.b64encode(random.Random(1).randbytes(900_000)).decode()
DATA = "data:image/jpeg;base64," + IMAGE
USER = [{"role": "user", "content": "Hi"}]


def routed(route, **body):
    return {"openai_route": route, "openai_input": body}


def chat(**fields):
    return routed("/v1/chat/completions", **{"messages": USER, **fields})


def said(*parts):
    return [{"role": "user", "content": list(parts)}]


def score(**fields):
    return routed("/v1/score", **{"label_token_ids": [1, 2], **fields})


def native(text="Hi", **fields):
    return {"text": text, **fields}


GENERATING = {
    "a class": native(sampling_params={"stop_regex": "[+*/-]="}), "an escaped bracket": chat(stop_regex=r"\)+"),
    "a number": native(stop_regex=r"\d+\.\d+"), "an optional group": chat(stop_regex=["(foo)?bar", r"(ab){2}"]),
    "a blank line": chat(stop_regex=r"\n\s*\n\s*\n"), "a literal plus": chat(stop_regex=r"C\+\+"),
    "bounded": chat(stop_regex=r"\d{1,3}-\d{1,3}"),
    "a bias as OpenAI has it": chat(logit_bias={"50256": -100, "1": 100}),
    "a bias in strings": chat(logit_bias={"50256": "-100"}), "a bias inside": native(sampling_params={
        "logit_bias": {"5": "1.5"}}),
    "32 stop strings": chat(stop=[f"<{i}>" for i in range(32)]), "stop ids": chat(stop_token_ids=[151_643, 151_645]),
    "stop ids of another model": chat(stop_token_ids=[151_643, 200_020, -1], min_tokens=2),
    "stop ids of another model inside": native(["a", "b"], sampling_params=[{"stop_token_ids": [10**6]}, {}]),
    "every token": chat(top_k=-1), "greedy": chat(top_p=0), "greedy inside": native(sampling_params={"top_p": 0}),
    "log-probabilities": chat(logprobs=True, top_logprobs=20), "chosen ones": chat(logprobs=True, top_logprobs=-1),
    "vLLM's -1": routed("/v1/completions", prompt="Hi", logprobs=-1), "none": routed("/v1/completions", prompt="Hi",
                                                                                      logprobs=0),
    "native -1": native(return_logprob=True, top_logprobs_num=-1),
    "ids": routed("/v1/completions", prompt=[1, 2, 3]), "lists of ids": routed("/v1/completions", prompt=[[1, 2], [3]]),
    "one text with lists": native(["a"], top_logprobs_num=[2], return_logprob=[True], logprob_start_len=[0]),
    "one list of ids with lists": {"input_ids": [[1, 2]], "top_logprobs_num": [2], "return_hidden_states": [False]},
    "one list of embeds with lists": {"input_embeds": [[[0.5] * 4096]], "logprob_start_len": [0]},
    "a schema that is well described": chat(response_format={"type": "json_schema", "json_schema": {
        "name": "x", "schema": {"properties": {f"field_{i}": {"type": "string", "description": "d" * 60}
                                               for i in range(700)}}}}),
    "128 answers": chat(n=128), "an adapter": chat(model="tiny:sql"),
    "an address": chat(messages=said({"type": "image_url", "image_url": {"url": "https://x/y.jpg", "detail": None}})),
    "an image": chat(messages=said({"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": DATA}})),
    "an image of Responses": routed("/v1/responses", input=said({"type": "input_image", "image_url": DATA})),
    "a screenshot": routed("/v1/responses", input=[{"type": "computer_call_output", "call_id": "c", "output": {
        "type": "computer_screenshot", "image_url": DATA}}]),
    "a generated image": routed("/v1/responses", input=[{"type": "image_generation_call", "id": "i", "result": IMAGE}]),
    "hidden reasoning": routed("/v1/responses", input=[
        {"type": "reasoning", "summary": [], "encrypted_content": IMAGE}]),
    "a file": routed("/v1/responses", input=said({"type": "input_file", "file_data": IMAGE})),
    "an image of Anthropic": routed("/v1/messages", max_tokens=9, messages=said({"type": "image", "source": {
        "type": "base64", "media_type": "image/jpeg", "data": IMAGE}})),
    "an image from a tool": routed("/v1/messages", max_tokens=9, messages=said({"type": "tool_result", "content": [
        {"type": "image", "source": {"type": "base64", "data": IMAGE}}]})),
    "sound": chat(messages=said({"type": "input_audio", "input_audio": {"data": IMAGE, "format": "wav"}})),
    "native pictures": native(["<image>Hi", "x"], image_data=[[IMAGE], None]),
    "one native picture": native("<image>Hi", image_data=DATA),
    "an empty query": score(query="", items=["a", "b"]), "no query": score(items=["a"]),
    "an empty item": score(query="q", items=["", "b"]), "one empty item": score(query="q", items=[""]),
    "no items": score(query="q", items=[]), "an empty list of ids": score(query=[], items=[[1]]),
    "an empty item of ids": score(query=[1], items=[[], [2]]),
    "a conversation of 1,100": chat(messages=USER * 1101),
    "a conversation of 1,100 for Responses": routed("/v1/responses", input=USER * 1101),
    "200 tools": chat(tools=[{"type": "function", "function": {"name": f"f{i}"}} for i in range(200)]),
    "Chinese": chat(messages=[{"role": "user", "content": "字" * 30_000}]),
    "text that looks encoded": chat(messages=[{"role": "user", "content": IMAGE[:600_000]}]),
    "nothing to tokenize": routed("/v1/tokenize", prompt=""),
    "several to detokenize": routed("/v1/detokenize", tokens=[[1, 2], [3]]),
    "pictures to rank": routed("/v1/rerank", query=[{"type": "text", "text": "a"}], documents=[
        [{"type": "image_url", "image_url": {"url": DATA}}], [{"type": "text", "text": "b"}]]),
}
EMBEDDING = {
    "2,048 inputs": routed("/v1/embeddings", input=["x"] * 2048), "to encode": routed("/encode", text=["x"] * 2048),
    "an encoded image": routed("/v1/embeddings", input=[{"text": "a", "image": IMAGE}]),
    "an image as data": routed("/v1/embeddings", input=[{"text": "a cat", "image": DATA}]),
    "an image beside an empty text": routed("/v1/embeddings", input=[{"text": "", "image": DATA}]),
    "an image alone": routed("/v1/embeddings", input=[{"image": "https://x/y.jpg"}]),
    "a film": routed("/v1/embeddings", input=[{"video": DATA}]),
    "a pair with one empty": routed("/encode", text=[["q", ""]]), "ids": routed("/v1/embeddings", input=[[1], [2, 3]]),
    "a picture to encode": routed("/encode", image_data=[[DATA], [DATA]]),
    "blank": routed("/v1/embeddings", input=["a", " "]), "an empty query": score(query="", items=["a"]),
}


# What front ends for roleplay send with everything: each sampler there is, at the value at which it does nothing.
ALL_NEUTRAL = {
    "temperature": 1, "top_p": 1, "top_k": 0, "top_a": 0, "min_p": 0, "typical_p": 1, "typical": 1, "tfs": 1,
    "repetition_penalty": 1, "rep_pen": 1, "rep_pen_range": 0, "repetition_penalty_range": 0, "seed": -1, "n": 1,
    "frequency_penalty": 0, "presence_penalty": 0, "min_length": 0, "min_tokens": 0, "num_beams": 1, "n_probs": 0,
    "length_penalty": 1, "early_stopping": False, "smoothing_factor": 0, "dry_multiplier": 0, "dry_base": 1.75,
    "max_tokens_second": 0, "ban_eos_token": False, "include_reasoning": True, "mirostat_mode": 0, "mirostat_tau": 5,
    "custom_token_bans": "", "banned_strings": [], "guidance_scale": 1, "cfg_scale": 1, "negative_prompt": "",
    "grammar": "", "grammar_string": "", "json_schema": None, "encoder_repetition_penalty": 1, "penalty_alpha": 0,
    "no_repeat_ngram_size": 0, "do_sample": True, "dynamic_temperature": False, "dynatemp_range": 0,
    "top_n_sigma": 0, "xtc_threshold": 0.1, "xtc_probability": 0, "logit_bias": {}, "epsilon_cutoff": 0,
    "eta_cutoff": 0, "truncation_length": 4096, "skip_special_tokens": True, "spaces_between_special_tokens": True,
    "include_stop_str_in_output": False, "stopping_strings": ["a"], "sampler_priority": ["top_k"]}
CODEX = {
    "instructions": "x", "tool_choice": "auto", "parallel_tool_calls": False, "store": False, "stream": True,
    "input": [{"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "x"}]},
              {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}],
    "tools": [{"type": "function", "name": "shell", "strict": False, "parameters": {"type": "object"}},
              {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark",
                                                                   "definition": "x"}}, {"type": "web_search"}],
    "reasoning": {"effort": "medium", "summary": "auto"}, "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "x", "text": {"verbosity": "medium"}, "service_tier": "priority", "client_metadata": {"a": "b"}}
CLAUDE_CODE = {
    "messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}],
    "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}], "max_tokens": 32000,
    "tools": [{"name": "Bash", "description": "x", "input_schema": {"type": "object"}, "eager_input_streaming": True},
              {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}],
    "metadata": {"user_id": "u"}, "thinking": {"type": "adaptive"}, "output_config": {"effort": "high"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}, "stream": True}
CLIENTS = {
    **{f"every sampler at rest, on {route}": routed(route, **body, **ALL_NEUTRAL) for route, body in (
        ("/v1/chat/completions", {"messages": USER}), ("/v1/completions", {"prompt": "Hi"}),
        ("/v1/responses", {"input": "Hi"}), ("/v1/messages", {"messages": USER, "max_tokens": 9}))},
    "every sampler at rest": native(**ALL_NEUTRAL), "inside": native(sampling_params=ALL_NEUTRAL),
    "Codex": routed("/v1/responses", **CODEX), "Claude Code": routed("/v1/messages", **CLAUDE_CODE),
    "Open WebUI": chat(stream=True, chat_id="c", session_id="s", id="m", features={"web_search": False},
                       variables={"a": "x"}, model_item={"id": "x"}, background_tasks={}, metadata={"a": 1}, params={},
                       filter_ids=[], stream_options={"include_usage": True}),
    "Cline": chat(stream=True, include_reasoning=True, reasoning={"max_tokens": None, "effort": "medium"},
                  transforms=["middle-out"], provider={"sort": "price"}),
    "Ollama's": chat(keep_alive="5m", think=None, options={}, format="", raw=False, template="", system="", suffix=""),
    "text-generation-inference's": routed("/v1/completions", prompt="Hi", details=True, adapter_id="", truncate=None,
                                          watermark=None, decoder_input_details=False, return_full_text=False),
}


@pytest.mark.parametrize("facts, job_input", [
    *(pytest.param(MODEL, job_input, id=name) for name, job_input in CLIENTS.items()),
    *(pytest.param(MODEL, job_input, id=name) for name, job_input in GENERATING.items()),
    *(pytest.param(EMBEDDER, job_input, id="embedding: " + name) for name, job_input in EMBEDDING.items())])
def test_it_is_not_refused(facts, job_input):
    check_input(job_input, Limits())
    request = plan(job_input, CONTEXT, "0f0f0f0f-1111-2222-3333-444444444444-u1")
    check(request.path, without_unknown_stops(request.path, request.body, facts), facts, Limits())
