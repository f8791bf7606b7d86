// The page: asks the worker how it is, and hands what it says to the parts. Whatever comes from the worker, its model
// or its log is only ever set as text.

import { Ask } from "./ask.js";
import { Figures } from "./figures.js";
import { Snippets } from "./snippets.js";
import { drawStart } from "./start.js";

const AT_LEAST = 200;    // milliseconds between two questions
const SILENT = 2000;     // milliseconds before an unanswered question is asked again
const PATIENCE = 10000;  // milliseconds that an answer may take

const at = (id) => document.getElementById(id);
const base = new URL(".", document.location.href).href.replace(/\/$/, "");

let key = "";            // here and nowhere else: not stored, not in an address, gone with the tab
let last = null;         // what the worker said last
let lastAt = 0;
let wakeUp = () => {};

const headers = () => (key ? { Authorization: `Bearer ${key}` } : {});
const figures = new Figures(at("figures"));
const snippets = new Snippets(base);
const ask = new Ask(base, headers, askForKey);

const WORDS = {
  starting: "loading", ready: "ready", restarting: "restarting", stopping: "stopping", ended: "given up",
  silent: "no answer", unknown: "connecting", locked: "locked",
};

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;  // a reader of the screen hears of changes only
}

function showState(state, why) {
  at("state").dataset.state = state;
  setText(at("state"), WORDS[state] ?? state);
  setText(at("why"), why);
  at("why").hidden = !why;
  document.title = `${last?.model ?? "SGLang worker"} · ${WORDS[state] ?? state}`;
}

function factsOf(told) {
  const { engine, takes } = told;
  const cards = engine?.accelerator && `${engine.accelerators > 1 ? `${engine.accelerators} × ` : ""}${engine.accelerator}`;
  return [takes?.tokens && `${takes.tokens.toLocaleString("en")} tokens of context`,
    takes && !takes.chat && "embeddings", takes?.images && "reads images",
    takes?.reasoning && "reasoning apart", cards,
    engine?.version && `SGLang ${engine.version}`, `worker ${told.version}`,
    told.lives > 1 && `restarted ${told.lives === 2 ? "once" : `${told.lives - 1} times`}`].filter(Boolean).join(" · ");
}

function show(told) {
  const before = last?.state;
  last = told;
  lastAt = Date.now();
  at("key-form").hidden = true;
  at("inside").hidden = false;
  setText(at("model"), told.model);
  showState(told.state, told.why);
  setText(at("facts"), factsOf(told));
  if (before !== told.state) at("start").open = told.state !== "ready";
  drawStart(at("phases"), at("start-total"), told.start, told.state);
  figures.draw(told);
  snippets.draw(told.model, told.takes?.chat ?? true, Boolean(key));
  ask.draw(told);
}

function showSilence() {
  if (at("key-form").hidden) {
    const ago = last ? Math.round((Date.now() - lastAt) / 1000) : 0;
    const ended = last?.state === "ended" ? last.why : "";
    showState("silent", [ended, last ? `The worker was last heard ${ago} s ago; asking again.`
      : "The worker does not answer; asking again."].filter(Boolean).join(" "));
    ask.silent();
  }
}

function askForKey(wrong) {
  key = "";
  last = null;
  showState("locked", "");
  setText(at("model"), "\u00a0");
  setText(at("facts"), "");
  at("inside").hidden = true;
  at("key-form").hidden = false;
  setText(at("key-error"), wrong ? "The worker does not take this key." : "");
  at("key").focus();
}

const pause = (ms) => new Promise((resolve) => {
  wakeUp = resolve;
  setTimeout(resolve, ms);
});

async function question() {
  const seen = last ? `?seen=${encodeURIComponent(last.tag)}` : "";
  const used = key;
  const response = await fetch(`${base}/-/state${seen}`, {
    headers: headers(), cache: "no-store", signal: AbortSignal.timeout(PATIENCE),
  });
  if (used !== key) return 0;
  if (response.status === 401) {
    askForKey(Boolean(key));
    return Infinity;
  }
  if (!response.ok) throw new Error(`status ${response.status}`);
  show(await response.json());
  return AT_LEAST;
}

async function follow() {
  for (;;) {
    if (document.hidden) await new Promise((resolve) => {
      document.addEventListener("visibilitychange", resolve, { once: true });
    });
    let next = SILENT;
    try {
      next = await question();
    } catch {
      showSilence();
    }
    if (next === Infinity) await new Promise((resolve) => { wakeUp = resolve; });
    else await pause(next);
  }
}

at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = at("key").value.trim();
  at("key").value = "";
  if (/^[\x21-\x7e]+$/.test(key)) wakeUp();
  else askForKey(true);  // no header can carry it
});

follow();
