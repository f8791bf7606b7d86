// Live figures: a tile each, some with their last two minutes as a line.

const KEPT = 120;  // points of a line, about one a second
const SVG = "http://www.w3.org/2000/svg";
const NONE = "–";

const given = (value) => value !== null && value !== undefined;
const whole = (value) => (!given(value) ? NONE : Math.round(value).toLocaleString("en"));
const percent = (value) => (!given(value) ? NONE
  : `${(100 * value).toFixed(value > 0 && value < 0.1 ? 1 : 0)} %`);
const time = (value) => (!given(value) ? NONE
  : value < 1 ? `${Math.round(1000 * value)} ms` : `${value.toFixed(value < 10 ? 2 : 1)} s`);

class Tile {
  constructor(list, name, line) {
    const box = document.createElement("div");
    const title = document.createElement("dt");
    title.textContent = name;
    this.value = document.createElement("dd");
    this.value.className = "value";
    this.note = document.createElement("dd");
    this.note.className = "note";
    box.append(title, this.value, this.note);
    if (line) {
      const picture = document.createElementNS(SVG, "svg");
      picture.setAttribute("viewBox", `0 0 ${KEPT - 1} 100`);
      picture.setAttribute("preserveAspectRatio", "none");
      picture.setAttribute("aria-hidden", "true");
      const ground = document.createElementNS(SVG, "line");
      for (const [name, value] of Object.entries({ x1: 0, x2: KEPT - 1, y1: 98, y2: 98 })) ground.setAttribute(name, value);
      this.line = document.createElementNS(SVG, "polyline");
      this.points = [];
      picture.append(ground, this.line);
      box.append(picture);
    }
    list.append(box);
  }

  draw(value, note, point) {
    if (this.value.textContent !== value) this.value.textContent = value;
    if (this.note.textContent !== note) this.note.textContent = note;
    if (!this.line) return;
    this.points.push(point ?? 0);
    if (this.points.length > KEPT) this.points.shift();
    const top = Math.max(...this.points, 1);
    const from = KEPT - this.points.length;
    this.line.setAttribute("points", this.points.map((y, x) => `${from + x},${96 - 92 * (y / top)}`).join(" "));
  }
}

export class Figures {
  constructor(list) {
    this.running = new Tile(list, "Requests in flight", true);
    this.speed = new Tile(list, "Tokens a second", true);
    this.cache = new Tile(list, "KV cache in use", true);
    this.first = new Tile(list, "Time to first token");
    this.waiting = new Tile(list, "Waiting for room");
    this.done = new Tile(list, "Requests so far");
  }

  /** told: the worker's state, see front/http/page/view.py. */
  draw({ figures, engine }) {
    this.running.draw(whole(figures.in_flight), figures.limit ? `of at most ${whole(figures.limit)}` : "",
      figures.in_flight);
    this.speed.draw(whole(figures.tokens_per_second), "over the last 10 s", figures.tokens_per_second);
    this.first.draw(time(figures.ttft_p50), given(figures.ttft_p95) ? `median; p95 ${time(figures.ttft_p95)}`
      : "of the last minute's streams");
    this.waiting.draw(whole(figures.waiting), engine?.waiting ? `${whole(engine.waiting)} more in the engine`
      : "for a place among those in flight");
    this.cache.draw(percent(engine?.kv_used), engine?.kv_tokens ? `of ${whole(engine.kv_tokens)} tokens` : "",
      100 * (engine?.kv_used ?? 0));
    this.done.draw(whole(figures.requests), figures.errors ? `${whole(figures.errors)} failed` : "none failed");
  }
}
