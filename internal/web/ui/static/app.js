// The page: what is picked, what is asked of the exporter and when, and what is
// shown of its answers.
import * as api from "./api.js";
import { theme } from "./colours.js";
import { bytes, count, duration, plural } from "./format.js";
import { Heat } from "./heat.js";
import { List, describe } from "./list.js";
import { HeatMap, strip } from "./map.js";
import { Crosshair } from "./crosshair.js";
import { keys } from "./keys.js";
import { legend, overlays } from "./overlays.js";
import { read, write } from "./link.js";

const $ = (id) => document.getElementById(id);
const LIMIT = 200;
const MAX_ROWS = 4096;

const state = { ...read(location.hash), search: "", sort: "cold", paused: false, missed: 0, connection: "connecting", gone: false };
let data = null;
let source = { source: "", granularity: "" };
let listing = [];
let look = theme();
let rows = 0; // asked for last

const map = new HeatMap($("map"), $("gutter"), $("axis"));
const list = new List($("processes"), pick);
const cross = new Crosshair(map, () => data, zoom);

// Requests: a newer one ends an older one of its kind.
const under = {};
async function ask(kind, request) {
  under[kind]?.abort();
  const controller = (under[kind] = new AbortController());
  try {
    return await request(controller.signal);
  } finally {
    if (under[kind] === controller) delete under[kind];
  }
}

async function loadProcesses() {
  let answer;
  try {
    answer = await ask("processes", (signal) => api.processes({ search: state.search, sort: state.sort, limit: LIMIT }, signal));
  } catch (e) {
    if (e.name === "AbortError") return;
    listNote(`The processes could not be read. ${sentence(e.message)}`);
    if (!data) empty("No data", sentence(e.message));
    return;
  }
  source = answer;
  const processes = answer.processes ?? [];
  listing = processes;
  $("source").textContent = answer.source ? `source ${answer.source}` : "";
  $("count").textContent = processes.length < answer.total ? `${count(processes.length)} of ${count(answer.total)}` : count(answer.total);
  list.show(processes, state.pid);
  listNote(
    processes.length === 0 ? (state.search ? `No process has “${state.search}” in its name, pid or memcg.` : "No process yet.")
    : processes.length < answer.total ? "The rest is left out: search to find it."
    : "",
  );
  if (state.pid === null) nothingPicked(processes);
  // It was merged with others for a while, or has moved to another memcg.
  else if (state.gone && processes.some((p) => p.pid === state.pid)) loadHeatmap();
  showAge();
}

function listNote(text) {
  $("list-note").textContent = text;
  $("list-note").hidden = text === "";
}

function nothingPicked(processes) {
  if (source.granularity === "mapping") empty("This source has no heatmap", mappingOnly());
  else if (source.source === "none") empty("No usable source", "The exporter can measure nothing on this machine, and looks again every minute. Its /-/ready says why, and what would repair it.");
  else if (processes.length > 0) empty("Pick a process", "Its memory is drawn by address and time.");
  else if (state.search) empty("No process matches", "Nothing in the list has what you search for in its name, pid or memcg.");
  else empty("No process yet", "A process is listed once its first window has ended, if the configuration watches its memcg and gives it series of its own.");
}

const mappingOnly = () => `The source ${source.source} reads whole mappings, not pages, so there is nothing to draw by address. The sources hooks and stock have heatmaps, and so has replay of their recordings.`;

async function loadHeatmap() {
  const pid = state.pid;
  if (pid === null) return;
  if (!data) {
    // Shown before it is measured, with all that takes room.
    heading(listing.find((p) => p.pid === pid) ?? { pid });
    show("view");
  }
  map.resize();
  rows = Math.min(map.canvas.height, MAX_ROWS);
  const params = { rows, windows: state.windows };
  if (state.view) Object.assign(params, state.view);
  performance.mark("heatmap-asked");
  $("view").setAttribute("aria-busy", String(data === null));
  let answer;
  try {
    answer = await ask("heatmap", (signal) => api.heatmap(pid, params, signal));
  } catch (e) {
    if (e.name !== "AbortError") failed(e);
    return;
  }
  if (state.pid !== pid) return;
  // While paused, a zoom asks for finer rows, but of the windows that are shown.
  const until = state.paused ? (data?.newest ?? state.pausedAt) : undefined;
  const old = data;
  data = new Heat(answer, until);
  state.gone = false;
  notice("");
  if (data.rows.length === 0 && state.view) {
    // A link to positions that there are no more.
    state.view = null;
    link();
    return loadHeatmap();
  }
  if (data.columns.length === 0 || data.rows.length === 0) {
    data = null;
    empty(`No heatmap of process ${pid}`, "No window of it is kept that has ended before the pause.");
    return;
  }
  $("view").setAttribute("aria-busy", "false");
  show("view");
  cross.keep(old);
  draw();
  performance.measure("heatmap", "heatmap-asked");
}

function failed(problem) {
  const exited = problem.status === 404;
  state.gone = exited;
  if (data) {
    const { comm, pid } = data.process;
    notice(`${exited ? `This is the last that was seen of ${comm} (pid ${pid}).` : "The map is not up to date."} ${sentence(problem.message)}`);
  } else if (source.granularity === "mapping") empty("This source has no heatmap", mappingOnly());
  else empty(exited ? `No heatmap of process ${state.pid}` : "No data", sentence(problem.message));
}

// sentence is what the exporter says, which has small letters and no full stop.
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? "" : ".");

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = text === "";
}

function empty(title, text) {
  $("empty-title").textContent = title;
  $("empty-text").textContent = text;
  show("empty");
}

function show(what) {
  $("empty").hidden = what !== "empty";
  $("view").hidden = what !== "view";
  $("side").hidden = what !== "view";
}

function draw() {
  if (!data || $("view").hidden) return;
  performance.mark("draw-begun");
  const view = state.view ?? { from: 0, to: data.regions };
  const overlay = overlays[state.overlay];
  map.resize();
  map.draw(data, view, overlay, look);
  const [first, end] = data.rowsIn(view.from, view.to);
  const sums = data.columns.map((_, c) => data.totals(c, first, end));
  const full = strip($("strip"), sums, map.ratio, look);
  $("strip-top").textContent = bytes(full);
  const { process } = data;
  const last = sums.at(-1);
  const latest = { resident_bytes: last.hot + last.warm + last.cold + last.unobserved, hot_bytes: last.hot, warm_bytes: last.warm, cold_bytes: last.cold, unobserved_bytes: last.unobserved };
  $("strip").setAttribute("aria-label", `Bytes over time; in the newest window ${describe(latest)}`);
  map.canvas.setAttribute("aria-label", `${overlay.name} of ${process.comm}, pid ${process.pid}: ${plural(data.columns.length, "window", "windows")} until ${new Date(data.newest).toISOString()}, ${plural(end - first, "row", "rows")}`);
  heading(process);
  legend($("legend"), $("legend-title"), overlay, data, look, last);
  const zoomed = state.view !== null;
  $("range").textContent = zoomed ? `regions ${count(Math.floor(view.from))}–${count(Math.ceil(view.to))} of ${count(data.regions)}` : plural(data.regions, "region", "regions");
  $("zoom-reset").disabled = $("zoom-out").disabled = !zoomed;
  for (const input of $("overlays").querySelectorAll("input")) input.checked = input.value === state.overlay;
  $("windows").value = String(state.windows);
  cross.place();
  showAge();
  performance.measure("draw", "draw-begun");
}

function heading(process) {
  // What is not known yet takes as much room.
  $("comm").textContent = process.comm ?? "\u00a0";
  $("pid").textContent = `pid ${process.pid}`;
  $("memcg").textContent = process.memcg ?? "";
  const terms = [];
  for (const c of ["resident", "hot", "warm", "cold", "unobserved", "swapped"]) {
    const group = document.createElement("div");
    const dt = document.createElement("dt");
    const dd = document.createElement("dd");
    const swatch = document.createElement("i");
    swatch.className = c;
    dt.append(swatch, c);
    const value = process[`${c}_bytes`];
    dd.textContent = value === undefined ? "–" : bytes(value);
    group.append(dt, dd);
    terms.push(group);
  }
  $("totals").replaceChildren(...terms);
}

function link() {
  const hash = write(state);
  if (hash !== location.hash) history.replaceState(null, "", hash || location.pathname);
}

function pick(pid) {
  if (pid === state.pid && data && !state.gone) return;
  Object.assign(state, { pid, view: null, gone: false });
  data = null;
  cross.clear();
  // An entry of its own, so that "back" goes to the process before.
  history.pushState(null, "", write(state));
  list.mark(pid);
  notice("");
  loadHeatmap();
}

// zoom shows [from, to), stretching what is here until finer rows arrive.
let later;
function zoom(from, to) {
  if (!data) return;
  const span = Math.min(data.regions, Math.max(2, Math.round(to - from)));
  from = Math.round(Math.max(0, Math.min(from, data.regions - span)));
  const view = span === data.regions ? null : { from, to: from + span };
  if (view?.from === state.view?.from && view?.to === state.view?.to) return;
  state.view = view;
  draw();
  link();
  clearTimeout(later);
  later = setTimeout(loadHeatmap, 150);
}

function overlay(name) {
  state.overlay = name;
  link();
  draw();
}

function pause() {
  state.paused = !state.paused;
  state.pausedAt = api.now();
  $("pause").setAttribute("aria-pressed", String(state.paused));
  $("pause").firstElementChild.textContent = state.paused ? "Resume" : "Pause";
  if (!state.paused) refresh();
  showStatus();
}

function refresh() {
  state.missed = 0;
  loadProcesses();
  loadHeatmap();
}

// Windows of many memcgs may end together: they are one update.
const queued = { memcgs: new Set(), timer: 0 };
function windowEnded(event) {
  if (state.paused) {
    if (!data || event.memcg === data.process.memcg) state.missed++;
    showStatus();
    return;
  }
  queued.memcgs.add(event.memcg);
  queued.timer ||= setTimeout(() => {
    queued.timer = 0;
    const mine = !data || queued.memcgs.has(data.process.memcg) || queued.memcgs.has(undefined);
    queued.memcgs.clear();
    if (state.paused) return;
    loadProcesses();
    if (mine && !state.gone) loadHeatmap();
  }, 250);
}

function connection(now) {
  const again = state.connection === "disconnected" && now === "live";
  state.connection = now;
  showStatus();
  if (again && !state.paused) refresh();
}

function showStatus() {
  const shown = state.connection === "live" && state.paused ? "paused" : state.connection;
  $("status").dataset.state = shown;
  const missed = state.paused && state.missed ? `, ${plural(state.missed, "new window", "new windows")}` : "";
  const text = { connecting: "Connecting", live: "Live", paused: `Paused${missed}`, disconnected: state.paused ? "Paused, disconnected" : "Disconnected, trying again" }[shown];
  // Said aloud when it changes, and only then.
  if ($("status-text").textContent !== text) $("status-text").textContent = text;
}

function showAge() {
  const end = data?.newest ?? Math.max(0, ...listing.map((p) => Date.parse(p.window_end)));
  const age = api.now() - end;
  $("age").textContent = end ? `data ${duration(age / 1000)} old` : "";
  // Windows come when they are due: four of them missed are more than a delay.
  const columns = data?.columns ?? [];
  const due = columns.length > 1 ? columns.at(-1).time - columns.at(-2).time : Infinity;
  $("age").classList.toggle("stale", age > 4 * due);
}

function start() {
  for (const [index, [name, { name: text }]] of Object.entries(overlays).entries()) {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "overlay", value: name, checked: name === state.overlay });
    const key = document.createElement("kbd");
    key.textContent = String(index + 1);
    key.setAttribute("aria-hidden", "true");
    const word = document.createElement("span");
    word.textContent = text;
    label.append(input, word, key);
    $("overlays").append(label);
  }
  $("overlays").addEventListener("change", (e) => overlay(e.target.value));
  $("windows").value = String(state.windows);
  $("windows").addEventListener("change", (e) => {
    state.windows = Number(e.target.value);
    link();
    loadHeatmap();
  });
  let typing;
  $("search").addEventListener("input", (e) => {
    state.search = e.target.value.trim();
    clearTimeout(typing);
    typing = setTimeout(loadProcesses, 150);
  });
  $("sort").addEventListener("change", (e) => {
    state.sort = e.target.value;
    loadProcesses();
  });
  $("pause").addEventListener("click", pause);
  $("help-open").addEventListener("click", () => $("help").showModal());
  $("zoom-in").addEventListener("click", () => cross.scale(0.5));
  $("zoom-out").addEventListener("click", () => cross.scale(2));
  $("zoom-reset").addEventListener("click", () => data && zoom(0, data.regions));
  keys({ overlay: (n) => overlay(Object.keys(overlays)[n]), pause, reset: () => data && zoom(0, data.regions), cross, list });
  addEventListener("popstate", () => {
    const before = state.pid;
    Object.assign(state, read(location.hash));
    if (state.pid !== before) {
      data = null;
      state.gone = false;
      cross.clear();
      notice("");
    }
    list.mark(state.pid);
    if (state.pid === null) loadProcesses();
    else loadHeatmap();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    look = theme();
    draw();
  });
  let resized;
  new ResizeObserver(() => {
    if (!data || !map.resize()) return;
    draw();
    clearTimeout(resized);
    if (Math.abs(Math.min(map.canvas.height, MAX_ROWS) - rows) > rows / 8) resized = setTimeout(loadHeatmap, 300);
  }).observe(map.canvas);
  setInterval(showAge, 1000);
  loadProcesses().then(loadHeatmap);
  api.events(windowEnded, connection);
}

start();
