// openai for Node.
import OpenAI, { APIError, NotFoundError } from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

import { FACTS, LONG, USER, WEATHER, refused, run, same } from "./checking.mjs";

const { model, question, answer } = FACTS;
const client = new OpenAI({ baseURL: `${FACTS.url}/v1`, apiKey: FACTS.key, maxRetries: 0, timeout: 120_000 });

async function models() {
  const ids = [];
  for await (const one of client.models.list()) ids.push(one.id);
  same(ids, [model]);
}

async function chat() {
  const whole = await client.chat.completions.create({ model, messages: USER, temperature: 0 });
  same(whole.choices[0].message.content, answer);
  let text = "";
  const stream = await client.chat.completions.create({ model, messages: USER, temperature: 0, stream: true });
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
  same(text, answer);
}

async function tools() {
  const asked = { model, messages: WEATHER, tools: [FACTS.weather_tool], temperature: 0 };
  const whole = await client.chat.completions.create(asked);
  const [call] = whole.choices[0].message.tool_calls;
  same([call.function.name, JSON.parse(call.function.arguments)], ["get_weather", FACTS.weather_arguments]);
}

async function parse() {
  const Place = z.object({ city: z.string(), country: z.string() });
  const parsed = await client.chat.completions.parse({
    model, messages: [{ role: "user", content: FACTS.json_prompt }], temperature: 0, max_tokens: 200,
    response_format: zodResponseFormat(Place, "place"),
  });
  same(parsed.choices[0].message.parsed, FACTS.json_answer);
}

async function responses() {
  same((await client.responses.create({ model, input: question, temperature: 0 })).output_text, answer);
  let text = "";
  for await (const event of await client.responses.create({ model, input: question, temperature: 0, stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  same(text, answer);
}

async function refusal() {
  try {
    await client.chat.completions.create({ model: "gpt-4", messages: USER });
  } catch (error) {
    same([error instanceof APIError, error instanceof NotFoundError], [true, FACTS.way === "http"]);
    return refused(error);
  }
  throw new Error("not refused");
}

async function cancel() {
  const stream = await client.chat.completions.create(
    { model, messages: LONG, stream: true, max_tokens: FACTS.many, ignore_eos: true });
  for await (const _ of stream) break; // run.py sees that the engine has stopped
}

async function embeddings() {
  const made = await client.embeddings.create({ model, input: ["Paris", "Rome"] });
  same(made.data.map((one) => one.embedding.length), [FACTS.width, FACTS.width]);
}

await run(FACTS.kind === "generation" ? { models, chat, tools, parse, responses, refusal, cancel } : { embeddings });
