// The box to try a prompt in: one question, its streamed answer, reasoning apart, and what it took.

import { events, reasonOf } from "./stream.js";

const LARGEST = 20e6;  // bytes of all images: RunPod's load balancer takes 30 MB, and base64 adds a third

const at = (id) => document.getElementById(id);

class Failed extends Error {}

/** Text that grows at its end, and is followed while its end is in sight. */
class Text {
  constructor(node) {
    this.node = node;
  }

  clear() {
    this.node.replaceChildren(document.createTextNode(""));
  }

  add(piece) {
    const { node } = this;
    const follows = node.scrollHeight - node.scrollTop - node.clientHeight < 24;
    node.firstChild.appendData(piece);
    if (follows) node.scrollTop = node.scrollHeight;
  }
}

export class Ask {
  /** headers: those that show the key; locked: called when the worker does not take it. */
  constructor(base, headers, locked) {
    Object.assign(this, { base, headers, locked, model: "", chat: true, images: [], running: null });
    this.answer = new Text(at("answer"));
    this.reasoning = new Text(at("reasoning"));
    at("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    at("prompt").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("ask").requestSubmit(at("send"));
    });
    at("stop").addEventListener("click", () => this.running?.abort());
    at("pictures").addEventListener("change", () => this.take([...at("pictures").files]));
  }

  draw({ model, state, takes }) {
    this.model = model;
    this.chat = takes?.chat ?? true;
    this.open = state === "ready" || state === "restarting";  // a restart is waited for
    const label = this.chat ? "Prompt" : "Text to embed";
    if (at("prompt-label").textContent !== label) at("prompt-label").textContent = label;
    at("pictures-part").hidden = !(this.chat && takes?.images);
    for (const part of document.querySelectorAll(".chat-only")) part.hidden = !this.chat;
    this.buttons();
  }

  silent() {
    this.open = false;
    this.buttons();
  }

  buttons() {
    at("send").disabled = !this.open || this.running !== null;
    at("stop").hidden = this.running === null;
  }

  // ---------------------------------------------------------- images
  async take(files) {
    at("pictures").value = "";
    for (const file of files) {
      const url = await new Promise((resolve) => {
        const reader = new FileReader();
        reader.onload = () => resolve(reader.result);
        reader.onerror = () => resolve(null);
        reader.readAsDataURL(file);
      });
      if (url) this.images.push({ url, name: file.name, size: file.size });
    }
    this.thumbnails();
  }

  thumbnails() {
    at("thumbnails").replaceChildren(...this.images.map((image, index) => {
      const item = document.createElement("li");
      const picture = document.createElement("img");
      picture.src = image.url;
      picture.alt = image.name;
      const away = document.createElement("button");
      away.type = "button";
      away.textContent = "Remove";
      away.setAttribute("aria-label", `Remove ${image.name}`);
      away.addEventListener("click", () => {
        this.images.splice(index, 1);
        this.thumbnails();
      });
      item.append(picture, away);
      return item;
    }));
  }

  // ---------------------------------------------------------- a question and its answer
  async send() {
    const prompt = at("prompt").value;
    if (at("send").disabled || !(prompt.trim() || this.images.length)) return;
    this.running = new AbortController();
    this.buttons();
    at("answer-part").hidden = false;
    at("reasoning-part").hidden = true;
    this.answer.clear();
    this.reasoning.clear();
    at("problem").textContent = "";
    at("spent").textContent = "waiting for the first token …";
    at("answer").setAttribute("aria-busy", "true");
    const took = { began: performance.now(), first: null, tokens: null, finish: null };
    try {
      if (this.chat) await this.converse(prompt, took);
      else await this.embed(prompt);
    } catch (error) {
      if (error.name === "AbortError") took.finish = "stopped";
      else at("problem").textContent = error instanceof Failed ? error.message : "The connection to the worker broke.";
    } finally {
      this.running = null;
      at("answer").setAttribute("aria-busy", "false");
      at("spent").textContent = this.spent(took);
      this.buttons();
    }
  }

  async post(path, body) {
    const response = await fetch(this.base + path, {
      method: "POST", headers: { "Content-Type": "application/json", ...this.headers() }, body: JSON.stringify(body),
      signal: this.running.signal, cache: "no-store",
    });
    if (response.ok) return response;
    const told = await response.json().catch(() => null);
    if (response.status === 401) this.locked(true);
    throw new Failed(reasonOf(told, response.status));
  }

  async converse(prompt, took) {
    if (this.images.reduce((sum, image) => sum + image.size, 0) > LARGEST) {
      throw new Failed(`The images are larger than ${LARGEST / 1e6} MB together.`);
    }
    const content = this.images.length === 0 || at("pictures-part").hidden ? prompt : [
      ...this.images.map(({ url }) => ({ type: "image_url", image_url: { url } })), { type: "text", text: prompt }];
    const body = {
      model: this.model, messages: [{ role: "user", content }], stream: true, stream_options: { include_usage: true },
      max_tokens: Number(at("most").value) || 512,
    };
    if (at("heat").value !== "") body.temperature = Number(at("heat").value);
    const response = await this.post("/v1/chat/completions", body);
    let whole = false;
    for await (const data of events(response.body)) {
      if (data === "[DONE]") {
        whole = true;
        break;
      }
      const event = JSON.parse(data);
      if (event.error) throw new Failed(reasonOf(event, 200));
      took.tokens = event.usage?.completion_tokens ?? took.tokens;
      const choice = event.choices?.[0];
      took.finish = choice?.finish_reason ?? took.finish;
      this.piece(choice?.delta ?? {}, took);
    }
    if (!whole) throw new Failed("The answer broke off.");
  }

  piece(delta, took) {
    const { content, reasoning_content: reasoning } = delta;
    if (!content && !reasoning) return;
    if (took.first === null) {
      took.first = performance.now();
      at("spent").textContent = "";
    }
    if (reasoning) {
      at("reasoning-part").hidden = false;
      this.reasoning.add(reasoning);
    }
    if (content) this.answer.add(content);
  }

  async embed(text) {
    const told = await (await this.post("/v1/embeddings", { model: this.model, input: text })).json();
    const vector = told.data[0].embedding;
    this.answer.add(`${vector.length} dimensions: ${vector.slice(0, 8).map((x) => x.toFixed(4)).join(", ")}`
      + (vector.length > 8 ? ", …" : ""));
  }

  spent({ began, first, tokens, finish }) {
    const end = performance.now();
    const said = [`${((end - began) / 1000).toFixed(2)} s`];
    if (first !== null) said.unshift(`first token after ${Math.round(first - began)} ms`);
    if (tokens) said.push(`${tokens} tokens`);
    if (tokens > 1 && first !== null && end - first > 50) {
      said.push(`${((tokens - 1) / ((end - first) / 1000)).toFixed(1)} tokens a second`);
    }
    if (finish === "length") said.push("cut off at the limit of tokens");
    if (finish === "stopped") said.push("stopped");
    return said.join(" · ");
  }
}
