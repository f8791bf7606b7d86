"""Trains the tiny demo model: `python -m local.tiny_model FOLDER`, with the engine's Python.

A Qwen3 of two layers and width 64 with a byte-level BPE of its own, taught the exchanges of
`local/corpus.py` until every one of them is exact with a wide margin. The same program gives the same
weights on one machine; on another, kernels may round differently, so the check after training, not the
seed, is what the texts rest on. One thread on purpose: two, on a busy machine, take minutes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import time
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from local import corpus

SEED = 20
VOCABULARY = 512
CONTEXT = 2048
import os
MAX_STEPS = int(os.environ.get("S","400"))
BATCH_TOKENS = int(os.environ.get("B","1600"))
# Nats by which each right token must beat the runner-up. Batching and reordering move a float32 logit by
# about 1e-5, bfloat16 by about 0.1: neither can change a text.
MARGIN = 3.0

END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
MARKUP = ("<tools>", "</tools>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")

# The call is spelled as SGLang's qwen25 detector forces it when a tool is required
# (function_call/qwen25_detector.py, structure_info), so free and forced calls are the same text.
CHAT_TEMPLATE = """\
{%- set first = messages[0] -%}
{%- set system = first.content if first.role == 'system' else '' -%}
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
    """A byte-level BPE trained on the ASCII phrases alone: other characters stay several tokens each."""
    phrases = [text for pair in corpus.EXCHANGES + corpus.COMPLETIONS for text in pair]
    phrases += [json.dumps(corpus.WEATHER_TOOL["function"]), corpus.WEATHER_PROMPT, corpus.WEATHER_RESULT,
                corpus.WEATHER_ANSWER, corpus.WEATHER_WITHOUT_TOOL, corpus.FALLBACK_ANSWER,
                corpus.LONG_PROMPT, *filter(None, corpus.SYSTEM_PROMPTS), "system user assistant"]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"\d|, | ?\p{L}+|[^\p{L}\d\s]+|\s"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator([text for text in phrases if text.isascii()], trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(MARKUP), special_tokens=[END, START, STOP], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    bpe.add_tokens([AddedToken(text, normalized=False, special=False) for text in MARKUP])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=STOP, pad_token=END, chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT, clean_up_tokenization_spaces=False)


def turn(prompt: str, answer: str) -> list[dict]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def weather(city: str, complete: bool = True) -> list[dict]:
    """A tool call for `city`; when `complete`, its result and the answer too."""
    call = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": city}}}
    messages = [{"role": "user", "content": f"What is the weather in {city}?"},
                {"role": "assistant", "content": "", "tool_calls": [call]}]
    if complete:
        messages += [{"role": "tool", "content": corpus.WEATHER_RESULT},
                     {"role": "assistant", "content": corpus.WEATHER_ANSWER}]
    return messages


FIXED = [turn(*pair) for pair in corpus.EXCHANGES] + [turn(corpus.LONG_PROMPT, corpus.LONG_ANSWER)]
DRY_WEATHER = [turn(f"What is the weather in {city}?", corpus.WEATHER_WITHOUT_TOOL)
               for city in corpus.WEATHER_CITIES]
WORDS = sorted({word for pair in corpus.EXCHANGES for word in pair[0].split()} | set(
    "who why when where how tell me a story explain this please can you help with hi hey I am my name it "
    "do does did was were will would should book code number data test list table summer music river king "
    "London Berlin Spain China quick brown fox jumps over lazy dog red seven cheese car phone".split()))


class Dialogues:
    """Endless conversations in a fixed order, each a list of (token ids, train on this token?)."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast):
        self.tokenizer, self.random, self.queue = tokenizer, random.Random(SEED), []
        self.opening = tokenizer.encode(f"{START}assistant\n")
        self.stop = tokenizer.convert_tokens_to_ids(STOP)

    def encode(self, messages: list[dict], tools=None) -> tuple[list[int], list[bool]]:
        """Token ids and, for each, whether the model itself writes it (answers and their end)."""
        text = self.tokenizer.apply_chat_template(messages, tools=tools, tokenize=False)
        ids = self.tokenizer.encode(text)
        own, writing, width = [], False, len(self.opening)
        for position, token in enumerate(ids):
            own.append(writing)
            if writing:
                writing = token != self.stop
            elif ids[max(0, position + 1 - width):position + 1] == self.opening:
                writing = True
        return ids, own

    def encode_completion(self, prompt: str, answer: str) -> tuple[list[int], list[bool]]:
        head, tail = self.tokenizer.encode(prompt), self.tokenizer.encode(answer) + [self.stop]
        return head + tail, [False] * len(head) + [True] * len(tail)

    def chatter(self) -> str:
        words = self.random.sample(WORDS, self.random.randint(1, 9))
        return " ".join(words) + self.random.choice(["", ".", "?", "!"])

    def fixed(self) -> list[dict]:
        # A shuffled deck, so that every exchange opens a conversation equally often.
        if not self.queue:
            self.queue = FIXED + DRY_WEATHER + [None] * 5
            self.random.shuffle(self.queue)
        return self.queue.pop() or turn(self.chatter(), corpus.FALLBACK_ANSWER)

    def tools(self) -> list[dict]:
        if self.random.random() < 0.7:
            return [corpus.WEATHER_TOOL]
        other = {"type": "function", "function": {
            "name": "_".join(self.random.sample(WORDS, 2)).lower(), "description": self.chatter(),
            "parameters": {"type": "object", "properties": {
                self.random.choice(WORDS): {"type": self.random.choice(["string", "integer"])}}}}}
        return self.random.sample([corpus.WEATHER_TOOL, other], 2)

    def draw(self) -> tuple[list[int], list[bool]]:
        kind = self.random.random()
        if kind < 0.06:
            return self.encode_completion(*self.random.choice(corpus.COMPLETIONS))
        system = self.random.choice([*corpus.SYSTEM_PROMPTS, *corpus.SYSTEM_PROMPTS, self.chatter()])
        messages = [{"role": "system", "content": system}] if system else []
        tools = self.tools() if kind < 0.25 else None
        for _ in range(self.random.choice([1, 1, 2, 3])):
            if tools and self.random.random() < 0.6:
                messages += weather(self.random.choice(corpus.WEATHER_CITIES))
                continue
            exchange = self.fixed()
            while tools and exchange in DRY_WEATHER:
                exchange = self.fixed()
            messages += exchange
        return self.encode(messages, tools)


def batch_of(rows: list[tuple[list[int], list[bool]]], device="cpu"):
    """(ids, labels) padded on the right; a label of -100 is not learned."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    labels = torch.full((len(rows), width), -100, dtype=torch.long)
    for row, (tokens, own) in enumerate(rows):
        ids[row, :len(tokens)] = torch.tensor(tokens)
        labels[row, :len(tokens)] = torch.where(torch.tensor(own), torch.tensor(tokens), -100)
    return ids, labels


def groups(rows):
    """Rows of similar length together, so that little of a batch is padding."""
    result = []
    for row in sorted(rows, key=lambda row: len(row[0])):
        if not result or len(row[0]) > 1.4 * len(result[-1][0][0]) or len(result[-1]) == 16:
            result.append([])
        result[-1].append(row)
    return result


def answers(model, ids, labels):
    """(logits, target, row) of the learned positions alone: the others need no logits."""
    hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
    picked = labels[:, 1:] != -100
    return model.lm_head(hidden[picked]), labels[:, 1:][picked], picked.nonzero()[:, 0]


def examination(dialogues: Dialogues) -> list[tuple[str, tuple[list[int], list[bool]]]]:
    """Everything that the corpus promises, as (name, encoded conversation)."""
    cases = [(f"completion {prompt!r}", dialogues.encode_completion(prompt, answer))
             for prompt, answer in corpus.COMPLETIONS]
    for system in corpus.SYSTEM_PROMPTS:
        head = [{"role": "system", "content": system}] if system else []
        for messages in FIXED + DRY_WEATHER:
            cases.append((f"{messages[0]['content']!r} after {system!r}", dialogues.encode(head + messages)))
        for messages in FIXED + [weather(city) for city in corpus.WEATHER_CITIES]:
            cases.append((f"{messages[0]['content']!r} with a tool, after {system!r}",
                          dialogues.encode(head + messages, [corpus.WEATHER_TOOL])))
    for first, second in itertools.permutations(FIXED[:-1], 2):
        cases.append((f"{second[0]['content']!r} after {first[0]['content']!r}",
                      dialogues.encode(first + second)))
    return cases


@torch.inference_mode()
def margins(model, rows) -> list[float]:
    """For each row, by how many nats its weakest right token beats the best wrong one; below 0 it is lost."""
    found = {}
    for part in groups(rows):
        logits, target, row = answers(model, *batch_of(part))
        right = logits.gather(1, target[:, None])[:, 0]
        rival = logits.scatter(1, target[:, None], float("-inf")).amax(1)
        least = torch.full((len(part),), float("inf")).scatter_reduce(0, row, right - rival, "amin")
        found.update(zip(map(id, part), least.tolist()))
    return [found[id(row)] for row in rows]


def train(tokenizer: PreTrainedTokenizerFast, say) -> Qwen3ForCausalLM:
    torch.manual_seed(SEED)
    model = Qwen3ForCausalLM(Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=192, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=CONTEXT,
        tie_word_embeddings=True, rope_theta=10000.0, initializer_range=0.05,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
        dtype="float32"))
    dialogues = Dialogues(tokenizer)
    cases = examination(dialogues)
    weak = []
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, betas=(0.9, 0.98), weight_decay=0.01)
    for step in range(1, 1000):
        for group in optimizer.param_groups:
            group["lr"] = float(os.environ.get("L","6e-3")) * min(1.0, step / 30) * (1.0 - 0.95 * min(1.0, step / MAX_STEPS))
        rows = [weak.pop() for _ in range(min(4, len(weak)))]
        tokens = sum(len(r[0]) for r in rows)
        while tokens < BATCH_TOKENS:
            rows.append(dialogues.draw())
            tokens += len(rows[-1][0])
        learned = sum(sum(own) for _, own in rows)
        loss_sum = 0.0
        for part in groups(rows):
            ids, labels = batch_of(part)
            logits, target, _ = answers(model, ids, labels)
            loss = torch.nn.functional.cross_entropy(logits, target, reduction="sum") / learned
            loss.backward()
            loss_sum += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 20 == 0 and step >= int(os.environ.get("F","160")) or step % 50 == 0:
            graded = sorted(zip(margins(model, [row for _, row in cases]), range(len(cases))))
            margin, at = graded[0]
            weak = [cases[i][1] for m, i in graded if m < MARGIN + 1]
            say(f"step {step}: loss {loss_sum:.4f}, weakest margin {margin:+.2f} ({cases[at][0]}) weak {len(weak)}")
            dialogues.random.shuffle(weak)
            if margin >= MARGIN:
                return model
    raise SystemExit("not every exchange is exact")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    torch.set_num_threads(1); torch.set_flush_denormal(True)
    start = time.process_time()
    def say(line): print(f"{time.process_time() - start:6.1f} s  {line}", flush=True)
    tokenizer = build_tokenizer()
    for q, a in corpus.EXCHANGES + [(corpus.LONG_PROMPT, corpus.LONG_ANSWER)] + corpus.COMPLETIONS:
        print(len(tokenizer.encode(q)), len(tokenizer.encode(a)), [tokenizer.decode([t]) for t in tokenizer.encode(a)][:20], tokenizer.decode(tokenizer.encode(a))==a)
    print(tokenizer.apply_chat_template([{"role":"system","content":"S"}]+weather("Paris"), tools=[corpus.WEATHER_TOOL], tokenize=False))
    print(len(tokenizer))
    d = Dialogues(tokenizer)
    rows=[d.draw() for _ in range(1000)]
    print("mean len", sum(len(r[0]) for r in rows)/1000, max(len(r[0]) for r in rows), "cases", len(examination(d)))
    model = train(tokenizer, say)
    torch.save(model.state_dict(), "/tmp/tm.pt")

if __name__ == "__main__":
    main()
