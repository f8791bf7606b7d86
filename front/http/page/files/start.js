// The start as a waterfall: one row a phase, time from left to right.

const seconds = (value) => `${value.toFixed(value < 9.95 ? 1 : 0)} s`;

function row() {
  const item = document.createElement("li");
  const [name, track, bar, time] = ["span", "div", "div", "span"].map((tag) => document.createElement(tag));
  name.className = "name";
  track.className = "track";
  bar.className = "bar";
  time.className = "seconds";
  track.append(bar);
  item.append(name, track, time);
  return item;
}

/** list: an <ol>; total: where the whole time stands; start: {total_s, phases: [{name, start_s, end_s?, meanwhile?}]},
    a phase without an end still runs. */
export function drawStart(list, total, start, state) {
  const span = Math.max(start.total_s, 0.001);
  while (list.children.length < start.phases.length) list.append(row());
  while (list.children.length > start.phases.length) list.lastChild.remove();
  start.phases.forEach((phase, index) => {
    const item = list.children[index];
    const [name, track, time] = item.children;
    const runs = phase.end_s === undefined;
    const end = runs ? start.total_s : phase.end_s;
    item.className = [phase.meanwhile ? "beside" : "", runs ? "runs" : ""].join(" ").trim();
    if (name.textContent !== phase.name) name.textContent = phase.name;
    const text = seconds(Math.max(0, end - phase.start_s)) + (runs ? " …" : "");
    if (time.textContent !== text) time.textContent = text;
    track.firstChild.style.left = `${Math.max(0, Math.min(100, 100 * phase.start_s / span))}%`;
    track.firstChild.style.width = `${Math.max(0, Math.min(100, 100 * (end - phase.start_s) / span))}%`;
  });
  const words = state === "ready" ? "ready after" : "so far";
  const text = state === "ready" ? `${words} ${seconds(start.total_s)}` : `${seconds(start.total_s)} ${words}`;
  if (total.textContent !== text) total.textContent = text;
}
