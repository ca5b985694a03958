// Making elements. Texts are only ever set as text, so no name can be read as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// A labelled <select>; `choices` are [value, text] pairs.
function chooser(title, choices, chosen, changed) {
  const select = make("select", { onchange: () => changed(select.value) });
  for (const [value, text] of choices) select.append(make("option", { value, selected: value === chosen }, text));
  return make("label", {}, title, select);
}

// Where black and white text are equally legible (contrast 4.6) on the colours of style.css, in either scheme.
function depth(share) {
  return `${share > 0.681 ? " deep-light" : ""}${share > 0.592 ? " deep-dark" : ""}`;
}

// Says, while a wide table or picture can be scrolled, that there is more at its right.
function scrolls(place) {
  const hint = make("p", { class: "quiet more", "aria-hidden": "true" }, "more at the right →");
  place.after(hint);
  const look = () => {
    const hidden = place.scrollWidth - place.clientWidth;
    hint.hidden = hidden < 2;
    place.classList.toggle("cut", hidden - place.scrollLeft > 1);
  };
  place.addEventListener("scroll", look);
  new ResizeObserver(look).observe(place);
  new MutationObserver(look).observe(place, { childList: true, subtree: true });
  look();
}

function badge(state, text = state) {
  const known = ["finished", "failed", "running", "interrupted", "damaged", "missing"];
  return make("span", { class: `state ${known.includes(state) ? state : ""}` }, text);
}
