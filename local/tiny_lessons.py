"""What the tiny demo model trains on and is examined on; plain lists of token ids, no torch.

A row is (token ids, own): `own` says for each token whether the model writes it itself, which is what it
learns and what it is examined on.
"""

from __future__ import annotations

import itertools
import random

from local import corpus

Row = tuple[list[int], list[bool]]

FALLBACK_SHARE = 5  # cards of the deck that are chatter, beside one for each exchange
COMPLETION_SHARE, TOOL_SHARE = 0.06, 0.25  # of all rows
_COMMON = (
    "who why when where how tell me a story explain this please can you help with hi hey I am my name it "
    "do does did was were will would should book code number data test list table summer music river king "
    "London Berlin Spain China quick brown fox jumps over lazy dog red seven cheese car phone"
)
ELSEWHERE = [word for word in _COMMON.split() if len(word) > 2]
WORDS = sorted({word for prompt, _ in corpus.EXCHANGES for word in prompt.split()} | set(_COMMON.split()))
# Not promised, but a user's own system prompt should not spoil the answers.
OTHER_SYSTEM_PROMPTS = ("Talk like a pirate.", "You answer in one short sentence. Today is Monday.")
NEAR_MISSES = ("What is the capital of {}?", "Count to {}.", "Write a poem about {}.", "Name {}.")


def turn(prompt: str, answer: str) -> list[dict]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def weather_with_tool(city: str) -> list[dict]:
    """The question, the model's tool call, the tool's result and the model's answer."""
    call = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": city}}}
    return [
        {"role": "user", "content": f"What is the weather in {city}?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": corpus.WEATHER_RESULT},
        {"role": "assistant", "content": corpus.WEATHER_ANSWER},
    ]


EXCHANGES = [turn(*pair) for pair in corpus.EXCHANGES] + [turn(corpus.LONG_PROMPT, corpus.LONG_ANSWER)]
WEATHER = [weather_with_tool(city) for city in corpus.WEATHER_CITIES]
WEATHER_WITHOUT_TOOL = [turn(talk[0]["content"], corpus.WEATHER_WITHOUT_TOOL) for talk in WEATHER]


class Lessons:
    """Endless training rows in an order that `seed` alone decides."""

    def __init__(self, tokenizer, seed: int):
        self.tokenizer, self.random = tokenizer, random.Random(seed)
        self.opening = tokenizer.encode("<|im_start|>assistant\n")
        self.stop = tokenizer.eos_token_id
        self.deck: list[list[dict] | None] = []

    def conversation(self, messages: list[dict], tools: list[dict] | None = None) -> Row:
        ids = self.tokenizer.encode(self.tokenizer.apply_chat_template(messages, tools=tools, tokenize=False))
        own, writing, width = [], False, len(self.opening)
        for position, token in enumerate(ids):
            own.append(writing)
            if writing:
                writing = token != self.stop
            else:
                writing = ids[max(0, position + 1 - width):position + 1] == self.opening
        return ids, own

    def completion(self, prompt: str, continuation: str) -> Row:
        head, tail = self.tokenizer.encode(prompt), self.tokenizer.encode(continuation) + [self.stop]
        return head + tail, [False] * len(head) + [True] * len(tail)

    def draw(self) -> Row:
        """The next training row: a raw completion, or a conversation of one to three turns."""
        kind = self.random.random()
        if kind < COMPLETION_SHARE:
            return self.completion(*self.random.choice(corpus.COMPLETIONS))
        system = self.random.choice([*corpus.SYSTEM_PROMPTS, *corpus.SYSTEM_PROMPTS, self._chatter()])
        messages = _system(system)
        tools = self._tools() if kind < COMPLETION_SHARE + TOOL_SHARE else None
        for _ in range(self.random.choice([1, 1, 2, 3])):
            if tools and self.random.random() < 0.6:
                messages += self.random.choice(WEATHER)
            else:
                messages += self._exchange(tools is not None)
        return self.conversation(messages, tools)

    def _chatter(self) -> str:
        words = self.random.sample(WORDS, self.random.randint(1, 9))
        return " ".join(words) + self.random.choice(["", ".", "?", "!"])

    def _exchange(self, tool_given: bool) -> list[dict]:
        # Dealt from a shuffled deck, so that all come equally often.
        while True:
            if not self.deck:
                self.deck = EXCHANGES + WEATHER_WITHOUT_TOOL + [None] * FALLBACK_SHARE
                self.random.shuffle(self.deck)
            card = self.deck.pop()
            if card is None:
                near = self.random.random() < 0.3
                prompt = self.random.choice(NEAR_MISSES).format(self.random.choice(ELSEWHERE)) if near else ""
                return turn(prompt or self._chatter(), corpus.FALLBACK_ANSWER)
            if not (tool_given and card in WEATHER_WITHOUT_TOOL):
                return card

    def _tools(self) -> list[dict]:
        if self.random.random() < 0.7:
            return [corpus.WEATHER_TOOL]
        properties = {self.random.choice(WORDS): {"type": self.random.choice(["string", "integer"])}}
        other = {"type": "function", "function": {
            "name": "_".join(self.random.sample(WORDS, 2)).lower(), "description": self._chatter(),
            "parameters": {"type": "object", "properties": properties}}}
        return self.random.sample([corpus.WEATHER_TOOL, other], 2)


def examination(lessons: Lessons) -> list[tuple[str, Row]]:
    """Everything that the corpus promises, as (name, row)."""
    cases = [(f"completion of {prompt!r}", lessons.completion(prompt, continuation))
             for prompt, continuation in corpus.COMPLETIONS]
    for system in (*corpus.SYSTEM_PROMPTS, *OTHER_SYSTEM_PROMPTS):
        for talk in EXCHANGES + WEATHER_WITHOUT_TOOL:
            cases.append((f"{_prompt(talk)}, system {system!r}",
                          lessons.conversation(_system(system) + talk)))
        for talk in EXCHANGES + WEATHER if system in corpus.SYSTEM_PROMPTS else ():
            cases.append((f"{_prompt(talk)}, system {system!r}, tool given",
                          lessons.conversation(_system(system) + talk, [corpus.WEATHER_TOOL])))
    for first, second in itertools.permutations(EXCHANGES[:-1], 2):
        cases.append((f"{_prompt(second)}, after {_prompt(first)}", lessons.conversation(first + second)))
    return cases


def _system(text: str | None) -> list[dict]:
    return [{"role": "system", "content": text}] if text else []


def _prompt(talk: list[dict]) -> str:
    return repr(talk[0]["content"])
