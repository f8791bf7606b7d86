"""The fields of other servers that a route of SGLang would ignore, and that change an answer.

A table, and nothing else; foreign.py says what is done with it. What only refines another field of the table
(`mirostat_tau`, `dry_base` …) has no row where that one has. Names of vLLM, text-generation-inference, llama.cpp,
Ollama, TensorRT-LLM, Hugging Face, KoboldAI, text-generation-webui, OpenAI, Anthropic, Google, Cohere, Mistral, Qwen
and OpenRouter; of SGLang's own those that another of its routes reads.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Unread(NamedTuple):
    """neutral: values by which the field asks for nothing; remedy: what to do instead."""

    neutral: tuple[Any, ...]
    remedy: str


GENERATING = ("native", "chat", "completions", "responses", "messages")
_OTHERS = ("responses", "messages")  # which read few sampling settings
_OPENAI = ("chat", "completions", *_OTHERS)
_TALKING = ("chat", *_OTHERS)
_PLAIN = ("native", "completions")  # which apply no chat template
_POOLED, _SCORES = ("pooled",), ("scores",)

_ON_CHAT = "use /v1/chat/completions, which has it"
_ON_NATIVE = "use /generate, which has it"
_IN_CONTENT = "put it into the content of a message"
_IN_PROMPT = "put it into the prompt"
_SYSTEM = "put it where the route has it: a message of the role system, `instructions` or `system`"
_BESIDE = "put what it holds beside `messages` or `prompt`, under OpenAI's names"
_BIAS = "use `logit_bias` with -100 for their tokens"
_NARROWER = "use `top_p` or `min_p`"
_REPEATS = "use `repetition_penalty`"
_BEAMS = "use `beam_width` in the sampling_params of /generate"
_GUIDANCE = "the server does not run a second prompt beside the first"
_NO_SEARCH = "this server does not search: give what was found in the messages"
_TEXT_ALONE = "the served model answers with text"
_SHORTER = "shorten the prompt"
_BRIEFER = "use `max_tokens`"
_FIM = ("put the model's own fill-in-the-middle tokens into the prompt, or set COMPLETION_TEMPLATE, with which "
        "/v1/completions reads it")
_ONE_PROMPT = "give the prompt in the route's own field alone"


_Rows = tuple[tuple[str, ...], str, dict[str, tuple[Any, ...]]]


def _asking(*names: str) -> dict[str, tuple[Any, ...]]:
    return dict.fromkeys(names, ())


# The kinds of route that ignore them, the remedy, and the fields with the values by which each asks for nothing.
_TABLE: tuple[_Rows, ...] = (
    # Which tokens may come
    (GENERATING, _BIAS, _asking(
        "bad_words", "bad_words_list", "bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "banned_tokens",
        "banned_strings", "ban_strings", "ban_tokens", "custom_token_bans", "logit_bias_exp", "sequence_bias")),
    (GENERATING, "use `regex`, or `logit_bias`", {
        "allowed_token_ids": (), "allowed_tokens": (), "force_words_ids": (), "grammar_lazy": (),
        "grammar_triggers": ()}),
    (GENERATING, "use `ignore_eos`", {
        "ban_eos_token": (), "forced_eos_token_id": (), "forced_bos_token_id": ()}),
    # How they are chosen
    (GENERATING, _NARROWER, {
        "typical_p": (1,), "typ_p": (1,), "typical": (1,), "top_a": (0,), "tfs": (1,), "tfs_z": (1,),
        "mirostat": (0,), "mirostat_mode": (0,), "top_n_sigma": (0, -1), "smoothing_factor": (0,),
        "epsilon_cutoff": (0,), "eta_cutoff": (0,), "penalty_alpha": (0,)}),
    (GENERATING, "use `temperature`", {
        "xtc_probability": (0,), "dynatemp_range": (0,), "dynamic_temperature": ()}),
    (GENERATING, _REPEATS, {
        "dry_multiplier": (0,), "no_repeat_ngram_size": (0,), "encoder_repetition_penalty": (1,),
        "repetition_detection": (), "penalty_prompt": ()}),
    (GENERATING, _BEAMS, {
        "use_beam_search": (), "num_beams": (1,), "num_beam_groups": (1,), "diversity_penalty": (0,)}),
    (GENERATING, _GUIDANCE, {"guidance_scale": (0, 1), "cfg_scale": (0, 1), "negative_prompt": ()}),
    (GENERATING, "use `custom_logit_processor`", {"logits_processors": (), "logits_processor_args": ()}),
    (GENERATING, "use `custom_params`", {"vllm_xargs": (), "extra_args": ()}),
    (GENERATING, "end the prompt before the token that may be half a word", {"token_healing": ()}),
    (GENERATING, "the server's --constrained-json-whitespace-pattern sets it", {"guided_whitespace_pattern": ()}),
    # How long an answer, its thoughts and its prompt are
    (GENERATING, _BRIEFER, {
        "thinking_budget": (), "thinking_token_budget": (), "max_reasoning_tokens": (), "reasoning_budget": (-1,),
        "max_time": (0,), "max_tokens_second": (0,), "t_max_predict_ms": (0, -1), "auto_max_new_tokens": (),
        "exponential_decay_length_penalty": ()}),
    (_OPENAI, "use `max_tokens`, or /generate, which has it", {"max_thinking_tokens": ()}),
    (GENERATING, "use `max_tokens`, which counts the answer alone", {"max_length": ()}),
    (GENERATING, "use `min_tokens`, which counts the answer alone", {"min_length": (0,)}),
    ((*GENERATING, *_POOLED, *_SCORES), _SHORTER, {"truncate_prompt_tokens": ()}),
    (GENERATING, _SHORTER, {"truncate": (), "prompt_truncate_len": ()}),
    (GENERATING, "indent the prompt, or use `regex`", {"n_indent": (0,)}),
    # What is said beside the tokens
    (GENERATING, "use `return_logprob` with `logprob_start_len` 0 on /generate", {
        "prompt_logprobs": (), "decoder_input_details": ()}),
    (GENERATING, "use `logprobs`", {
        "n_probs": (0,), "top_n_tokens": (0,), "logprob_token_ids": (), "return_tokens_as_token_ids": ()}),
    (_OPENAI, "use `logprobs`", {
        "return_logprob": (), "top_logprobs_num": (0,), "logprob_start_len": (-1,), "token_ids_logprob": (),
        "return_text_in_logprobs": ()}),
    (("completions",), "use `logprobs` with a number", {"top_logprobs": (0,)}),
    (("native",), "the prompt stands in front of the answer on /v1/completions with `echo`", {"echo": ()}),
    (_TALKING, "use `continue_final_message`, or `echo` on /v1/completions", {"echo": ()}),
    (GENERATING, "use `echo` on /v1/completions", {"return_full_text": ()}),
    (_OPENAI, "use `continue_final_message` of /v1/chat/completions", {"generation_prompt": ()}),
    (GENERATING, "use `chat_template_kwargs` of /v1/chat/completions, under your template's name", {"think": ()}),
    (GENERATING, "thoughts are told apart in `reasoning_content`, where the server has a REASONING_PARSER", {
        "include_reasoning": (), "include_thoughts": ()}),
    (("completions", *_OTHERS), _ON_CHAT, _asking(
        "return_prompt_token_ids", "return_meta_info", "return_sampling_mask", "separate_reasoning")),
    (_OTHERS, _ON_CHAT, _asking("return_token_ids", "return_hidden_states", "return_routed_experts")),
    # Other prompts
    (GENERATING, _BESIDE, _asking(
        "parameters", "options", "generation_config", "generationConfig", "inference_config", "inferenceConfig")),
    (("chat", "completions", "native"), _FIM, {"suffix": ()}),
    (_OTHERS, "use /v1/completions", {"suffix": ()}),
    (GENERATING, _FIM, {"input_suffix": (), "input_prefix": (), "input_extra": ()}),
    (("chat", "completions", "responses", "native"), _SYSTEM, {"system": ()}),
    (("chat", "completions", "messages", "native"), _SYSTEM, {"instructions": ()}),
    (GENERATING, _SYSTEM, _asking(
        "system_prompt", "system_instruction", "systemInstruction", "system_message", "preamble")),
    (GENERATING, "write it as a system message", {"safe_prompt": ()}),
    (_PLAIN, "use `messages`, to which a chat template is applied", _asking(
        "chat_template_kwargs", "enable_thinking", "documents", "continue_final_message", "tools", "functions")),
    (("messages",), _IN_CONTENT, {"documents": ()}),
    (("native", "completions", *_OTHERS), _ON_CHAT, {"chat_template": ()}),
    (GENERATING, "the server's CHAT_TEMPLATE sets it", {"template": (), "instruction_template": ()}),
    (_TALKING, "use /v1/completions, which applies no chat template", {"raw": ()}),
    (GENERATING, _IN_PROMPT, {
        "context": (), "chat_history": (), "memory": (), "message": (), "prompt_embeds": (), "inputs": ()}),
    (("native",), "use `image_data`, `video_data` or `audio_data`", _asking(
        "images", "image", "image_url", "video", "video_url", "audio", "audio_url")),
    (_OPENAI, _IN_CONTENT, _asking(
        "image_data", "video_data", "audio_data", "images", "image", "image_url", "video", "video_url", "audio_url")),
    (("chat", "messages"), _ONE_PROMPT, {"prompt": (), "input": ()}),
    (("completions", "responses"), _ONE_PROMPT, {"messages": ()}),
    (("completions",), _ONE_PROMPT, {"input": ()}),
    (("completions", "responses", "messages"), _ONE_PROMPT, {"input_ids": (), "input_embeds": ()}),
    (("chat",), _ONE_PROMPT, {"input_embeds": ()}),
    (_TALKING, "end with an assistant's message and `continue_final_message`, on chat", {"add_generation_prompt": ()}),
    ((*_TALKING, *_PLAIN), "give the prompt as token ids", {"add_special_tokens": ()}),
    (("responses",), "stored prompts are not kept here: use `input` and `instructions`", {"prompt": ()}),
    (("chat", "messages", *_PLAIN), "use /v1/responses, or send the messages so far", {
        "previous_response_id": (), "conversation": ()}),
    (("responses",), "conversations are not kept here: send the items in `input`", {"conversation": ()}),
    # Tools, searches, media
    (("responses", "messages"), "use `tools`", {"functions": (), "function_call": ("auto", "none")}),
    (_PLAIN, _ON_CHAT, {"function_call": ("auto", "none")}),
    (GENERATING, _NO_SEARCH, _asking(
        "web_search_options", "search_parameters", "enable_search", "web_search", "plugins", "connectors")),
    (GENERATING, "use `lora_path`, or the adapter's name as `model`", {
        "lora": (), "loras": (), "lora_adapters": (), "lora_request": (), "adapters": ()}),
    (("chat", *_OTHERS, "completions"), _TEXT_ALONE, {"audio": (), "modalities": (["text"],)}),
    (GENERATING, "use `mm_processor_kwargs`", {"media_io_kwargs": ()}),
    (_OTHERS, _ON_CHAT, _asking(
        "mm_processor_kwargs", "images_config", "video_config", "use_audio_in_video")),
    (_TALKING, "give the tools themselves in `tools`", {"mcp_servers": ()}),
    (("messages",), "this server has none", {"container": ()}),
    # Embeddings and ranking
    (_POOLED, "send the chunks as inputs of their own", {"late_chunking": ()}),
    (_POOLED, "the server decides on it", {"normalize": (), "normalized": ()}),
    (_POOLED, "write the prompt in front of the input", {"prompt_name": ()}),
    (_POOLED, "use `encoding_format`: numbers are floating-point here", {
        "embedding_types": (["float"],), "embedding_type": ("float", ["float"]), "output_dtype": ("float",)}),
    (_SCORES, "give `documents` as the texts that count", {"rank_fields": ()}),
    (_SCORES, "leave out what scores less yourself", {"score_threshold": (), "min_score": (), "threshold": ()}),
    (_SCORES, "scores are what the model gives", {"raw_scores": ()}),
    (("tokens",), "ask /v1/detokenize for them", {"return_token_strs": (), "with_pieces": ()}),
    # SGLang's own, where a route lacks them
    (_OPENAI, "use it in the sampling_params of /generate", {"beam_width": (1,)}),
    (("completions", *_OTHERS), _ON_CHAT, {"spaces_between_special_tokens": ()}),
    (_OTHERS, _ON_CHAT, {
        "min_tokens": (0,), "seed": (-1,), "n": (1,), "logit_bias": (), "stop_token_ids": (), "stop_regex": (),
        "ignore_eos": (), "no_stop_trim": (), "skip_special_tokens": (), "custom_logit_processor": (),
        "custom_params": (), "continue_final_message": (), "logprobs": (0,), "session_params": (), "watermark": ()}),
    (("messages",), _ON_CHAT, {
        "repetition_penalty": (1,), "min_p": (0,), "frequency_penalty": (0,), "presence_penalty": (0,),
        "chat_template_kwargs": (), "top_logprobs": (0,), "priority": (0,), "cache_salt": (), "extra_key": (),
        "session_id": ()}),
    (_SCORES, "scores have none", {"priority": (0,)}),
)
UNREAD: dict[tuple[str, str], Unread] = {
    (kind, name): Unread(neutral, remedy)
    for kinds, remedy, fields in _TABLE for name, neutral in fields.items() for kind in kinds}
