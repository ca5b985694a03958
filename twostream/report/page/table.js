// The results: best first, in the order of the sweep, or sorted by clicking a title; filtered by words and by values.
const LONG = ["note", "without a result", "setting", "why", "lacks"];

function compareKeys(a, b, direction) {
  if (a === null || b === null) return (a === null) - (b === null);  // what is not known comes last, either way
  if (typeof a === "number" && typeof b === "number") return direction * (a - b);
  return direction * String(a).localeCompare(String(b), undefined, { numeric: true });
}

function tableCell(column, row) {
  const kind = column.number ? "number" : LONG.includes(column.title) ? "long" : "";
  const text = column.texts[row];
  return make("td", { class: kind }, column.title === "state" ? badge(text) : text);
}

// `isBest(row)` says which rows stand out, `sorted()` is called when a title was clicked. Returns `show(keep)`, which
// shows the rows for which keep(row), and `arrange(order)`, which puts them into an order.
function sortable(place, columns, isBest, sorted = () => {}) {
  const length = columns[0].texts.length;
  const rows = Array.from({ length }, (_, row) =>
    make("tr", { class: isBest(row) ? "best" : "" }, ...columns.map((column) => tableCell(column, row))));
  const body = make("tbody");
  const heads = columns.map((column, index) => make("th", { class: column.number ? "number" : "", scope: "col" },
    make("button", { type: "button", onclick: () => sort(index) }, column.title)));
  let order = rows.map((_, row) => row);
  let keep = () => true;

  function sort(index) {
    const ascending = heads[index].getAttribute("aria-sort");
    const direction = ascending ? (ascending === "ascending" ? -1 : 1) : columns[index].number ? -1 : 1;
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[index].setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    const keys = columns[index].keys;
    order = rows.map((_, row) => row).sort((a, b) => compareKeys(keys[a], keys[b], direction) || a - b);
    show(keep);
    sorted();
  }

  function arrange(rows) {
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    order = rows;
    show(keep);
  }

  function show(wanted) {
    keep = wanted;
    const kept = order.filter(keep);
    body.replaceChildren(...kept.map((row) => rows[row]));
    return kept.length;
  }

  place.replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, ...heads)), body));
  show(keep);
  return { show, arrange };
}

// {name: rows}: the orders that one click gives. What has no number comes last, but in the order of the sweep.
function orders(columns, isGroups) {
  const rows = [...columns[0].texts.keys()];
  const keys = (columns.find((column) => column.title === data.metric) || { keys: rows.map(() => null) }).keys;
  const best = isGroups ? rows : [...rows].sort((a, b) => compareKeys(keys[a], keys[b], data.lower ? 1 : -1) || a - b);
  const known = best.filter((row) => keys[row] !== null);
  return {
    "best first": best,
    "worst first": [...known.reverse(), ...best.filter((row) => keys[row] === null)],
    [data.command ? "sweep's order" : "by setting"]:
      isGroups ? [...rows].sort((a, b) => data.groups[a].place - data.groups[b].place) : rows,
  };
}

function results() {
  const search = make("input", { type: "search", placeholder: "Filter: conv3 failed", "aria-label": "Filter rows by words",
    oninput: () => update() });
  const filters = make("span", { class: "controls", style: "margin:0" });
  const buttons = ["settings", "runs"].map((name) =>
    make("button", { class: "choice", type: "button", onclick: () => choose(name) }, name));
  const arranged = make("span", { class: "controls", style: "margin:0", role: "group", "aria-label": "Order of the rows" });
  byId("result-controls").append(...buttons, arranged, search, filters);
  let columns, table, chosen, texts;

  function choose(name) {
    buttons.forEach((button) => button.setAttribute("aria-pressed", button.textContent === name));
    const isGroups = name === "settings";
    columns = isGroups ? data.groupTable : data.cellTable;
    texts = columns[0].texts.map((_, row) => columns.map((column) => column.texts[row]).join(" ").toLowerCase());
    table = sortable(byId("result-table"), columns, (row) => isGroups && data.groups[row].best, () => press(""));
    arranged.replaceChildren(...Object.entries(orders(columns, isGroups)).map(([name, order]) =>
      make("button", { class: "choice", type: "button", onclick: () => { table.arrange(order); press(name); } }, name)));
    arranged.firstChild.click();
    chosen = new Map();
    filters.replaceChildren();
    const filtered = isGroups ? Object.keys(data.axes) : [...Object.keys(data.axes), "state"];
    for (const title of filtered) {
      const column = columns.find((one) => one.title === title);
      const values = data.axes[title] || [...new Set(column.texts)];
      if (values.length < 2) continue;
      filters.append(chooser(title, [["", "all"], ...values.map((value) => [value, value])], "", (value) => {
        if (value) chosen.set(column, value);
        else chosen.delete(column);
        update();
      }));
    }
    update();
  }

  function press(name) {
    for (const button of arranged.children) button.setAttribute("aria-pressed", button.textContent === name);
  }

  function update() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = table.show((row) => words.every((word) => texts[row].includes(word))
      && [...chosen].every(([column, value]) => column.texts[row] === value));
    byId("result-count").textContent = `${shown} of ${texts.length} rows`;
  }

  choose("settings");
}

function folds() {
  byId("folds").hidden = !data.folds;
  if (!data.folds) return;
  byId("folds-title").textContent = data.folds.title;
  byId("folds-note").textContent = data.folds.note;
  sortable(byId("folds-table"), data.folds.table, () => false);
}

function unfinished() {
  const cells = data.cells.filter((cell) => cell.state !== "finished");
  byId("unfinished").hidden = !cells.length;
  const column = (title, of) => ({ title, number: false, texts: cells.map(of), keys: cells.map(of) });
  if (cells.length) sortable(byId("unfinished-table"), [column("state", (cell) => cell.state),
    column("setting", (cell) => cell.label), column("why", (cell) => cell.note)], () => false);
}
