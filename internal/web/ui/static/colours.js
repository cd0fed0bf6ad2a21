// Colours of the canvases: two scales whose lightness only rises or only falls,
// so that they can be told apart without hue, and Okabe and Ito's palette for
// what has no order.

// pack makes a pixel of an ImageData seen as 32-bit words; all browsers that
// still run are little-endian.
const pack = (r, g, b) => (0xff000000 | (b << 16) | (g << 8) | r) >>> 0;

export function packed(hex) {
  const n = parseInt(hex.trim().slice(1), 16);
  return pack(n >> 16, (n >> 8) & 255, n & 255);
}

export const css = (pixel) => `#${[pixel & 255, (pixel >> 8) & 255, (pixel >> 16) & 255].map((v) => v.toString(16).padStart(2, "0")).join("")}`;

// scale spreads stops over 256 colours.
function scale(...stops) {
  const rgb = stops.map((s) => [1, 3, 5].map((i) => parseInt(s.slice(i, i + 2), 16)));
  return Uint32Array.from({ length: 256 }, (_, i) => {
    const at = (i / 255) * (rgb.length - 1);
    const k = Math.min(Math.floor(at), rgb.length - 2);
    return pack(...rgb[k].map((v, c) => Math.round(v + (rgb[k + 1][c] - v) * (at - k))));
  });
}

export const heatScale = scale("#223b80", "#57409f", "#8f3f9b", "#c24482", "#e35f58", "#f58a3c", "#fdb545", "#fde36a");
export const idleScale = scale("#f4e34a", "#8fd34d", "#2fb47c", "#21918c", "#2f6c8e", "#41478a", "#46236b");

export const nodeColours = ["#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#0072b2"].map(packed);
export const typeColours = { anon: packed("#cc79a7"), file: packed("#009e73"), shmem: packed("#56b4e9") };

// theme reads what depends on light or dark from the style sheet.
export function theme() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return {
    hatch: [packed(read("--hatch-a")), packed(read("--hatch-b"))],
    unknown: packed(read("--unknown")),
    hot: read("--hot"),
    warm: read("--warm"),
    cold: read("--cold"),
    border: read("--map-border"),
  };
}

// hatched returns a fill style of diagonal stripes, as the map has them.
export function hatched(context, colours, period) {
  const tile = new OffscreenCanvas(period, period);
  const image = new ImageData(period, period);
  const pixels = new Uint32Array(image.data.buffer);
  for (let y = 0; y < period; y++) {
    for (let x = 0; x < period; x++) pixels[y * period + x] = colours[(x + y) % period < period / 2 ? 0 : 1];
  }
  tile.getContext("2d").putImageData(image, 0, 0);
  return context.createPattern(tile, "repeat");
}
