"""LiteLLM, as a library; its proxy sends the same."""

import json

import litellm
from checking import ANSWER, FACTS, KEY, KIND, MODEL, URL, USER, WAY, WEATHER, refused, run, same

OPTIONS = {"api_base": URL + "/v1", "api_key": KEY, "num_retries": 0, "max_retries": 0}
NAME = "openai/" + MODEL  # `openai/`: any server that speaks OpenAI's API


def completion():
    whole = litellm.completion(model=NAME, messages=USER, temperature=0, **OPTIONS)
    same(whole.choices[0].message.content, ANSWER)


def stream():
    chunks = litellm.completion(model=NAME, messages=USER, temperature=0, stream=True, **OPTIONS)
    same("".join(chunk.choices[0].delta.content or "" for chunk in chunks), ANSWER)


def tools():
    whole = litellm.completion(model=NAME, messages=WEATHER, tools=[FACTS["weather_tool"]], temperature=0, **OPTIONS)
    [call] = whole.choices[0].message.tool_calls
    same((call.function.name, json.loads(call.function.arguments)), ("get_weather", FACTS["weather_arguments"]))


def anthropic():
    whole = litellm.completion(model="anthropic/" + MODEL, messages=USER, max_tokens=64, temperature=0, api_base=URL,
                               api_key=KEY)
    same(whole.choices[0].message.content, ANSWER)


def refusal():
    try:
        litellm.completion(model="openai/gpt-4", messages=USER, **OPTIONS)
    except Exception as error:
        same(isinstance(error, litellm.NotFoundError), WAY == "http")
        return refused(error)
    raise AssertionError("not refused")


def embeddings():
    made = litellm.embedding(model=NAME, input=["Paris", "Rome"], **OPTIONS)
    same([len(one["embedding"]) for one in made.data], [FACTS["width"]] * 2)


run(*((completion, stream, tools, anthropic, refusal) if KIND == "generation" else (embeddings,)))
