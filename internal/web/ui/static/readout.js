// What is under the crosshair, for eyes and for screen readers.
import { bytes, clock, count, duration, percent, plural, REGION } from "./format.js";
import { bar, size } from "./list.js";

// readout fills an element for a cell of data, or says how to get one.
export function readout(element, data, at) {
  if (!at) {
    const hint = document.createElement("p");
    hint.className = "muted";
    hint.textContent = "Point at the map, or press m and then the arrow keys.";
    element.replaceChildren(hint);
    return;
  }
  const row = data.rows[at.row];
  const cell = data.cell(at.row, at.column);
  const where = document.createElement("p");
  where.className = "where";
  where.textContent = row.mapping || "mapping not known";
  const place = document.createElement("p");
  place.className = "muted";
  place.textContent = offset(row);
  const parts = [where, place];
  const facts = document.createElement("dl");
  fact(facts, "Window", `${clock(cell.time)}, ${plural(cell.passes, "pass", "passes")}`);
  if (row.address) fact(facts, "Address", row.address);
  if (cell.pages === 0) {
    fact(facts, "Resident", "nothing");
    element.replaceChildren(...parts, facts);
    return;
  }
  fact(facts, "Heat", cell.observed ? percent(cell.heat) : "unobserved");
  fact(facts, "Accesses", `${count(cell.accesses)} of ${count(cell.passes * cell.pages)}`);
  fact(facts, "Idle", cell.observed ? idle(cell) : "unobserved");
  fact(facts, "Node", cell.node < 0 ? "not known" : cell.node);
  fact(facts, "Resident", bytes(cell.resident));
  const share = bar();
  size(share, { hot_bytes: cell.hot, warm_bytes: cell.warm, cold_bytes: cell.cold, unobserved_bytes: cell.unobserved });
  const split = document.createElement("dl");
  for (const c of ["hot", "warm", "cold", "unobserved"]) fact(split, c, bytes(cell[c]), c);
  const types = document.createElement("dl");
  for (const t of ["anon", "file", "shmem"]) fact(types, t, bytes(cell[t]));
  element.replaceChildren(...parts, facts, share, split, types);
}

// spoken is the same in a sentence.
export function spoken(data, at) {
  const row = data.rows[at.row];
  const cell = data.cell(at.row, at.column);
  const where = `${row.mapping || "mapping not known"} ${offset(row)}, window ${clock(cell.time)}: `;
  if (cell.pages === 0) return `${where}not resident`;
  if (cell.observed === 0) return `${where}${bytes(cell.resident)} resident, all unobserved`;
  return (
    `${where}heat ${percent(cell.heat)}, ${plural(cell.accesses, "access", "accesses")}, ${bytes(cell.resident)} resident, ` +
    `${bytes(cell.hot)} hot, ${bytes(cell.warm)} warm, ${bytes(cell.cold)} cold, ${bytes(cell.unobserved)} unobserved, ` +
    `idle ${idle(cell)}, node ${cell.node < 0 ? "not known" : cell.node}`
  );
}

const idle = (cell) => (cell.idle === 0 ? "0 s" : `≥ ${duration(cell.idle)}`);

function offset(row) {
  const others = row.mappings > 1 ? `, with ${plural(row.mappings - 1, "other mapping", "other mappings")}` : "";
  return `+ ${bytes(row.offset)}, ${plural(row.regions, "region", "regions")} (${bytes(row.regions * REGION)})${others}`;
}

function fact(list, term, value, swatch) {
  const dt = document.createElement("dt");
  if (swatch) {
    const i = document.createElement("i");
    i.className = swatch;
    dt.append(i);
  }
  dt.append(term);
  const dd = document.createElement("dd");
  dd.textContent = value;
  list.append(dt, dd);
}
