// The picture: a canvas with a column a window and a row a region or more, low
// addresses at the bottom, and the names of mappings beside it.
import { hatched } from "./colours.js";
import { clock, day, tail } from "./format.js";

// STRIPE is the period of the hatching and LABEL the height of a name, in CSS
// pixels; more device pixels to one of those than FINEST cost memory that no eye
// sees; TILE is how many lines are drawn at a time.
const STRIPE = 8;
const LABEL = 15;
const FINEST = 2;
const TILE = 128;

// edges returns the device pixels where n columns begin in a width, and its end.
export const edges = (n, width) => Int32Array.from({ length: n + 1 }, (_, i) => Math.round((i * width) / n));

export class HeatMap {
  constructor(canvas, gutter, axis) {
    this.canvas = canvas;
    this.gutter = gutter;
    this.axis = axis;
    this.ratio = 1;
  }

  // resize takes the size on the screen; it returns whether it changed.
  resize() {
    const ratio = Math.min(window.devicePixelRatio || 1, FINEST);
    const width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (width === this.canvas.width && height === this.canvas.height && ratio === this.ratio) return false;
    this.ratio = ratio;
    this.canvas.width = width;
    this.canvas.height = height;
    return true;
  }

  // position is what is at a height, as a fraction of the canvas's from the top.
  position(y) {
    return this.view.to - y * (this.view.to - this.view.from);
  }

  // y is where a position is, in the same fraction.
  y(position) {
    return (this.view.to - position) / (this.view.to - this.view.from);
  }

  draw(data, view, overlay, theme) {
    this.data = data;
    this.view = view;
    const context = this.canvas.getContext("2d");
    const { width, height } = this.canvas;
    context.clearRect(0, 0, width, height);
    if (data.columns.length > 0 && data.rows.length > 0) {
      this.paint(context, width, height, overlay, theme);
    }
    this.label(context, theme);
    this.ticks();
  }

  paint(context, width, height, overlay, theme) {
    const { data } = this;
    const rowOf = new Int32Array(height);
    for (let y = 0; y < height; y++) rowOf[y] = data.rowAt(Math.floor(this.position((y + 0.5) / height)));
    const period = Math.round(STRIPE * this.ratio);
    const cells = colour(data, overlay.painter(data, theme), overlay.measured, period);
    const x = edges(data.columns.length, width);
    const image = new ImageData(width, Math.min(TILE, height));
    const pixels = new Uint32Array(image.data.buffer);
    const half = period / 2;
    // In tiles, so that a large screen does not take a large copy of itself.
    for (let top = 0; top < height; top += TILE) {
      const end = Math.min(top + TILE, height);
      for (let y = top; y < end; y++) {
        const line = (y - top) * width;
        const row = rowOf[y];
        if (row < 0) {
          pixels.fill(0, line, line + width);
          continue;
        }
        for (let c = 0, i = row; c + 1 < x.length; c++, i += data.rows.length) {
          pixels.fill(cells.colours[i], line + x[c], line + x[c + 1]);
          const grey = cells.grey[i];
          if (grey === 0) continue;
          for (let at = x[c]; at < x[c + 1]; at++) {
            const phase = (at + y) % period;
            if (phase < grey) pixels[line + at] = theme.hatch[phase < half ? 0 : 1];
          }
        }
      }
      context.putImageData(image, 0, top, 0, 0, width, end - top);
    }
  }

  // label names runs of rows of one mapping, where there is room, and draws
  // their borders.
  label(context, theme) {
    const { data, view } = this;
    const { width, height } = this.canvas;
    const runs = [];
    const [first, end] = data.rowsIn(view.from, view.to);
    for (let i = first; i < end; i++) {
      const row = data.rows[i];
      const last = runs.at(-1);
      if (last?.name === row.mapping) last.to = row.position + row.regions;
      else runs.push({ name: row.mapping, from: row.position, to: row.position + row.regions });
    }
    context.fillStyle = theme.border;
    const thick = Math.max(1, Math.round(this.ratio));
    for (const run of runs) {
      run.bottom = Math.min(1, this.y(run.from));
      run.top = Math.max(0, this.y(run.to));
      run.middle = ((run.bottom + run.top) / 2) * this.canvas.clientHeight;
      // Borders of runs that are thinner than this would cover the map.
      if (run.from > view.from && (run.bottom - run.top) * height >= 4 * thick) context.fillRect(0, Math.round(run.bottom * height) - thick, width, thick);
    }
    // The largest first: they are what one looks for.
    runs.sort((a, b) => a.top - a.bottom - (b.top - b.bottom));
    const named = [];
    const room = Math.floor(this.canvas.clientHeight / LABEL);
    for (const run of runs) {
      if (named.length === room) break;
      if (named.every((other) => Math.abs(other.middle - run.middle) >= LABEL)) named.push(run);
    }
    this.gutter.replaceChildren(...named.map(name));
  }

  // ticks writes the ends of windows, from the newest back, as many as fit.
  ticks() {
    const { columns } = this.data;
    const width = this.canvas.clientWidth;
    const step = Math.max(1, Math.ceil(84 / (width / Math.max(1, columns.length))));
    const ticks = [];
    let before = "";
    for (let c = (columns.length - 1) % step; c >= 0 && c < columns.length; c += step) {
      const centre = ((c + 0.5) / columns.length) * width;
      const time = new Date(columns[c].time);
      const tick = document.createElement("span");
      tick.textContent = clock(time);
      if (before && before !== day(time)) tick.textContent = day(time);
      before = day(time);
      tick.style.left = `${centre}px`;
      if (centre > width - 34) tick.className = "last";
      if (centre < 34) tick.className = "first";
      ticks.push(tick);
    }
    this.axis.replaceChildren(...ticks);
  }
}

// colour returns for each cell, column after column, its colour and how many
// pixels of each period of the hatching are grey: in proportion to what is
// unobserved. Cells without a resident page are transparent.
function colour(data, painter, measured, period) {
  const n = data.rows.length;
  const colours = new Uint32Array(n * data.columns.length);
  const grey = new Uint8Array(n * data.columns.length);
  data.columns.forEach((c, k) => {
    for (let i = 0, at = k * n; i < n; i++, at++) {
      const pages = c.pages[i];
      if (pages === 0) continue;
      colours[at] = painter(c, i);
      if (measured) grey[at] = Math.round((1 - (c.hot[i] + c.warm[i] + c.cold[i]) / pages) * period);
    }
  });
  return { colours, grey };
}

function name({ name, middle, top, bottom }) {
  const label = document.createElement("span");
  label.textContent = tail(name || "not known");
  label.title = name;
  label.style.top = `${middle}px`;
  const bracket = document.createElement("i");
  bracket.style.top = `${top * 100}%`;
  bracket.style.height = `${(bottom - top) * 100}%`;
  const both = document.createElement("div");
  both.append(label, bracket);
  return both;
}

// strip draws hot, warm, cold and unobserved bytes of each window, from the
// bottom up, over the same columns. It returns what its full height stands for.
export function strip(canvas, sums, ratio, theme) {
  const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  const full = Math.max(1, ...sums.map((s) => s.hot + s.warm + s.cold + s.unobserved));
  const x = edges(sums.length, width);
  const hatch = hatched(context, theme.hatch, Math.round(STRIPE * ratio));
  sums.forEach((sum, c) => {
    let bottom = 0;
    const gap = x[c + 1] - x[c] >= 6 * ratio ? Math.round(ratio) : 0;
    for (const [part, fill] of [["hot", theme.hot], ["warm", theme.warm], ["cold", theme.cold], ["unobserved", hatch]]) {
      const top = bottom + sum[part];
      const from = Math.round(height * (1 - bottom / full));
      const to = Math.round(height * (1 - top / full));
      context.fillStyle = fill;
      context.fillRect(x[c], to, x[c + 1] - x[c] - gap, from - to);
      bottom = top;
    }
  });
  return full;
}
