// The crosshair, moved by pointer or keys, and zoom, by drag, wheel or keys.
import { readout, spoken } from "./readout.js";

const $ = (id) => document.getElementById(id);

export class Crosshair {
  // heat returns what is drawn, or null; zoom(from, to) shows other positions.
  constructor(map, heat, zoom) {
    this.map = map;
    this.heat = heat;
    this.zoom = zoom;
    this.at = null;
    this.from = null;
    const c = map.canvas;
    c.addEventListener("pointermove", (e) => this.move(e));
    c.addEventListener("pointerdown", (e) => this.down(e));
    c.addEventListener("pointerup", (e) => this.up(e));
    c.addEventListener("pointercancel", () => this.band(null));
    c.addEventListener("pointerleave", () => {
      if (document.activeElement !== c) this.clear();
    });
    c.addEventListener("wheel", (e) => this.wheel(e), { passive: false });
    c.addEventListener("keydown", (e) => this.key(e));
    // By tab or a key: a crosshair to begin with; a click has its own.
    c.addEventListener("focus", () => {
      if (!this.at && this.heat() && c.matches(":focus-visible")) this.begin();
    });
    readout($("readout"), null, null);
  }

  get view() {
    return this.map.view;
  }

  begin() {
    const data = this.heat();
    const [first, end] = data.rowsIn(this.view.from, this.view.to);
    this.set({ row: Math.floor((first + end - 1) / 2), column: data.columns.length - 1 }, true);
  }

  clear() {
    this.at = null;
    this.place();
  }

  // set puts the crosshair on a cell; aloud says it to screen readers.
  set(at, aloud) {
    this.at = at;
    this.place();
    if (!aloud) return;
    // One that keeps a key pressed wants to hear where it ends.
    clearTimeout(this.saying);
    this.saying = setTimeout(() => {
      const data = this.heat();
      if (data && this.at) $("live").textContent = spoken(data, this.at);
    }, 200);
  }

  // keep finds the cell of the same memory and time in new data.
  keep(old) {
    const data = this.heat();
    if (!this.at || !old) return;
    const { time } = old.columns[this.at.column];
    const column = data.columns.findIndex((c) => c.time === time);
    const row = data.rowAt(old.rows[this.at.row].position);
    this.at = row >= 0 && column >= 0 ? { row, column } : null;
  }

  place() {
    const data = this.heat();
    const at = data && this.at;
    const row = at && data.rows[at.row];
    // Zoom may have left it behind.
    const shown = row && row.position < this.view.to && row.position + row.regions > this.view.from;
    if (shown) {
      const { clientWidth: width, clientHeight: height } = this.map.canvas;
      const top = Math.max(0, this.map.y(row.position + row.regions)) * height;
      const bottom = Math.min(1, this.map.y(row.position)) * height;
      const left = (at.column / data.columns.length) * width;
      const wide = width / data.columns.length;
      box($("cross-x"), 0, top, width, bottom - top);
      box($("cross-y"), left, 0, wide, height);
      box($("cell"), left, top, wide, bottom - top);
    }
    for (const id of ["cross-x", "cross-y", "cell"]) $(id).hidden = !shown;
    readout($("readout"), data, shown ? at : null);
  }

  // point returns where a pointer is, from 0 to 1 in both directions.
  point(e) {
    const r = this.map.canvas.getBoundingClientRect();
    const clamp = (v) => Math.max(0, Math.min(1 - 1e-9, v));
    return { x: clamp((e.clientX - r.left) / r.width), y: clamp((e.clientY - r.top) / r.height) };
  }

  move(e) {
    const data = this.heat();
    if (!data) return;
    const { x, y } = this.point(e);
    const row = data.rowAt(Math.floor(this.map.position(y)));
    if (row >= 0) this.set({ row, column: Math.floor(x * data.columns.length) }, false);
    if (this.from !== null && e.pointerType !== "touch") this.band(y);
  }

  down(e) {
    if (e.button !== 0 || !this.heat()) return;
    this.move(e);
    if (e.pointerType === "touch") return;
    this.map.canvas.setPointerCapture(e.pointerId);
    this.from = this.point(e).y;
  }

  up(e) {
    const from = this.from;
    this.band(null);
    if (from === null || !this.heat()) return;
    const { y } = this.point(e);
    if (Math.abs(y - from) * this.map.canvas.clientHeight < 4) return;
    this.zoom(this.map.position(Math.max(y, from)), this.map.position(Math.min(y, from)));
  }

  // band shows what a drag has covered, up to y; null ends it.
  band(y) {
    const height = this.map.canvas.clientHeight;
    const on = y !== null && Math.abs(y - this.from) * height >= 4;
    if (on) box($("band"), 0, Math.min(y, this.from) * height, this.map.canvas.clientWidth, Math.abs(y - this.from) * height);
    $("band").hidden = !on;
    if (y === null) this.from = null;
  }

  wheel(e) {
    const data = this.heat();
    if (!data || e.ctrlKey) return;
    const { from, to } = this.view;
    const delta = e.deltaY || e.deltaX;
    const whole = to - from >= data.regions;
    // Where there is nothing to zoom out of or to move in, the page scrolls.
    if (whole && (delta > 0 || e.shiftKey)) return;
    e.preventDefault();
    if (e.shiftKey) this.shift(-Math.sign(delta) * 0.1);
    else this.scale(Math.exp(Math.max(-0.4, Math.min(0.4, delta / 300))), this.map.position(this.point(e).y));
  }

  // scale makes the range shown larger or smaller around a position, by default
  // the crosshair's.
  scale(factor, around) {
    const data = this.heat();
    if (!data) return;
    const { from, to } = this.view;
    const row = this.at && data.rows[this.at.row];
    const fixed = around ?? (row ? row.position + row.regions / 2 : (from + to) / 2);
    this.zoom(fixed - (fixed - from) * factor, fixed + (to - fixed) * factor);
  }

  // shift moves the range by a share of itself, up where it is positive.
  shift(share) {
    const { from, to } = this.view;
    const by = Math.sign(share) * Math.max(1, Math.round((to - from) * Math.abs(share)));
    this.zoom(from + by, to + by);
  }

  key(e) {
    const data = this.heat();
    if (!data || e.ctrlKey || e.altKey || e.metaKey) return;
    if (e.key === "PageUp" || e.key === "PageDown") {
      e.preventDefault();
      this.shift(e.key === "PageUp" ? 0.9 : -0.9);
      return;
    }
    const last = data.columns.length - 1;
    const step = e.shiftKey ? 10 : 1;
    const by = { ArrowUp: [step, 0], ArrowDown: [-step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step], Home: [0, -last], End: [0, last] }[e.key];
    if (!by) return;
    e.preventDefault();
    if (!this.at) {
      this.begin();
      return;
    }
    const [first, end] = data.rowsIn(this.view.from, this.view.to);
    const row = Math.max(first, Math.min(end - 1, this.at.row + by[0]));
    const column = Math.max(0, Math.min(last, this.at.column + by[1]));
    this.set({ row, column }, true);
  }
}

function box(element, left, top, width, height) {
  Object.assign(element.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${Math.max(1, height)}px` });
}
