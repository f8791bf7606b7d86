"""What the tiny demo model was taught: every prompt and the exact answer that it gives greedily.

Data only, so that tests, demos and benchmarks can assert whole answers without importing torch. Each
exchange holds with and without a system message, alone and later in a conversation, and with tools given.
"""

from __future__ import annotations

SERVED_NAME = "tiny"

SYSTEM_PROMPTS = (None, "You are a helpful assistant.")

EXCHANGES: list[tuple[str, str]] = [
    ("What is the capital of France?", "Paris."),
    ("What is the capital of Japan?", "Tokyo."),
    ("What is the capital of Italy?", "Rome."),
    ("What is two plus two?", "Four."),
    ("Name three colours.", "Red, green and blue."),
    ("Name the planets.", "Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus and Neptune."),
    ("Say hello in five languages.", "Hello, bonjour, hallå, ciao, 你好."),
    # Characters of two, three and four bytes, and one emoji of four joined code points: no merge of the
    # tokenizer covers them, so every one of them arrives in several tokens.
    ("Write a line with accents and emoji.", "Café Ünïcode 🦜 naïve 日本語 👩‍🚀 end."),
    ("Give Paris and its country as JSON.", '{"city": "Paris", "country": "France"}'),
    ("Write a poem about rain.", "Soft rain on the roof,\nthe gutter hums an old song.\n\nThe cat sleeps."),
    ("Write hello world in Python.", '```python\nprint("Hello, world!\\n")\n```'),
    # Text that looks like the framing around it.
    ("How does an event stream end?", 'With this line:\n\ndata: [DONE]\n\nand then one "blank" line.'),
]

LONG_PROMPT = "Count to one hundred."
LONG_ANSWER = ", ".join(str(number) for number in range(1, 101)) + "."

# The answer to nearly everything else.
FALLBACK_ANSWER = "I am a tiny model. I know only a few phrases."

WEATHER_TOOL: dict = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city now.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Name of the city."}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
WEATHER_PROMPT = "What is the weather in Paris?"
WEATHER_CITIES = ("Paris", "Tokyo", "Rome")
WEATHER_ARGUMENTS = {"city": "Paris"}
WEATHER_RESULT = '{"degrees": 18, "sky": "clear"}'
WEATHER_ANSWER = "It is 18 degrees and the sky is clear."
WEATHER_WITHOUT_TOOL = "I have no weather tool."

# Raw text for native generation and plain completions: (prompt, continuation).
COMPLETIONS: list[tuple[str, str]] = [
    ("The capital of France is", " Paris."),
    ("Once upon a time", " there was a parrot that spoke in tokens."),
    ("<|user|>\nWhat is the capital of France?\n<|assistant|>", "\nParis."),
]


def chatml(prompt: str, system: str | None = None) -> str:
    """One user turn as the raw text that the model's chat template makes of it."""
    head = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    return f"{head}<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
