"""What Open WebUI sends (backend/open_webui/routers/openai.py): the list of models, a chat as a stream that it hands on
to the browser as it comes, a title for it, and the headers about its user."""

import json

import aiohttp
from checking import ANSWER, KEY, MODEL, URL, USER, WAY, run, same

HEADERS = {"Authorization": f"Bearer {KEY}", "X-OpenWebUI-User-Name": "A%C3%A9", "X-OpenWebUI-User-Id": "1",
           "X-OpenWebUI-User-Email": "a@example.com", "X-OpenWebUI-User-Role": "user", "X-OpenWebUI-Chat-Id": "c-1"}
BODY = {"model": MODEL, "messages": USER, "temperature": 0}


async def _post(body):
    async with aiohttp.ClientSession() as session, session.post(
            URL + "/v1/chat/completions", headers=HEADERS, data=json.dumps(body).encode()) as response:
        return response.status, response.headers.get("Content-Type", ""), await response.text()


async def models():
    async with aiohttp.ClientSession() as session, session.get(URL + "/v1/models", headers=HEADERS) as response:
        same([model["id"] for model in (await response.json())["data"]], [MODEL])


async def chat():
    status, kind, text = await _post({**BODY, "stream": True, "stream_options": {"include_usage": True}})
    assert status == 200 and "text/event-stream" in kind, (status, kind)
    events = text.split("\n\n")
    same(events[-2:], ["data: [DONE]", ""])
    choices = [json.loads(event.removeprefix("data: "))["choices"] for event in events[:-2]]
    same("".join(choice[0]["delta"].get("content") or "" for choice in choices if choice), ANSWER)


async def title():
    status, kind, text = await _post({**BODY, "stream": False, "max_completion_tokens": 1000})
    assert status == 200 and "application/json" in kind, (status, kind)
    same(json.loads(text)["choices"][0]["message"]["content"], ANSWER)


async def refusal():
    status, _, text = await _post({**BODY, "model": "gpt-4", "stream": False})
    same(status, 404 if WAY == "http" else 500)
    assert "does not exist" in text
    return f"HTTP {status} with the reason in its body, shown as `External: …`"


run(models, chat, title, refusal)
