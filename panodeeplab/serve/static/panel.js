// The panel beside the picture. All text goes in as text, none as markup.

import { path } from "./server.js";

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// The list shows what lies on top first; layers are in drawing order.
export function layerList(list, layers, changed) {
  const rows = [...layers].reverse().map((layer) => {
    const shown = element("output", { textContent: `${Math.round(100 * layer.opacity)} %` });
    const box = element("input", { type: "checkbox", checked: layer.on, name: layer.name });
    box.addEventListener("change", () => {
      layer.on = box.checked;
      changed();
    });
    const slider = element("input", {
      type: "range", min: 0, max: 100, value: 100 * layer.opacity, ariaLabel: `Opacity of ${layer.title}`,
    });
    slider.addEventListener("input", () => {
      layer.opacity = slider.value / 100;
      shown.textContent = `${slider.value} %`;
      // Whoever moves the slider wants to see the layer.
      layer.on = box.checked = true;
      changed();
    });
    return element("li", {}, element("label", {}, box, layer.title), slider, shown);
  });
  list.replaceChildren(...rows);
}

export function timeBars(table, timings) {
  const entries = Object.entries(timings);
  const sum = entries.reduce((total, [, ms]) => total + ms, 0);
  const rows = entries.map(([stage, ms]) => {
    const bar = element("span", { className: "bar" });
    bar.style.width = `${(100 * ms) / Math.max(...Object.values(timings), 1e-9)}%`;
    return row(stage, bar, ms);
  });
  const last = row("sum", "", sum);
  last.className = "sum";
  table.tBodies[0].replaceChildren(...rows, last);
}

function row(name, bar, ms) {
  const head = element("th", { scope: "row", textContent: name });
  return element("tr", {}, head, element("td", {}, bar), element("td", { textContent: `${ms.toFixed(1)} ms` }));
}

// Largest first. `mark` and `isolate` take the index of a segment.
export function segmentTable(table, segments, { mark, isolate }) {
  const order = segments.map((_, index) => index).sort((a, b) => segments[b].area - segments[a].area);
  const rows = order.map((index) => {
    const { category, id, score, area, color } = segments[index];
    const swatch = element("i", { className: "swatch" });
    swatch.style.background = `rgb(${color.join(" ")})`;
    const button = element("button", { type: "button", title: "Isolate" }, swatch, category);
    const cells = [id, score.toFixed(2), area.toLocaleString("en")].map((text) => element("td", { textContent: text }));
    const line = element("tr", {}, element("td", {}, button), ...cells);
    line.dataset.index = index;
    line.addEventListener("click", () => isolate(index));
    line.addEventListener("pointerenter", () => mark(index));
    line.addEventListener("pointerleave", () => mark(-1));
    button.addEventListener("focus", () => mark(index));
    button.addEventListener("blur", () => mark(-1));
    return line;
  });
  table.tBodies[0].replaceChildren(...rows);
}

export function downloads(box, job, k) {
  const stem = job.kind === "clip" ? `${job.stem}_${String(k).padStart(3, "0")}` : job.stem;
  const files = [
    ["Overlay PNG", "overlay.png", `${stem}_overlay.png`],
    ["Panoptic PNG", "panoptic.png", `${stem}_panoptic.png`],
    ["JSON", "panoptic.json", `${stem}_panoptic.json`],
  ];
  const links = files.map(([text, file, name]) =>
    element("a", { textContent: text, href: path(job.id, k, file), download: name }),
  );
  box.replaceChildren(...links);
}
