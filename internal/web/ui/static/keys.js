// Keys that work wherever the focus is, but for where one types.

export function keys({ overlay, pause, reset, cross, list }) {
  const search = document.getElementById("search");
  const help = document.getElementById("help");
  const map = document.getElementById("map");

  search.addEventListener("keydown", (e) => {
    if (e.key === "ArrowDown" || e.key === "Enter") {
      e.preventDefault();
      list.focus();
    } else if (e.key === "Escape" && search.value === "") {
      search.blur();
    }
  });

  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.altKey || e.metaKey || help.open || e.target.matches("input[type=search], select")) return;
    const act = {
      1: () => overlay(0),
      2: () => overlay(1),
      3: () => overlay(2),
      4: () => overlay(3),
      p: pause,
      "/": () => search.focus(),
      "?": () => help.showModal(),
      m: () => map.focus(),
      "+": () => cross.scale(0.5),
      "=": () => cross.scale(0.5),
      "-": () => cross.scale(2),
      Escape: reset,
    }[e.key];
    if (!act) return;
    e.preventDefault();
    act();
  });
}
