"""anthropic for Python."""

from anthropic import APIStatusError, AsyncAnthropic, NotFoundError
from checking import ANSWER, FACTS, KEY, LONG, MODEL, URL, USER, WAY, WEATHER, refused, run, same

client = AsyncAnthropic(base_url=URL, auth_token=KEY, max_retries=0, timeout=120)
GREEDY = {"extra_body": {"temperature": 0}}


async def messages():
    whole = await client.messages.create(model=MODEL, max_tokens=64, messages=USER, **GREEDY)
    same(whole.content[0].text, ANSWER)
    async with client.messages.stream(model=MODEL, max_tokens=64, messages=USER, **GREEDY) as stream:
        same("".join([text async for text in stream.text_stream]), ANSWER)


async def count_tokens():
    assert (await client.messages.count_tokens(model=MODEL, messages=USER)).input_tokens > 0


async def tools():
    function = FACTS["weather_tool"]["function"]
    tool = {"name": function["name"], "description": function["description"], "input_schema": function["parameters"]}
    whole = await client.messages.create(model=MODEL, max_tokens=100, messages=WEATHER, tools=[tool], **GREEDY)
    same(whole.stop_reason, "tool_use")
    [used] = [block for block in whole.content if block.type == "tool_use"]
    same((used.name, used.input), ("get_weather", FACTS["weather_arguments"]))


async def cancel():
    async with client.messages.stream(model=MODEL, max_tokens=FACTS["many"], messages=LONG) as stream:
        async for _ in stream.text_stream:
            break


async def refusal():
    try:
        await client.messages.create(model="gpt-4", max_tokens=5, messages=USER)
    except APIStatusError as error:
        same(isinstance(error, NotFoundError), WAY == "http")
        return refused(error)
    raise AssertionError("not refused")


run(messages, count_tokens, tools, refusal, cancel)
