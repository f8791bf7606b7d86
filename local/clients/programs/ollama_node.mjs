// ollama for Node.
import { Ollama } from "ollama";

import { FACTS, USER, WEATHER, refused, run, same } from "./checking.mjs";

const { model, question, answer } = FACTS;
const options = { temperature: 0 };
const client = new Ollama({ host: FACTS.url, headers: { Authorization: `Bearer ${FACTS.key}` } });

async function models() {
  same((await client.list()).models.map((one) => one.model.replace(/:latest$/, "")), [model]);
}

async function chat() {
  same((await client.chat({ model, messages: USER, options })).message.content, answer);
  let text = "";
  for await (const piece of await client.chat({ model, messages: USER, options, stream: true })) {
    text += piece.message.content;
  }
  same(text, answer);
}

async function generate() {
  same((await client.generate({ model, prompt: question, options })).response, answer);
}

async function tools() {
  const { message } = await client.chat({ model, messages: WEATHER, options, tools: [FACTS.weather_tool] });
  const calls = message.tool_calls.map((call) => [call.function.name, call.function.arguments]);
  same(calls, [["get_weather", FACTS.weather_arguments]]);
}

async function refusal() {
  try {
    await client.chat({ model: "gpt-4", messages: USER });
  } catch (error) {
    same(error.status_code, FACTS.way === "http" ? 404 : 500);
    return refused(error);
  }
  throw new Error("not refused");
}

await run({ models, chat, generate, tools, refusal });
