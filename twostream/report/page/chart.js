// Lines over epochs, with axes and a reading under the pointer.
function ticks(low, high, most) {
  const raw = (high - low) / most || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= raw * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(6)));
  return found;
}

// `lines`: [{label, colour, dash, curve: [epochs, values]}]; `read(texts)` is told what is under the pointer.
function chart(place, lines, title, read) {
  const width = Math.max(280, place.clientWidth || 600), height = width < 500 ? 250 : 340;
  const left = 52, right = 12, top = 22, bottom = 36;
  const epochs = lines.flatMap((line) => line.curve[0]), values = lines.flatMap((line) => line.curve[1]);
  const first = Math.min(...epochs), last = Math.max(...epochs);
  let low = Math.min(...values), high = Math.max(...values);
  if (high - low < 1e-9) [low, high] = [low - 0.05 * (Math.abs(low) || 1), high + 0.05 * (Math.abs(high) || 1)];
  const room = 0.04 * (high - low);
  low -= room; high += room;
  const x = (epoch) => left + (last > first ? (epoch - first) / (last - first) : 0.5) * (width - left - right);
  const y = (value) => top + (high - value) / (high - low) * (height - top - bottom);
  const svg = draw("svg", { width, height, role: "img", "aria-label": `${title} over epochs, ${lines.length} runs` });
  svg.append(draw("text", { x: 4, y: 12 }, title));
  for (const value of ticks(low, high, 5)) {
    svg.append(draw("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }),
      draw("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, String(value)));
  }
  for (const epoch of ticks(first, last, width < 500 ? 5 : 10).filter(Number.isInteger)) {
    svg.append(draw("text", { x: x(epoch), y: height - bottom + 16, "text-anchor": "middle" }, String(epoch)));
  }
  svg.append(draw("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, "epoch"));
  const dashedLast = [...lines].sort((a, b) => (b.dash === "none") - (a.dash === "none"));
  for (const { label, colour, dash, curve } of dashedLast) {
    const points = curve[0].map((epoch, index) => `${x(epoch).toFixed(1)},${y(curve[1][index]).toFixed(1)}`);
    const line = points.length > 1
      ? draw("polyline", { class: "curve", points: points.join(" "), "stroke-dasharray": dash })
      : draw("circle", { r: 4, cx: points[0].split(",")[0], cy: points[0].split(",")[1] });
    line.style.setProperty(points.length > 1 ? "stroke" : "fill", colour);
    line.style.setProperty("stroke-width", dash === "none" ? 4.5 : 2.5);  // seen where a dashed one is equal
    line.append(draw("title", {}, label));
    svg.append(line);
  }
  const cross = draw("line", { class: "cross", y1: top, y2: height - bottom, visibility: "hidden" });
  svg.append(cross);
  svg.addEventListener("pointermove", (event) => {
    const at = event.clientX - svg.getBoundingClientRect().left;
    const epoch = epochs.reduce((a, b) => Math.abs(x(b) - at) < Math.abs(x(a) - at) ? b : a);
    for (const [name, value] of Object.entries({ x1: x(epoch), x2: x(epoch), visibility: "visible" })) cross.setAttribute(name, value);
    read(epoch, lines.map((line) => line.curve[1][line.curve[0].indexOf(epoch)]));
  });
  place.replaceChildren(svg);
}
