"""Tools: the model asks for one, this program runs it, and the model answers with what it gave.

Settings: none where a parser is detected, otherwise TOOL_CALL_PARSER
Environment: ENDPOINT_ID and RUNPOD_API_KEY; or BASE_URL, which ends in /v1. MODEL, where it is not the only one.
"""

import json
import os
import sys

import openai

endpoint, key = os.environ.get("ENDPOINT_ID"), os.environ.get("RUNPOD_API_KEY", "none")
url = os.environ.get("BASE_URL") or endpoint and f"https://api.runpod.ai/v2/{endpoint}/openai/v1"
if not url:
    sys.exit("Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL, which ends in /v1.")
client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
model = os.environ.get("MODEL", "default")  # "default" is whatever the endpoint serves

TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "The weather in a city now.",
    "parameters": {"type": "object",
                   "properties": {"city": {"type": "string", "description": "Name of the city."}},
                   "required": ["city"], "additionalProperties": False}}}]


def get_weather(city: str) -> dict:
    return {"degrees": 18, "sky": "clear"}


def main() -> None:
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    reply = client.chat.completions.create(model=model, messages=messages, tools=TOOLS, temperature=0, max_tokens=200)
    message = reply.choices[0].message
    if not message.tool_calls:
        sys.exit(f"No tool was asked for: {message.content}")
    messages.append({"role": "assistant", "content": message.content or "", "tool_calls": [
        {"id": call.id, "type": "function",
         "function": {"name": call.function.name, "arguments": call.function.arguments}}
        for call in message.tool_calls]})
    for call in message.tool_calls:
        print(f"call: {call.function.name}({call.function.arguments})")
        result = get_weather(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)})
    reply = client.chat.completions.create(model=model, messages=messages, tools=TOOLS, temperature=0, max_tokens=200)
    print("answer:", reply.choices[0].message.content)


try:
    main()
except openai.OpenAIError as error:
    sys.exit(f"It was not answered: {getattr(error, 'body', None) or error}")
