// The list of processes. What they are called is text, whatever is in it.
import { bytes } from "./format.js";

const classes = ["hot", "warm", "cold", "unobserved"];

export class List {
  // pick is called with the pid of a process that is clicked.
  constructor(element, pick) {
    this.element = element;
    this.items = new Map();
    element.addEventListener("click", (e) => {
      const button = e.target.closest("button");
      if (button) pick(Number(button.dataset.pid));
    });
    element.addEventListener("keydown", (e) => {
      const buttons = [...element.querySelectorAll("button")];
      const at = buttons.indexOf(document.activeElement);
      const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[e.key];
      if (at < 0 || to === undefined || !buttons[to]) return;
      e.preventDefault();
      this.focus(buttons[to]);
    });
  }

  // focus moves to a process, the first if none is given; one of them is
  // reached by tab, the others from there with the arrow keys.
  focus(button = this.element.querySelector("button")) {
    if (!button) return;
    for (const other of this.element.querySelectorAll("button")) other.tabIndex = other === button ? 0 : -1;
    button.focus();
  }

  // show lists processes in their order; elements that are there already are
  // kept, so that focus and pointer stay where they are.
  show(processes, picked) {
    const items = new Map();
    for (const p of processes) {
      const id = `${p.pid} ${p.memcg}`;
      const item = this.items.get(id) ?? make();
      fill(item, p);
      items.set(id, item);
    }
    this.items = items;
    const wanted = [...items.values()];
    const there = [...this.element.children];
    // Moving an element takes its focus away.
    if (wanted.length !== there.length || wanted.some((item, i) => item !== there[i])) {
      const focused = this.element.contains(document.activeElement) ? document.activeElement : null;
      this.element.replaceChildren(...wanted);
      if (focused?.isConnected) focused.focus();
    }
    this.mark(picked);
  }

  mark(picked) {
    const buttons = [...this.element.querySelectorAll("button")];
    let tab = buttons.find((b) => b === document.activeElement);
    for (const b of buttons) {
      const on = Number(b.dataset.pid) === picked;
      if (on) {
        b.setAttribute("aria-current", "true");
        tab ??= b;
      } else b.removeAttribute("aria-current");
    }
    tab ??= buttons[0];
    for (const b of buttons) b.tabIndex = b === tab ? 0 : -1;
  }
}

function make() {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  for (const part of ["name", "pid", "cold", "memcg", "resident"]) {
    const span = document.createElement("span");
    span.className = part;
    button.append(span);
  }
  button.append(bar());
  item.append(button);
  return item;
}

function fill(item, p) {
  const button = item.firstChild;
  button.dataset.pid = p.pid;
  const set = (part, text) => {
    button.querySelector(`.${part}`).textContent = text;
  };
  set("name", p.comm);
  set("pid", p.pid);
  set("cold", `${bytes(p.cold_bytes)} cold`);
  set("memcg", p.memcg);
  set("resident", bytes(p.resident_bytes));
  button.title = p.memcg;
  button.setAttribute("aria-label", `${p.comm}, pid ${p.pid}, ${p.memcg}: ${describe(p)}`);
  size(button.querySelector(".bar"), p);
}

// bar is hot, warm, cold and unobserved side by side.
export function bar() {
  const box = document.createElement("span");
  box.className = "bar";
  for (const c of classes) {
    const part = document.createElement("i");
    part.className = c;
    box.append(part);
  }
  return box;
}

// size gives the parts of a bar their shares; p is as in the API.
export function size(box, p) {
  classes.forEach((c, i) => {
    box.children[i].style.flexGrow = p[`${c}_bytes`];
  });
}

export const describe = (p) => `${bytes(p.resident_bytes)} resident, ${classes.map((c) => `${bytes(p[`${c}_bytes`])} ${c}`).join(", ")}`;
