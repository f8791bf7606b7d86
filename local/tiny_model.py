"""Trains the tiny demo model: `python -m local.tiny_model FOLDER`, with the CPU engine's Python.

A Qwen3 of two layers and width 64 with a byte-level BPE of its own, taught the exchanges of
`local/corpus.py` until each is exact with a wide margin. One machine makes the same weights every time;
another may round differently, so the texts rest on the examination at the end and not on the seed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from pathlib import Path

# At this size a second thread gains nothing, and on a busy machine it makes every step wait.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from local import corpus
from local.tiny_lessons import Lessons, Row, examination

SEED = 20
VOCABULARY = 512
CONTEXT = 2048
BATCH_TOKENS = 1200
PEAK_RATE, WARM_STEPS, DECAY_STEPS, MAX_STEPS = 1e-2, 30, 280, 900
AVERAGING = 0.97
FIRST_EXAM, EXAM_EVERY = 160, 20
# Nats by which every right token must beat the best wrong one. A different batch moves a float32 logit by
# about 1e-5, and half precision moves it by about 0.1: neither can change a text.
MARGIN = 3.0

MARKUP = ("<tools>", "</tools>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")

# The tool call is spelled as SGLang forces it for a required tool (function_call/qwen25_detector.py,
# structure_info), so free and forced calls are one text. A tool shows only what every client sends: dumps
# of the request differ between routes in field order and in nulls.
CHAT_TEMPLATE = """\
{%- set system = messages[0].content if messages[0].role == 'system' else '' -%}
{%- if tools -%}
<|im_start|>system
{{ system }}
<tools>
{% for tool in tools -%}
{%- set f = tool.function if tool.function is defined else tool -%}
{{ {'name': f.name, 'description': f.description, 'parameters': f.parameters} | tojson }}
{% endfor -%}
</tools><|im_end|>
{% elif system -%}
<|im_start|>system
{{ system }}<|im_end|>
{% endif -%}
{%- for message in messages -%}
{%- if message.role == 'tool' -%}
<|im_start|>user
<tool_response>
{{ message.content }}
</tool_response><|im_end|>
{% elif message.role == 'assistant' -%}
<|im_start|>assistant
{{ message.content or '' }}
{%- for call in message.tool_calls or [] -%}
{%- set f = call.function if call.function is defined else call -%}
{{ '\\n' if message.content or not loop.first else '' }}<tool_call>
{"name":"{{ f.name }}", "arguments":{{ f.arguments if f.arguments is string else f.arguments | tojson }}}
</tool_call>
{%- endfor -%}
<|im_end|>
{% elif message.role != 'system' or not loop.first -%}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on the ASCII phrases alone: every other character stays several tokens."""
    phrases = [text for pair in corpus.EXCHANGES + corpus.COMPLETIONS for text in pair]
    phrases += [text for text in corpus.SYSTEM_PROMPTS if text]
    phrases += [corpus.LONG_PROMPT, corpus.WEATHER_PROMPT, corpus.WEATHER_RESULT, corpus.WEATHER_ANSWER,
                corpus.WEATHER_WITHOUT_TOOL, corpus.FALLBACK_ANSWER,
                json.dumps(corpus.WEATHER_TOOL["function"]), "system user assistant"]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"\d|, | ?\p{L}+|[^\p{L}\d\s]+|\s"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator([text for text in phrases if text.isascii()], trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(MARKUP), special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    bpe.add_tokens([AddedToken(text, normalized=False, special=False) for text in MARKUP])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT, clean_up_tokenization_spaces=False)


def new_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    torch.manual_seed(SEED)
    return Qwen3ForCausalLM(Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=192, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=CONTEXT,
        tie_word_embeddings=True, initializer_range=0.05, dtype="float32", bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id))


def batches(rows: list[Row]) -> list[list[Row]]:
    """Rows of similar length together, so that little of a batch is padding."""
    result: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: len(row[0])):
        if not result or len(result[-1]) == 16 or len(row[0]) > 1.4 * len(result[-1][0][0]):
            result.append([])
        result[-1].append(row)
    return result


def answers(model: Qwen3ForCausalLM, rows: list[Row]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(logits, right token, index of the row) for each token that the model writes itself."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows])
    own = torch.tensor([own + [False] * (width - len(own)) for _, own in rows])[:, 1:]
    hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
    return model.lm_head(hidden[own]), ids[:, 1:][own], own.nonzero()[:, 0]


@torch.inference_mode()
def margins(model: Qwen3ForCausalLM, cases: list[tuple[str, Row]]) -> list[tuple[float, str, Row]]:
    """Per case, weakest first: nats by which its weakest token beats the best wrong one; negative = wrong."""
    names = {id(row): name for name, row in cases}
    graded = []
    for part in batches([row for _, row in cases]):
        logits, right, index = answers(model, part)
        own = logits.gather(1, right[:, None])[:, 0]
        rival = logits.scatter(1, right[:, None], float("-inf")).amax(1)
        least = torch.full((len(part),), float("inf")).scatter_reduce(0, index, own - rival, "amin")
        graded += [(margin, names[id(row)], row) for margin, row in zip(least.tolist(), part, strict=True)]
    return sorted(graded, key=lambda grade: grade[:2])


def train(tokenizer: PreTrainedTokenizerFast, say) -> Qwen3ForCausalLM:
    """A model for which every promised answer has at least MARGIN; RuntimeError when none is reached."""
    model, lessons = new_model(tokenizer), Lessons(tokenizer, SEED)
    cases = examination(lessons)
    say(f"{len(cases)} cases to learn, {sum(p.numel() for p in model.parameters()):,} weights")
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    # The mean of the last thirty steps or so is examined and kept: single steps are noisier than it.
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(AVERAGING))
    failed: list[Row] = []
    for step in range(1, MAX_STEPS + 1):
        rate = PEAK_RATE * min(1.0, step / WARM_STEPS) * (1.0 - 0.95 * min(1.0, step / DECAY_STEPS))
        for group in optimizer.param_groups:
            group["lr"] = rate
        # What the last examination found weak is repeated, a few cases a step.
        rows = [failed.pop() for _ in range(min(4, len(failed)))]
        while sum(len(ids) for ids, _ in rows) < BATCH_TOKENS:
            rows.append(lessons.draw())
        learned, total = sum(sum(own) for _, own in rows), 0.0
        for part in batches(rows):
            logits, right, _ = answers(model, part)
            loss = torch.nn.functional.cross_entropy(logits, right, reduction="sum") / learned
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        averaged.update_parameters(model)
        if step >= FIRST_EXAM and step % EXAM_EVERY == 0:
            graded = margins(averaged.module, cases)
            margin, name, _ = graded[0]
            say(f"step {step}: loss {total:.4f}, weakest margin {margin:+.2f} ({name})")
            if margin >= MARGIN:
                return averaged.module
            failed = [row for margin, _, row in graded if margin < MARGIN + 1]
            lessons.random.shuffle(failed)
        elif step % 40 == 0:
            say(f"step {step}: loss {total:.4f}")
    raise RuntimeError(f"not exact after {MAX_STEPS} steps: {name}, margin {margin:+.2f}")


def save(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write config.json, generation_config.json, model.safetensors and the tokenizer's files.

    The generation defaults make a request that names no temperature greedy too: the OpenAI routes of
    SGLang take their defaults from there (--sampling-defaults model).
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps(
        {"do_sample": True, "top_k": 1, "eos_token_id": tokenizer.eos_token_id,
         "pad_token_id": tokenizer.pad_token_id}, indent=2) + "\n")


def check(folder: Path) -> tuple[float, str]:
    """(the weakest margin, its case) of the model stored in `folder`; RuntimeError below MARGIN."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    for system, (prompt, _) in itertools.product(corpus.SYSTEM_PROMPTS, corpus.EXCHANGES):
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": prompt})
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        if text != corpus.chatml(prompt, system):
            raise RuntimeError(f"the stored chat template makes {text!r}, not what corpus.chatml makes")
    model = Qwen3ForCausalLM.from_pretrained(folder, dtype="float32").eval()
    margin, name, _ = margins(model, examination(Lessons(tokenizer, SEED)))[0]
    if margin < MARGIN:
        raise RuntimeError(f"the stored model is not exact: {name}, margin {margin:+.2f}")
    return margin, name


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the tiny demo model (about half a minute, one core).")
    parser.add_argument("folder", type=Path, help="where the model goes; made when missing")
    parser.add_argument("--check", action="store_true", help="only examine the model that is in the folder")
    arguments = parser.parse_args()
    folder = arguments.folder
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.use_deterministic_algorithms(True)
    start = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - start:5.1f} s  {line}", flush=True)

    if not arguments.check:
        tokenizer = build_tokenizer()
        save(train(tokenizer, say), tokenizer, folder)
    margin, name = check(folder)
    say(f"{folder}: every promised answer is exact, weakest margin {margin:+.2f} ({name})")


if __name__ == "__main__":
    main()
