"""ollama for Python."""

from checking import ANSWER, FACTS, KEY, LONG, MODEL, QUESTION, URL, USER, WAY, WEATHER, refused, run, same
from ollama import Client, ResponseError

client = Client(host=URL, headers={"Authorization": f"Bearer {KEY}"})
GREEDY = {"temperature": 0}


def models():
    same([one.model.removesuffix(":latest") for one in client.list().models], [MODEL])
    assert "completion" in client.show(MODEL).capabilities


def chat():
    same(client.chat(MODEL, USER, options=GREEDY).message.content, ANSWER)
    pieces = list(client.chat(MODEL, USER, options=GREEDY, stream=True))
    same("".join(piece.message.content for piece in pieces), ANSWER)
    assert pieces[-1].done and pieces[-1].eval_count > 0


def generate():
    same(client.generate(MODEL, QUESTION, options=GREEDY).response, ANSWER)


def tools():
    [call] = client.chat(MODEL, WEATHER, tools=[FACTS["weather_tool"]], options=GREEDY).message.tool_calls
    same((call.function.name, call.function.arguments), ("get_weather", FACTS["weather_arguments"]))


def cancel():
    pieces = client.chat(MODEL, LONG, options={**GREEDY, "num_predict": FACTS["many"]}, stream=True)
    next(iter(pieces))
    pieces.close()


def refusal():
    try:
        client.chat("gpt-4", USER)
    except ResponseError as error:
        same(error.status_code, 404 if WAY == "http" else 500)
        return refused(error)
    raise AssertionError("not refused")


run(models, chat, generate, tools, cancel, refusal)
