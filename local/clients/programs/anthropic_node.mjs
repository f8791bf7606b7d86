// @anthropic-ai/sdk.
import Anthropic, { APIError, NotFoundError } from "@anthropic-ai/sdk";

import { FACTS, LONG, USER, WEATHER, refused, run, same } from "./checking.mjs";

const { model, answer } = FACTS;
const client = new Anthropic({ baseURL: FACTS.url, authToken: FACTS.key, apiKey: null, maxRetries: 0 });

async function messages() {
  const whole = await client.messages.create({ model, max_tokens: 64, messages: USER, temperature: 0 });
  same(whole.content[0].text, answer);
  const stream = client.messages.stream({ model, max_tokens: 64, messages: USER, temperature: 0 });
  same(await stream.finalText(), answer);
}

async function count_tokens() {
  same((await client.messages.countTokens({ model, messages: USER })).input_tokens > 0, true);
}

async function tools() {
  const { name, description, parameters } = FACTS.weather_tool.function;
  const whole = await client.messages.create({
    model, max_tokens: 100, messages: WEATHER, temperature: 0, tools: [{ name, description, input_schema: parameters }],
  });
  const used = whole.content.filter((block) => block.type === "tool_use");
  same(used.map((block) => [block.name, block.input]), [["get_weather", FACTS.weather_arguments]]);
}

async function refusal() {
  try {
    await client.messages.create({ model: "gpt-4", max_tokens: 5, messages: USER });
  } catch (error) {
    same([error instanceof APIError, error instanceof NotFoundError], [true, FACTS.way === "http"]);
    return refused(error);
  }
  throw new Error("not refused");
}

async function cancel() {
  const stream = await client.messages.create({ model, max_tokens: FACTS.many, messages: LONG, stream: true });
  for await (const _ of stream) break; // run.py sees that the engine has stopped
}

await run({ messages, count_tokens, tools, refusal, cancel });
