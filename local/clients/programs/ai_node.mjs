// Vercel's AI SDK with @ai-sdk/openai-compatible.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateObject, generateText, streamText, tool } from "ai";
import { z } from "zod";

import { FACTS, refused, run, same } from "./checking.mjs";

const worker = createOpenAICompatible({
  name: "worker", baseURL: `${FACTS.url}/v1`, apiKey: FACTS.key, supportsStructuredOutputs: true });
const asked = { model: worker(FACTS.model), temperature: 0, maxRetries: 0 };

async function generate_text() {
  same((await generateText({ ...asked, prompt: FACTS.question })).text, FACTS.answer);
}

async function stream_text() {
  let text = "";
  for await (const piece of streamText({ ...asked, prompt: FACTS.question }).textStream) text += piece;
  same(text, FACTS.answer);
}

async function tools() {
  const { name, description } = FACTS.weather_tool.function;
  const weather = tool({ description, inputSchema: z.object({ city: z.string() }) });
  const { toolCalls } = await generateText({ ...asked, prompt: FACTS.weather_prompt, tools: { [name]: weather } });
  same(toolCalls.map((call) => [call.toolName, call.input]), [["get_weather", FACTS.weather_arguments]]);
}

async function generate_object() {
  const schema = z.object({ city: z.string(), country: z.string() });
  const made = await generateObject({ ...asked, schema, prompt: FACTS.json_prompt, maxOutputTokens: 200 });
  same(made.object, FACTS.json_answer);
}

async function refusal() {
  try {
    await generateText({ ...asked, model: worker("gpt-4"), prompt: FACTS.question });
  } catch (error) {
    same(error.statusCode, FACTS.way === "http" ? 404 : 500);
    return refused(error);
  }
  throw new Error("not refused");
}

async function embeddings() {
  const made = await embedMany({ model: worker.embeddingModel(FACTS.model), values: ["Paris", "Rome"], maxRetries: 0 });
  same(made.embeddings.map((vector) => vector.length), [FACTS.width, FACTS.width]);
}

await run(FACTS.kind === "generation"
  ? { generate_text, stream_text, tools, generate_object, refusal } : { embeddings });
