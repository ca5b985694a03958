// Learning curves of the runs that are ticked.
const COLOURS = 8, DASHES = ["none", "9 9", "3 9"];  // equal lines are all seen
const MOST = COLOURS * DASHES.length;

function curves() {
  const names = Object.keys(data.curves);
  byId("curves").hidden = !names.length;
  if (!names.length) return;
  let name = names[0];
  const style = new Map();  // cell -> its place among the styles: it keeps its colour until it is unticked
  const free = () => Array.from({ length: MOST }, (_, place) => place).find((place) => ![...style.values()].includes(place));
  const group = data.groups.find((one) => one.best) || data.groups[0];
  const has = (cell) => names.some((one) => cell in data.curves[one]);
  const cells = [...group.cells, ...data.cells.keys()].filter((cell, index, all) => all.indexOf(cell) === index && has(cell));
  for (const cell of cells.slice(0, Math.min(3, cells.length))) style.set(cell, free());
  const readout = make("p", { class: "quiet", id: "curve-readout" });
  const plot = make("div");
  byId("curve-chart").append(plot, readout);
  const look = (cell) => ({ colour: `var(--c${style.get(cell) % COLOURS})`, dash: DASHES[style.get(cell) % DASHES.length] });

  function swatch(cell) {
    const svg = draw("svg", { width: 22, height: 10, "aria-hidden": "true" });
    if (!style.has(cell)) return svg;
    const { colour, dash } = look(cell);
    const line = draw("line", { x1: 0, x2: 22, y1: 5, y2: 5, "stroke-width": 3, "stroke-dasharray": dash });
    line.style.stroke = colour;
    svg.append(line);
    return svg;
  }

  function plotCurves() {
    const shown = [...style.keys()].filter((cell) => cell in data.curves[name]);
    const idle = style.size ? "" : "Tick runs in the list to see their curves.";
    readout.textContent = idle || (shown.length ? "" : `None of these runs has ${name}.`);
    if (!shown.length) return plot.replaceChildren();
    const lines = shown.map((cell) => ({ label: data.cells[cell].label, curve: data.curves[name][cell], ...look(cell) }));
    chart(plot, lines, name, (epoch, values) => {
      const texts = lines.map((line, index) => values[index] === undefined ? null : [line, values[index]]).filter(Boolean);
      readout.replaceChildren(`epoch ${epoch}: `, ...texts.map(([line, value]) => {
        const mark = make("b", {}, "● ");
        mark.style.color = line.colour;
        return make("span", {}, mark, `${line.label} ${value}`);
      }));
    });
  }

  const entries = cells.map((cell) => {
    const box = make("input", { type: "checkbox", title: `up to ${MOST} runs`, checked: style.has(cell) });
    const { label, state } = data.cells[cell];
    const entry = make("label", {}, box, swatch(cell), make("span", {}, state === "finished" ? label : `${label} (${state})`));
    box.addEventListener("change", () => {
      if (box.checked) style.set(cell, free() ?? MOST - 1);
      else style.delete(cell);
      entry.replaceChild(swatch(cell), entry.children[1]);
      for (const other of byId("curve-list").querySelectorAll("input")) other.disabled = style.size >= MOST && !other.checked;
      plotCurves();
    });
    return { entry, text: `${label} ${state}`.toLowerCase() };
  });
  const list = byId("curve-list");
  const search = make("input", { type: "search", placeholder: "Find runs", "aria-label": "Find runs", oninput: () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const { entry, text } of entries) entry.hidden = !words.every((word) => text.includes(word));
  } });
  list.append(...entries.map(({ entry }) => entry));
  byId("curve-controls").append(chooser("metric", names.map((one) => [one, one]), name, (one) => { name = one; plotCurves(); }), search);
  plotCurves();
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (width !== window.innerWidth) plotCurves();
    width = window.innerWidth;
  });
}
