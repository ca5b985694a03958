// A heat map of the groups on any two axes; the others are held at one value each, nothing is averaged.
function pivot() {
  const names = Object.keys(data.axes);
  byId("pivot").hidden = names.length < 2;
  if (names.length < 2) return;
  let [rows, columns] = data.pivot && data.pivot.every((axis) => names.includes(axis)) ? data.pivot : names;
  const held = new Map(names.map((axis) => [axis, data.axes[axis][0]]));
  const means = data.groups.map((group) => group.mean).filter((mean) => mean !== null);
  const [low, high] = [Math.min(...means), Math.max(...means)];

  function find(row, column) {
    const wanted = new Map(held).set(rows, row).set(columns, column);
    return data.groups.find((group) => names.every((axis, index) => group.values[index] === wanted.get(axis)));
  }

  function cell(group) {
    if (!group) return make("td", { class: "empty" }, "not planned");
    if (group.mean === null) return make("td", { class: "empty", title: group.label }, group.lack);
    const share = high > low ? (group.mean - low) / (high - low) : 0.5;
    const good = data.lower ? 1 - share : share;
    const classes = `heat${depth(good)}${group.best ? " top" : ""}`;
    return make("td", { class: classes, style: `--share:${good.toFixed(3)}`, title: group.label },
      `${group.best ? "★\u00a0" : ""}${group.text}`.replaceAll(" ± ", " ±\u00a0"), ...(group.lack ? [make("span", { class: "lack" }, group.lack)] : []));
  }

  function show() {
    const head = make("tr", {}, make("th", { class: "plain" }, `${rows} \\ ${columns}`),
      ...data.axes[columns].map((value) => make("th", { class: "plain", scope: "col" }, value)));
    const body = data.axes[rows].map((row) => make("tr", {}, make("th", { scope: "row" }, row),
      ...data.axes[columns].map((column) => cell(find(row, column)))));
    byId("pivot-table").replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
    const all = names.map((axis) => [axis, axis]);
    const choose = (newRows, newColumns) => {  // the axis of the other side is swapped with this one
      [rows, columns] = newRows === newColumns ? [columns, rows] : [newRows, newColumns];
      show();
    };
    byId("pivot-controls").replaceChildren(
      chooser("rows", all, rows, (axis) => choose(axis, columns)),
      chooser("columns", all, columns, (axis) => choose(rows, axis)),
      ...names.filter((axis) => axis !== rows && axis !== columns).map((axis) => chooser(`${axis} =`,
        data.axes[axis].map((value) => [value, value]), held.get(axis), (value) => { held.set(axis, value); show(); })));
  }

  show();
  if (!means.length) return;
  const ends = data.lower ? [...data.range].reverse() : data.range;
  const texts = [`${data.metric}:`, ends[0], make("span", { class: "bar" }), ends[1]];
  if (data.groups.some((group) => group.best)) texts.push("★ best");
  byId("pivot-legend").append(...texts.map((text) => typeof text === "string" ? make("span", {}, text) : text));
}
