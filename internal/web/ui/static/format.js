// Numbers and times in words that people read.

export const PAGE = 4096;
export const REGION = 2 << 20;

const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const numbers = new Intl.NumberFormat("en");

// bytes has three digits at most where there is a fraction.
export function bytes(n) {
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024;
    unit++;
  }
  const digits = n >= 100 || unit === 0 ? 0 : n >= 10 ? 1 : 2;
  return `${Number(n.toFixed(digits))} ${units[unit]}`;
}

export const count = (n) => numbers.format(n);

export function percent(ratio) {
  const n = ratio * 100;
  return `${n === 0 || n >= 10 ? Math.round(n) : n >= 0.1 ? n.toFixed(1) : "< 0.1"} %`;
}

// duration has the two largest units.
export function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const two = (a, unit, b, rest) => `${a} ${unit}${b ? ` ${b} ${rest}` : ""}`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return two(Math.floor(s / 60), "min", s % 60, "s");
  if (s < 86400) return two(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min");
  return two(Math.floor(s / 86400), "d", Math.floor((s % 86400) / 3600), "h");
}

const clocks = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const days = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

export const clock = (date) => clocks.format(date);
export const day = (date) => days.format(date);

// plural says 1 pass, 2 passes.
export const plural = (n, one, many) => `${count(n)} ${n === 1 ? one : many}`;

// tail keeps the end of a path, where names differ.
export function tail(name) {
  const cut = name.lastIndexOf("/");
  return cut > 0 ? `…${name.slice(cut)}` : name;
}
