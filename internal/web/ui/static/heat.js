// One process's heatmap as the API has it, with what is asked of it.
import { PAGE } from "./format.js";

export class Heat {
  // last, if given, is a time: windows that ended after it are left out.
  constructor(json, last) {
    this.process = json.process;
    this.regions = json.regions;
    this.nodes = json.nodes ?? [];
    this.rows = json.rows ?? [];
    this.columns = (json.columns ?? []).filter((c) => last === undefined || Date.parse(c.end) <= last);
    for (const c of this.columns) c.time = Date.parse(c.end);
  }

  get newest() {
    return this.columns.at(-1)?.time;
  }

  // rowAt returns the index of the row that covers a position, -1 if none does.
  rowAt(position) {
    let low = 0;
    let high = this.rows.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const row = this.rows[middle];
      if (position < row.position) high = middle - 1;
      else if (position >= row.position + row.regions) low = middle + 1;
      else return middle;
    }
    return -1;
  }

  // rowsIn returns the first row that ends after from, and the first that begins
  // at or after to.
  rowsIn(from, to) {
    let first = this.rows.findIndex((r) => r.position + r.regions > from);
    if (first < 0) first = this.rows.length;
    let end = first;
    while (end < this.rows.length && this.rows[end].position < to) end++;
    return [first, end];
  }

  cell(row, column) {
    const c = this.columns[column];
    const pages = c.pages[row];
    const observed = c.hot[row] + c.warm[row] + c.cold[row];
    const anon = c.anon[row];
    const shmem = c.shmem[row];
    return {
      time: c.time,
      passes: c.passes,
      pages,
      observed,
      accesses: c.accesses[row],
      heat: heat(c, row),
      resident: pages * PAGE,
      hot: c.hot[row] * PAGE,
      warm: c.warm[row] * PAGE,
      cold: c.cold[row] * PAGE,
      unobserved: (pages - observed) * PAGE,
      anon: anon * PAGE,
      shmem: shmem * PAGE,
      file: (pages - anon - shmem) * PAGE,
      node: c.node[row],
      idle: c.idle_seconds[row],
    };
  }

  // totals sums the rows [first, end) of a column, in bytes.
  totals(column, first, end) {
    const c = this.columns[column];
    const sum = { hot: 0, warm: 0, cold: 0, unobserved: 0, anon: 0, file: 0, shmem: 0, nodes: new Map() };
    for (let i = first; i < end; i++) {
      const pages = c.pages[i];
      if (pages === 0) continue;
      sum.hot += c.hot[i] * PAGE;
      sum.warm += c.warm[i] * PAGE;
      sum.cold += c.cold[i] * PAGE;
      sum.unobserved += (pages - c.hot[i] - c.warm[i] - c.cold[i]) * PAGE;
      sum.anon += c.anon[i] * PAGE;
      sum.shmem += c.shmem[i] * PAGE;
      sum.file += (pages - c.anon[i] - c.shmem[i]) * PAGE;
      sum.nodes.set(c.node[i], (sum.nodes.get(c.node[i]) ?? 0) + pages * PAGE);
    }
    return sum;
  }
}

// heat is 0 to 1, of what was observed: were unobserved pages in the divisor,
// they would count as if nobody had accessed them.
export function heat(column, row) {
  const possible = column.passes * (column.hot[row] + column.warm[row] + column.cold[row]);
  return possible === 0 ? 0 : Math.min(1, column.accesses[row] / possible);
}
