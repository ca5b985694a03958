// What each stream contributes, one setting at a time: which stream is right alone, and what the fusion gains in each class.
function contributions() {
  byId("contributions").hidden = !data.contributions;
  if (!data.contributions) return;
  const { settings, note } = data.contributions;
  let setting = settings[0], over = 0;
  const choices = settings.map((one, index) => [String(index), one.label]);
  byId("contribution-controls").append(chooser("setting", choices, "0", (index) => { setting = settings[index]; show(); }));
  byId("contribution-note").textContent = note;

  function show() {
    const [main, other] = setting.sentences;
    byId("contribution-words").replaceChildren(make("p", {}, make("strong", {}, main)), make("p", {}, other));
    byId("contribution-kinds").replaceChildren(kinds(setting.kinds));
    byId("contribution-table").replaceChildren(plainTable(setting.accuracies));
    byId("contribution-over").replaceChildren(chooser("gain of each class over",
      setting.streams.map((stream, index) => [String(index), `${stream} alone`]), String(over), (index) => { over = Number(index); gains(); }));
    gains();
  }

  function gains() {
    const classes = [...setting.classes].sort((a, b) => b.gains[over][0] - a.gains[over][0]);
    byId("contribution-classes").replaceChildren(bars(classes, over));
  }

  window.addEventListener("resize", gains);
  show();
}

// A table whose first column names its rows.
function plainTable([head, ...rows]) {
  const cells = (row, tag) => row.map((text, index) => make(tag, { class: index ? "number plain" : "plain" }, text));
  return make("table", {}, make("thead", {}, make("tr", {}, ...cells(head, "th"))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...cells(row, "td")))));
}

// The four kinds of videos, as parts of one bar and in words; [name, [fused is wrong, fused is right]].
function kinds(found) {
  const total = found.reduce((sum, [, counts]) => sum + counts[0] + counts[1], 0);
  const parts = found.map(([, counts], index) => {
    const part = make("span", { class: `part kind${index}` });
    part.style.flexGrow = counts[0] + counts[1];
    return part;
  });
  const words = found.map(([name, [wrong, right]], index) => make("li", {}, make("span", { class: `swatch kind${index}` }),
    make("strong", {}, name), ` right alone: ${wrong + right} of ${total} (${(100 * (wrong + right) / total).toFixed(1)} %), `
    + `fused right in ${right} of these`));
  return make("div", {}, make("div", { class: "parts", "aria-hidden": "true" }, ...parts), make("ul", { class: "kinds" }, ...words));
}

// A bar for each class, from zero to its gain, with its interval.
function bars(classes, over) {
  const place = byId("contribution-classes");
  const width = Math.max(260, place.clientWidth || 600), side = 20, top = 24;
  const most = width < 500 ? 13 : 26;
  const letters = (name) => [...name].length > most ? `${[...name].slice(0, most - 1).join("")}…` : name;
  const edge = 12 + 7.4 * Math.max(...classes.map((one) => [...letters(one.name)].length)), right = 52;
  const ends = classes.flatMap((one) => one.gains[over]);
  const low = Math.min(0, ...ends), high = Math.max(0, ...ends, low + 1);
  const x = (value) => edge + (value - low) / (high - low) * (width - edge - right);
  const height = top + classes.length * side + 8;
  const svg = draw("svg", { width, height, role: "img", "aria-label": "Gain of each class, in points, with its interval" });
  for (const value of ticks(low, high, width < 500 ? 4 : 8)) {
    svg.append(draw("line", { class: value ? "grid" : "zero", x1: x(value), x2: x(value), y1: top - 4, y2: height }),
      draw("text", { x: x(value), y: 14, "text-anchor": "middle" }, signed(value, 0)));
  }
  classes.forEach(({ name, videos, gains }, index) => {
    const [value, from, to] = gains[over], y = top + index * side;
    svg.append(draw("g", {},
      draw("title", {}, `${name}, ${videos} video${videos === 1 ? "" : "s"}: ${signed(value)} points, interval ${signed(from)} to ${signed(to)}`),
      draw("rect", { class: value < 0 ? "loss" : "gain", x: Math.min(x(0), x(value)), y: y + 3, height: side - 6,
        width: Math.abs(x(value) - x(0)) }),
      draw("line", { class: "interval", x1: x(from), x2: x(to), y1: y + side / 2, y2: y + side / 2 }),
      draw("text", { class: "name", x: edge - 8, y: y + 14, "text-anchor": "end" }, letters(name)),
      draw("text", { class: "name", x: width - 6, y: y + 14, "text-anchor": "end" }, signed(value))));
  });
  return svg;
}

function signed(value, digits = 1) {
  const text = Math.abs(value).toFixed(digits);
  return `${value > 0 ? "+" : value < 0 ? "−" : ""}${text}`;
}
