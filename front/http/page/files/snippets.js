// What to paste into a shell or a program, with this worker's own address and model.

const at = (id) => document.getElementById(id);
const KEY = "WORKER_API_KEY";

const quoted = JSON.stringify;                                      // a string of Python and JavaScript alike
const inShell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

const CHAT = {
  curl: (base, model) => `curl -N ${inShell(`${base}/v1/chat/completions`)} \\
  -H "Authorization: Bearer $${KEY}" \\
  -H "Content-Type: application/json" \\
  -d ${inShell(`{"model": ${quoted(model)}, "stream": true,
       "messages": [{"role": "user", "content": "Hello!"}]}`)}
`,
  Python: (base, model) => `import os
from openai import OpenAI

client = OpenAI(base_url=${quoted(`${base}/v1`)}, api_key=os.environ["${KEY}"])
stream = client.chat.completions.create(
    model=${quoted(model)},
    messages=[{"role": "user", "content": "Hello!"}],
    stream=True,
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
`,
  JavaScript: (base, model) => `import OpenAI from "openai";

const client = new OpenAI({ baseURL: ${quoted(`${base}/v1`)}, apiKey: process.env.${KEY} });
const stream = await client.chat.completions.create({
  model: ${quoted(model)},
  messages: [{ role: "user", content: "Hello!" }],
  stream: true,
});
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
`,
  Anthropic: (base, model) => `import os
from anthropic import Anthropic

client = Anthropic(base_url=${quoted(base)}, auth_token=os.environ["${KEY}"])
with client.messages.stream(
    model=${quoted(model)},
    max_tokens=512,
    messages=[{"role": "user", "content": "Hello!"}],
) as stream:
    for text in stream.text_stream:
        print(text, end="", flush=True)
`,
  "Claude Code": (base, model) => `export ANTHROPIC_BASE_URL=${inShell(base)}
export ANTHROPIC_AUTH_TOKEN="$${KEY}"
claude --model ${inShell(model)}
`,
};

const EMBED = {
  curl: (base, model) => `curl ${inShell(`${base}/v1/embeddings`)} \\
  -H "Authorization: Bearer $${KEY}" \\
  -H "Content-Type: application/json" \\
  -d ${inShell(`{"model": ${quoted(model)}, "input": "Hello!"}`)}
`,
  Python: (base, model) => `import os
from openai import OpenAI

client = OpenAI(base_url=${quoted(`${base}/v1`)}, api_key=os.environ["${KEY}"])
told = client.embeddings.create(model=${quoted(model)}, input="Hello!")
print(len(told.data[0].embedding))
`,
  JavaScript: (base, model) => `import OpenAI from "openai";

const client = new OpenAI({ baseURL: ${quoted(`${base}/v1`)}, apiKey: process.env.${KEY} });
const told = await client.embeddings.create({ model: ${quoted(model)}, input: "Hello!" });
console.log(told.data[0].embedding.length);
`,
};

export class Snippets {
  constructor(base) {
    Object.assign(this, { base, model: "", chosen: "curl", made: null });
    at("base").textContent = `${base}/v1`;
    at("copy").addEventListener("click", () => this.copy());
    at("tabs").addEventListener("keydown", (event) => this.step(event));
  }

  draw(model, chat, locked) {
    const note = locked ? `${KEY} in your shell's environment holds the key.`
      : `This worker asks for no key: ${KEY} may hold anything, but the clients want it to be set.`;
    if (at("key-note").textContent !== note) at("key-note").textContent = note;
    const texts = chat ? CHAT : EMBED;
    if (this.texts === texts && this.model === model) return;
    Object.assign(this, { texts, model });
    if (!(this.chosen in texts)) this.chosen = "curl";
    at("tabs").replaceChildren(...Object.keys(texts).map((name) => {
      const tab = document.createElement("button");
      tab.type = "button";
      tab.id = `tab-${name.replace(" ", "-").toLowerCase()}`;
      tab.textContent = name;
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", "snippet-part");
      tab.addEventListener("click", () => this.choose(name));
      return tab;
    }));
    this.choose(this.chosen);
  }

  choose(name) {
    this.chosen = name;
    for (const tab of at("tabs").children) {
      const selected = tab.textContent === name;
      tab.setAttribute("aria-selected", String(selected));
      tab.tabIndex = selected ? 0 : -1;
      if (selected) at("snippet-part").setAttribute("aria-labelledby", tab.id);
    }
    at("snippet").textContent = this.texts[name](this.base, this.model);
  }

  step(event) {
    const tabs = [...at("tabs").children];
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move) return;
    const next = tabs[(tabs.indexOf(document.activeElement) + move + tabs.length) % tabs.length];
    next.focus();
    next.click();
    event.preventDefault();
  }

  async copy() {
    const text = at("snippet").textContent;
    try {
      await navigator.clipboard.writeText(text);  // only where the page came over HTTPS or from this machine
      at("copy").textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(at("snippet"));
      at("copy").textContent = "Selected";
    }
    setTimeout(() => { at("copy").textContent = "Copy"; }, 1500);
  }
}
