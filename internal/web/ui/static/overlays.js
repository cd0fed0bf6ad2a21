// The four overlays: what colour a cell has, and what the legend says of it.
import { heatScale, idleScale, nodeColours, typeColours } from "./colours.js";
import { bytes, duration, plural } from "./format.js";
import { heat } from "./heat.js";

// Little heat is still some: the colours begin a step away from that of none, and
// the square root gives the low end, where most memory is, most of the colours.
const heatColour = (ratio) => heatScale[ratio === 0 ? 0 : 22 + Math.round(Math.sqrt(ratio) * 233)];

const ceilings = [600, 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400];
const idleAt = (seconds, ceiling) => Math.min(1, Math.log1p(seconds / 15) / Math.log1p(ceiling / 15));

function idleCeiling(data) {
  let most = 0;
  for (const c of data.columns) {
    for (let i = 0; i < data.rows.length; i++) if (c.pages[i] > 0 && c.idle_seconds[i] > most) most = c.idle_seconds[i];
  }
  return ceilings.find((s) => s >= most) ?? ceilings.at(-1);
}

// nodeColour repeats, darker, after the palette's end.
function nodeColour(node, theme) {
  if (node < 0) return theme.unknown;
  const colour = nodeColours[node % nodeColours.length];
  if (node < nodeColours.length) return colour;
  return (0xff000000 | ((colour >> 1) & 0x7f7f7f)) >>> 0;
}

function typeColour(c, i) {
  const anon = c.anon[i];
  const shmem = c.shmem[i];
  const file = c.pages[i] - anon - shmem;
  if (anon >= file && anon >= shmem) return typeColours.anon;
  return file >= shmem ? typeColours.file : typeColours.shmem;
}

// Each overlay has painter(data, theme), which returns a function from a column
// and a row's index to a colour, and legend(data, theme, totals), totals being
// those of the newest window in view. Those that are measured do not hold where
// a page is unobserved; node and type are read from residency, and do.
export const overlays = {
  heat: {
    name: "Heat",
    title: "Heat: accesses ÷ (passes × pages)",
    measured: true,
    painter: () => (c, i) => heatColour(heat(c, i)),
    legend: () => ({
      scale: Array.from({ length: 256 }, (_, i) => heatColour(Math.max(1e-9, (i / 255) ** 2))),
      ticks: [[0, "> 0"], [0.05, "5 %"], [0.25, "25 %"], [0.5, "50 %"], [1, "100 %"]].map(([r, label]) => [Math.sqrt(r), label]),
      keys: [[heatColour(0), "0: nothing accessed", null]],
    }),
  },
  node: {
    name: "Node",
    title: "NUMA node of most pages",
    measured: false,
    painter: (data, theme) => (c, i) => nodeColour(c.node[i], theme),
    legend: (data, theme, totals) => {
      const nodes = [...new Set([...data.nodes, ...totals.nodes.keys()])].sort((a, b) => a - b).filter((n) => n >= 0);
      const keys = nodes.map((n) => [nodeColour(n, theme), `Node ${n}`, totals.nodes.get(n) ?? 0]);
      return { keys: totals.nodes.has(-1) ? [...keys, [theme.unknown, "Not known", totals.nodes.get(-1)]] : keys };
    },
  },
  type: {
    name: "Type",
    title: "Type of most pages",
    measured: false,
    painter: () => typeColour,
    legend: (data, theme, totals) => ({ keys: Object.entries(typeColours).map(([type, colour]) => [colour, type, totals[type]]) }),
  },
  idle: {
    name: "Idle age",
    title: "Idle for at least",
    measured: true,
    painter: (data) => {
      const ceiling = idleCeiling(data);
      return (c, i) => idleScale[Math.round(idleAt(c.idle_seconds[i], ceiling) * 255)];
    },
    legend: (data) => {
      const ceiling = idleCeiling(data);
      const marks = [0, 60, 600, 3600, 6 * 3600, 86400, 7 * 86400].filter((s) => s < ceiling * 0.6);
      return {
        scale: Array.from(idleScale),
        ticks: [...marks, ceiling].map((s) => [idleAt(s, ceiling), s === ceiling ? `≥ ${short(s)}` : short(s)]),
        keys: [],
      };
    },
  },
};

const short = (s) => (s === 0 ? "0" : duration(s));

// legend shows what the colours mean in an element.
export function legend(element, title, overlay, data, theme, totals) {
  title.textContent = overlay.title;
  const { scale, ticks, keys } = overlay.legend(data, theme, totals);
  const parts = [];
  if (scale) parts.push(ramp(scale, ticks));
  const list = document.createElement("ul");
  for (const [colour, label, value] of keys) list.append(key(colour, label, value));
  if (overlay.measured) list.append(key("unobserved", "Unobserved", totals.unobserved));
  list.append(key("absent", "Not resident", null));
  parts.push(list);
  const note = document.createElement("p");
  note.className = "muted";
  note.textContent = `Bytes are of the newest window; ${plural(data.regions, "region", "regions")} in ${plural(data.rows.length, "row", "rows")} shown.`;
  if (keys.some((k) => k[2] !== null) || overlay.measured) parts.push(note);
  element.replaceChildren(...parts);
}

function key(colour, label, value) {
  const item = document.createElement("li");
  const swatch = document.createElement("i");
  if (typeof colour === "string") swatch.className = colour;
  else swatch.style.backgroundColor = `rgb(${colour & 255} ${(colour >> 8) & 255} ${(colour >> 16) & 255})`;
  const name = document.createElement("span");
  name.textContent = label;
  item.append(swatch, name);
  if (value !== null) {
    const number = document.createElement("b");
    number.textContent = bytes(value);
    item.append(number);
  }
  return item;
}

// ramp draws a scale with its ticks, [place from 0 to 1, label] each.
function ramp(scale, ticks) {
  const box = document.createElement("div");
  box.className = "ramp";
  const canvas = document.createElement("canvas");
  canvas.width = scale.length;
  canvas.height = 1;
  const image = new ImageData(scale.length, 1);
  new Uint32Array(image.data.buffer).set(scale);
  canvas.getContext("2d").putImageData(image, 0, 0);
  box.append(canvas);
  for (const [at, label] of ticks) {
    const tick = document.createElement("span");
    tick.textContent = label;
    tick.style.left = `${at * 100}%`;
    if (at === 0) tick.className = "first";
    if (at === 1) tick.className = "last";
    box.append(tick);
  }
  return box;
}
