// What the exporter answers. Paths are relative to the page's, so that the page
// also works behind a proxy that puts a prefix before both.

export class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// skew is how far the server's clock is ahead of ours, in milliseconds: ages are
// differences to the server's times.
let skew = 0;
export const now = () => Date.now() + skew;

async function get(path, params, signal) {
  let response;
  try {
    response = await fetch(`${path}?${new URLSearchParams(params)}`, { signal, headers: { Accept: "application/json" } });
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new Problem(0, "The exporter does not answer.");
  }
  const date = Date.parse(response.headers.get("Date") ?? "");
  // The header has whole seconds: smaller differences mean nothing.
  const ahead = date - Date.now();
  skew = Math.abs(ahead) > 2000 ? ahead : 0;
  const body = await response.json().catch((e) => {
    if (e.name === "AbortError") throw e;
    return null;
  });
  if (!response.ok) throw new Problem(response.status, body?.error ?? `The exporter answers with status ${response.status}.`);
  if (body === null) throw new Problem(response.status, "The exporter's answer is not JSON: is something between it and this page?");
  return body;
}

export const processes = (params, signal) => get("api/v1/processes", params, signal);
export const heatmap = (pid, params, signal) => get(`api/v1/processes/${pid}/heatmap`, params, signal);

// events calls window(event) for each window that ends, and state("live") or
// state("disconnected") as the connection comes and goes. It connects again by
// itself, with growing pauses. A page that nobody sees has no connection: there
// are six to an exporter, for all tabs of a browser together.
export function events(window, state) {
  let pause = 1000;
  let stream = null;
  let again = 0;
  const connect = () => {
    stream?.close();
    clearTimeout(again);
    if (document.hidden) return;
    stream = new EventSource("api/v1/events");
    stream.addEventListener("open", () => {
      pause = 1000;
      state("live");
    });
    stream.addEventListener("window", (e) => {
      try {
        window(JSON.parse(e.data));
      } catch {
        // An event that cannot be read still says that something is new.
        window({});
      }
    });
    stream.addEventListener("error", () => {
      state("disconnected");
      // The browser's own attempts end after an answer with an error's status.
      stream.close();
      again = setTimeout(connect, pause);
      pause = Math.min(pause * 2, 30000);
    });
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) state("disconnected");
    connect();
  });
  connect();
}
