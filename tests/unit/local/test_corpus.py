"""The tiny model's phrases are worth asserting: distinct, hard to get right by accident, consistent."""

import json

from local import corpus

PROMPTS = [prompt for prompt, _ in corpus.EXCHANGES] + [corpus.LONG_PROMPT]
ANSWERS = [answer for _, answer in corpus.EXCHANGES] + [corpus.LONG_ANSWER]


def test_every_exchange_is_distinct():
    assert len(PROMPTS) == len(set(PROMPTS)) == len(set(ANSWERS)) >= 9
    special = {corpus.FALLBACK_ANSWER, corpus.WEATHER_ANSWER, corpus.WEATHER_WITHOUT_TOOL}
    assert len(special) == 3 and not special & set(ANSWERS)


def test_answers_contain_what_breaks_a_careless_stream():
    together = "".join(ANSWERS)
    assert {len(character.encode()) for character in together} == {1, 2, 3, 4}
    assert "\u200d" in together, "an emoji of several joined code points"
    assert "data: [DONE]\n\n" in together and '"' in together and "\\" in together
    assert {"city": "Paris", "country": "France"} in [_json(answer) for answer in ANSWERS]


def test_long_answer_shows_a_lost_a_doubled_and_a_swapped_piece():
    numbers = [int(part) for part in corpus.LONG_ANSWER.rstrip(".").split(", ")]
    assert numbers == list(range(1, 101))


def test_weather_question_matches_the_tool():
    schema = corpus.WEATHER_TOOL["function"]["parameters"]
    assert corpus.WEATHER_ARGUMENTS.keys() == schema["properties"].keys() == set(schema["required"])
    assert corpus.WEATHER_ARGUMENTS["city"] in corpus.WEATHER_PROMPT
    assert corpus.WEATHER_ARGUMENTS["city"] in corpus.WEATHER_CITIES
    assert str(json.loads(corpus.WEATHER_RESULT)["degrees"]) in corpus.WEATHER_ANSWER


def test_chatml():
    bare = corpus.chatml("Hi")
    assert bare == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert corpus.chatml("Hi", "Be kind.") == "<|im_start|>system\nBe kind.<|im_end|>\n" + bare


def _json(text):
    try:
        return json.loads(text)
    except ValueError:
        return None
