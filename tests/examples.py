"""What each file of examples/ must print, where it is run, and how.

tests/e2e/test_examples.py runs those of a real SGLang on the CPU; tests/contract/local/test_examples.py those which it
cannot serve, on the scripted engine; tests/unit/local/test_examples.py holds that no file is left out.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jsonschema

from local import corpus
from tests.over_http import KEY
from tests.support import ROOT

FOLDER = ROOT / "examples"
PARIS = corpus.EXCHANGES[0][1]
PLACE = {"type": "object", "required": ["city", "country"], "additionalProperties": False,
         "properties": {"city": {"type": "string"}, "country": {"type": "string"}}}
WIDTH = 64  # of the tiny model's embeddings
ADAPTERS = ("pirate", "poet")  # of the second engine, in a folder that LORA_SOURCES names
BOTH = ("queue", "http")
LIMIT = 120  # seconds, on a busy machine
# Of the engines that examples need beside the one which all end-to-end tests share: what their heads name. The tiny
# model ends no thoughts, so all that it says is one where it is to think: it is only where it is asked to.
SETTINGS = {"second": {"REASONING_PARSER": "qwen3", "ENABLE_CACHE_REPORT": "true",
                       "DEFAULT_CHAT_TEMPLATE_KWARGS": '{"enable_thinking": false}'},
            "embedding": {"IS_EMBEDDING": "true"}}


class Shown(NamedTuple):
    """engine: which serves it ("tiny", "embedding", "second": all real; "scripted"). seen: fails for an output that is
    not right. fronts: through which it is run."""

    engine: str
    seen: Callable[[str], Any]
    fronts: tuple[str, ...] = ("queue",)


def _is(expected: str) -> Callable[[str], None]:
    def seen(text: str) -> None:
        assert text.rstrip("\n") == expected, text
    return seen


def _matches(pattern: str) -> Callable[[str], None]:
    def seen(text: str) -> None:
        assert re.fullmatch(pattern, text, re.DOTALL), text
    return seen


def _json(look: Callable[[Any], Any]) -> Callable[[str], None]:
    """For a file that prints one answer as it came; `look` is true of a right one."""
    def seen(text: str) -> None:
        assert look(json.loads(text)), text
    return seen


def _place(text: str) -> None:
    jsonschema.validate(json.loads(text), PLACE)


def _place_in_chat(answer: dict) -> bool:
    return _place(answer["choices"][0]["message"]["content"]) is None


def _structured(text: str) -> None:
    lines = dict(line.split(": ", 1) for line in text.splitlines())
    _place(lines["json_schema"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", lines["regex"]) and re.fullmatch("knight to [a-h][1-8]", lines["ebnf"])
    tagged = re.fullmatch(r"<place>(.*)</place>", lines["structural_tag"])
    assert tagged, text
    _place(tagged[1])


def _falling(text: str) -> list[float]:
    """The scores at the beginning of lines; they fall, and each is a share."""
    scores = [float(line.split(" ", 1)[0]) for line in text.splitlines()]
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores), text
    return scores


def _ranked(count: int) -> Callable[[str], None]:
    def seen(text: str) -> None:
        assert len(_falling(text)) == count
        lines = [line.split(" ", 1)[1] for line in text.splitlines()]
        assert len(set(lines)) == count and {"Rome is the capital of Italy.", "Paris is the capital of France.",
                                             "A parrot spoke in tokens."} >= set(lines), text
    return seen


def _scored(text: str) -> None:
    for line in text.splitlines():
        shares = [float(share) for share in re.findall(r"(?:yes|no) (\d\.\d+)", line)]
        assert len(shares) == 2 and abs(sum(shares) - 1) < 0.001, line
    assert len(text.splitlines()) == 2


def _logprobs(text: str) -> None:
    lines = text.splitlines()
    assert len(lines) == 3 and "Paris" in lines[0], text
    for line in lines:
        shares = [float(share) for share in re.findall(r" (\d\.\d{3})", line)]
        assert len(shares) == 4 and shares[0] == shares[1] >= shares[2] >= shares[3], line


def _adapted(text: str) -> None:
    """The model's own answer, and another one of each adapter."""
    answers = dict(line.split(": ", 1) for line in text.splitlines())
    assert answers.keys() == {"tiny", *ADAPTERS} and answers["tiny"] == repr(PARIS)
    assert len(set(answers.values())) == len(answers), text


def _sdk(text: str) -> None:
    first, _, events = text.partition("\n")
    assert first == PARIS and events.endswith("data: [DONE]\n\n")
    assert _of_stream(events) == PARIS


def _of_stream(events: str) -> str:
    chunks = [json.loads(line.removeprefix("data: ")) for line in events.splitlines() if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def _stream_of_job(text: str) -> None:
    parts = [json.loads(line) for line in text.splitlines()]
    events = "".join(part["output"] for told in parts for part in told["stream"])
    assert parts[-1]["status"] == "COMPLETED" and events.endswith("data: [DONE]\n\n")
    assert json.loads(events.split("\n\n")[-3].removeprefix("data: "))["text"] == " Paris."  # cumulative


_WEATHER = _is(f'call: get_weather({json.dumps(corpus.WEATHER_ARGUMENTS)})\nanswer: {corpus.WEATHER_ANSWER}')
_TWO_PROMPTS = "".join(f"{re.escape(prompt)}\\|{re.escape(answer)}{{}}\n" for prompt, answer in corpus.COMPLETIONS[:2])
_NO_SPECULATION = _matches(r"answer: '.+'\n[1-9]\d* tokens, without speculation\n")

EXAMPLES: dict[str, Shown] = {
    "openai/affinity.py": Shown("second", _matches(
        r"Paris\. worker None, \d+ of \d+ tokens cached\nTokyo\. worker None, [1-9]\d* of \d+ tokens cached\n"), BOTH),
    "openai/anthropic_messages.py": Shown("tiny", _is("Paris. (3 tokens)\nParis."), BOTH),
    "openai/batch.py": Shown("tiny", _matches(_TWO_PROMPTS.format("", ""))),
    "openai/cancel.py": Shown("tiny", _matches(r"stopped after '1, 2, [^\[\]]*7[^\[\]]*'\n"), BOTH),
    "openai/chat.py": Shown("tiny", _matches(r"Paris\.\n\d+ tokens in, 3 out\n"), BOTH),
    "openai/embeddings.py": Shown("embedding", _matches(
        rf"3 embeddings of {WIDTH} numbers\n-?[01]\.\d{{4}} Paris lies.*\n-?[01]\.\d{{4}} Once.*\n"), BOTH),
    "openai/errors.py": Shown("tiny", _matches(
        r"Paris\.\nrefused with 404: The model 'no-such-model' does not exist; this endpoint serves 'tiny'\.\n"), BOTH),
    "openai/fan_out.py": Shown("tiny", _matches(r"(What is the capital of \w+\? \w+\.\n){3}24 answers\n")),
    "openai/json_schema.py": Shown("tiny", _place, BOTH),
    "openai/logprobs.py": Shown("tiny", _logprobs),
    "openai/lora.py": Shown("second", _adapted),
    "openai/reasoning.py": Shown("second", _is(
        "thinking: thoughts 'Four.', answer ''\nlittle: thoughts 'Four.', answer ''\n"
        "none: thoughts None, answer 'Four.'")),
    "openai/regex_and_grammar.py": Shown("tiny", _matches(
        r"regex: \d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])\nchoice: (yes|no|it depends)\n"
        r"ebnf: (knight|rook) to [a-h][1-8]\n")),
    "openai/rerank.py": Shown("second", _ranked(3), BOTH),
    "openai/score.py": Shown("tiny", _scored),
    "openai/speculative.py": Shown("tiny", _NO_SPECULATION, BOTH),
    "openai/structural_tag.py": Shown("tiny", _matches(
        r'<place>\{\s*"city":\s*"(?P<city>[^"]*)"\s*\}</place>\ncity: (?P=city)\n')),
    "openai/tools.py": Shown("tiny", _WEATHER, BOTH),
    "openai/transcription.py": Shown("scripted", _is("Paris is the capital."), ("http",)),
    "openai/vision.py": Shown("scripted", _is("It is red.")),
    "runpod/cancel.py": Shown("tiny", _is("CANCELLED")),
    "runpod/embeddings.py": Shown("embedding", _matches(rf"({WIDTH} numbers, the first -?\d\.\d{{4}}\n){{2}}")),
    "runpod/generate.py": Shown("tiny", _matches(_TWO_PROMPTS.format(r" \(stop\)", r" \(stop\)"))),
    "runpod/logprobs.py": Shown("tiny", _logprobs),
    "runpod/lora.py": Shown("second", _adapted),
    "runpod/reasoning.py": Shown("second", _matches(
        r"(\{.*\}: thoughts 'Four\.', answer ''\n){2}\{.*\}: thoughts None, answer 'Four\.'\n")),
    "runpod/rerank.py": Shown("second", _ranked(2)),
    "runpod/run_and_poll.py": Shown("tiny", _matches(r"job \S+\nParis\.\n")),
    "runpod/runsync.py": Shown("tiny", _is(PARIS)),
    "runpod/score.py": Shown("tiny", _scored),
    "runpod/sdk.py": Shown("tiny", _sdk),
    "runpod/speculative.py": Shown("tiny", _NO_SPECULATION),
    "runpod/stream.py": Shown("tiny", _is(corpus.LONG_ANSWER)),
    "runpod/structured.py": Shown("tiny", _structured),
    "runpod/tools.py": Shown("tiny", _WEATHER),
    "runpod/transcription.py": Shown("scripted", _is("Paris is the capital.")),
    "runpod/vision.py": Shown("scripted", _is("It is red.")),
    "runpod/webhook.py": Shown("tiny", _is(PARIS)),
    "curl/cancel.sh": Shown("tiny", _json(lambda answer: answer["status"] == "CANCELLED")),
    "curl/chat.sh": Shown("tiny", _json(lambda answer: answer["choices"][0]["message"]["content"] == PARIS), BOTH),
    "curl/embeddings.sh": Shown("embedding", _json(
        lambda answer: [len(one["embedding"]) for one in answer["data"]] == [WIDTH] * 2)),
    "curl/json_schema.sh": Shown("tiny", _json(_place_in_chat)),
    "curl/messages.sh": Shown("tiny", _json(lambda answer: answer["content"][0]["text"] == PARIS)),
    "curl/models.sh": Shown("tiny", _json(lambda answer: [one["id"] for one in answer["data"]] == ["tiny"]), BOTH),
    "curl/rerank.sh": Shown("second", _json(lambda answer: answer[0]["score"] >= answer[1]["score"] > 0)),
    "curl/run_and_poll.sh": Shown("tiny", _json(
        lambda job: job["output"][0]["choices"][0]["message"]["content"] == PARIS)),
    "curl/runsync.sh": Shown("tiny", _json(
        lambda job: job["output"][0]["choices"][0]["message"]["content"] == PARIS)),
    "curl/stream.sh": Shown("tiny", lambda text: _is(PARIS)(_of_stream(text)), BOTH),
    "curl/stream_job.sh": Shown("tiny", _stream_of_job),
    "curl/tools.sh": Shown("tiny", _json(lambda answer: json.loads(
        answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]) == corpus.WEATHER_ARGUMENTS)),
    "curl/transcription.sh": Shown("scripted", _json(lambda answer: answer["text"] == "Paris is the capital."),
                                   ("http",)),
}


def on(*engines: str) -> list[tuple[str, str]]:
    """(name, front) of every example that these engines serve."""
    return [(name, front) for name, shown in EXAMPLES.items() if shown.engine in engines for front in shown.fronts]


async def output_of(name: str, base_url: str, *arguments: str, **environ: str) -> str:
    """What the example prints when it is run against this address of an OpenAI client; fails where it does."""
    status, said, wrong = await run(name, *arguments, BASE_URL=base_url, RUNPOD_API_KEY=KEY, **environ)
    assert status == 0, (name, said, wrong)
    return said


async def run(name: str, *arguments: str, **environ: str) -> tuple[int, str, str]:
    """(status, output, errors) of one example, in an environment that holds nothing else of the endpoint."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    program = [sys.executable] if name.endswith(".py") else ["bash"]
    process = await asyncio.create_subprocess_exec(
        *program, str(FOLDER / name), *arguments, env={**kept, "PYTHONUTF8": "1", **environ},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(LIMIT):
            said, wrong = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, said.decode(), wrong.decode()
