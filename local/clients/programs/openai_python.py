"""openai for Python."""

import json

from checking import (
    ANSWER,
    FACTS,
    KEY,
    KIND,
    LONG,
    MODEL,
    QUESTION,
    URL,
    USER,
    WAY,
    WEATHER,
    refused,
    run,
    same,
)
from openai import APIStatusError, AsyncOpenAI, NotFoundError
from pydantic import BaseModel

client = AsyncOpenAI(base_url=URL + "/v1", api_key=KEY, max_retries=0, timeout=120)


class Place(BaseModel):
    city: str
    country: str


async def models():
    same([model.id async for model in client.models.list()], [MODEL])


async def chat():
    whole = await client.chat.completions.create(model=MODEL, messages=USER, temperature=0)
    same(whole.choices[0].message.content, ANSWER)
    stream = await client.chat.completions.create(model=MODEL, messages=USER, temperature=0, stream=True,
                                                  stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    same("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), ANSWER)
    assert chunks[-1].usage.completion_tokens > 0


async def tools():
    asked = dict(model=MODEL, messages=WEATHER, tools=[FACTS["weather_tool"]], temperature=0)
    whole = await client.chat.completions.create(**asked)
    call = whole.choices[0].message.tool_calls[0]
    same((call.function.name, json.loads(call.function.arguments)), ("get_weather", FACTS["weather_arguments"]))
    pieces = ""
    async for chunk in await client.chat.completions.create(**asked, stream=True):
        for delta in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
            pieces += delta.function.arguments or ""
    same(json.loads(pieces), FACTS["weather_arguments"])


async def parse():
    parsed = await client.chat.completions.parse(
        model=MODEL, messages=[{"role": "user", "content": FACTS["json_prompt"]}], response_format=Place, temperature=0,
        max_tokens=200)
    same(parsed.choices[0].message.parsed.model_dump(), FACTS["json_answer"])


async def responses():
    whole = await client.responses.create(model=MODEL, input=QUESTION, temperature=0)
    same(whole.output_text, ANSWER)
    stream = await client.responses.create(model=MODEL, input=QUESTION, temperature=0, stream=True)
    events = [event async for event in stream]
    same("".join(event.delta for event in events if event.type == "response.output_text.delta"), ANSWER)
    same(events[-1].type, "response.completed")


async def cancel():
    stream = await client.chat.completions.create(model=MODEL, messages=LONG, stream=True, max_tokens=FACTS["many"],
                                                  extra_body={"ignore_eos": True})
    async for _ in stream:
        break
    await stream.close()  # run.py sees that the engine has stopped


async def refusal():
    try:
        await client.chat.completions.create(model="gpt-4", messages=USER)
    except APIStatusError as error:
        same(isinstance(error, NotFoundError), WAY == "http")
        return refused(error)
    raise AssertionError("not refused")


async def embeddings():
    made = await client.embeddings.create(model=MODEL, input=["Paris", "Rome"])
    same([len(one.embedding) for one in made.data], [FACTS["width"]] * 2)


run(*((models, chat, tools, parse, responses, refusal, cancel) if KIND == "generation" else (embeddings,)))
