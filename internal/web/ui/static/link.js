// What a link to this page carries after its #, read as the foreign text it is.
import { overlays } from "./overlays.js";

const MOST = 2 ** 31 - 1;

const whole = (text, least, most) => {
  if (!/^\d{1,12}$/.test(text ?? "")) return null;
  const n = Number(text);
  return n >= least && n <= most ? n : null;
};

export function read(hash) {
  const p = new URLSearchParams(hash.slice(1));
  const from = whole(p.get("from"), 0, MOST - 1);
  const to = whole(p.get("to"), 1, MOST);
  const windows = whole(p.get("windows"), 1, 240);
  return {
    pid: whole(p.get("pid"), 1, MOST),
    overlay: Object.hasOwn(overlays, p.get("overlay") ?? "") ? p.get("overlay") : "heat",
    windows: [30, 60, 120, 240].includes(windows) ? windows : 60,
    view: from !== null && to !== null && from < to ? { from, to } : null,
  };
}

export function write({ pid, overlay, windows, view }) {
  if (pid === null) return "";
  const p = new URLSearchParams({ pid, overlay, windows });
  if (view) {
    p.set("from", view.from);
    p.set("to", view.to);
  }
  return `#${p}`;
}
