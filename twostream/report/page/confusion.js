// One confusion matrix at a time: a row a true class, the colour its share, the number its videos.
function confusion() {
  byId("confusion").hidden = !data.confusions.length;
  if (!data.confusions.length) return;
  const choices = data.confusions.map((matrix, index) => [String(index), matrix.label]);
  byId("confusion-controls").append(chooser("setting", choices, "0", (index) => show(data.confusions[index])));

  function show({ runs, planned, classes, counts }) {
    const k = classes.length;
    const side = k <= 20 ? 26 : k <= 40 ? 18 : 9;
    const longest = Math.min(22, Math.max(...classes.map((name) => [...name].length)));
    const letters = (name) => [...name].length > 22 ? `${[...name].slice(0, 21).join("")}…` : name;
    const edge = side < 12 ? 24 : 24 + 7 * longest;
    const svg = draw("svg", { width: edge + k * side + 8, height: edge + k * side + 8, role: "img", "aria-label": "Confusion matrix" });
    const totals = new Array(k).fill(0);
    for (const [real, , count] of counts) totals[real] += count;
    svg.append(draw("rect", { class: "back", x: edge, y: edge, width: k * side, height: k * side }));
    for (const [real, predicted, count] of counts) {
      const share = count / totals[real];
      const tile = draw("rect", { x: edge + predicted * side, y: edge + real * side, width: side - 1, height: side - 1 },
        draw("title", {}, `${classes[real]} taken for ${classes[predicted]}: ${count} of ${totals[real]}`));
      tile.style.fill = `color-mix(in oklab, var(--high) ${(100 * share).toFixed(1)}%, var(--low))`;
      svg.append(tile);
      if (side >= 18) svg.append(draw("text", { class: `count${depth(share)}`, "text-anchor": "middle",
        x: edge + (predicted + 0.5) * side, y: edge + (real + 0.5) * side + 4, "pointer-events": "none" }, String(count)));
    }
    if (side >= 12) classes.forEach((name, index) => {
      const middle = edge + (index + 0.5) * side;
      svg.append(draw("text", { x: edge - 6, y: middle + 4, "text-anchor": "end" }, letters(name)),
        draw("text", { x: 0, y: 0, transform: `translate(${middle + 4},${edge - 6}) rotate(-90)` }, letters(name)));
    });
    svg.append(draw("text", { class: "title", x: edge, y: 12 }, "predicted →"),
      draw("text", { class: "title", x: 0, y: 0, "text-anchor": "end", transform: `translate(12,${edge}) rotate(-90)` }, "← true"));
    byId("confusion-matrix").replaceChildren(svg);
    byId("confusion-note").textContent = `Videos of ${runs} of ${planned} runs, counted together. A row is a true class; the `
      + "colour is the share of its videos. " + worst(classes, counts);
  }

  function worst(classes, counts) {
    const wrong = counts.filter(([real, predicted]) => real !== predicted).sort((a, b) => b[2] - a[2]).slice(0, 3);
    return wrong.length ? `Most confused: ${wrong.map(([real, predicted, count]) =>
      `${classes[real]} taken for ${classes[predicted]} (${count})`).join(", ")}.` : "None is confused.";
  }

  show(data.confusions[0]);
}
