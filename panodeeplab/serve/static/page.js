// The page: files in, the job's progress, and what is shown of its frames.

import * as server from "./server.js";
import { Picture } from "./picture.js";
import { downloads, layerList, segmentTable, timeBars } from "./panel.js";

const find = (id) => document.getElementById(id);
const picture = new Picture(find("layers-canvas"), find("marks-canvas"));

const layers = [
  { name: "semantic", title: "Semantic", on: false, opacity: 0.7 },
  { name: "instances", title: "Instances", on: false, opacity: 0.8 },
  { name: "offsets", title: "Offsets", on: false, opacity: 0.85 },
  { name: "heatmap", title: "Center heatmap", on: false, opacity: 0.75 },
  { name: "overlay", title: "Overlay", on: true, opacity: 1 },
];

let limits = null;
let current = null; // the job that is shown: id, kind, stem of its file's name, and how many frames it has
let frame = null;
let marked = -1;
let isolated = null; // the panoptic id: an index means something else in the next frame
let opening = new AbortController();
let turning = new AbortController();
let playing = 0;

// Opening a file

async function open(stem, start) {
  opening.abort();
  turning.abort();
  opening = new AbortController();
  const { signal } = opening;
  pause();
  problem("");
  status("Uploading");
  let job = null;
  try {
    job = await start(signal);
    const began = current?.id;
    let first = true;
    for (;;) {
      if (job.state === "failed") throw new Error(job.error);
      if (job.frames > 0) {
        if (first && began) server.forget(began);
        current = { id: job.id, kind: job.kind, stem, frames: job.frames, note: job.note };
        showCount();
        if (first) {
          isolated = null;
          marked = -1;
          find("frame").value = 0;
          await turn(0);
          first = false;
        }
      }
      if (job.state === "done") break;
      const waiting = job.state === "waiting" ? "Waiting for other files" : "Segmenting";
      status(job.kind === "clip" && job.frames ? `${waiting}, ${job.frames} frames so far` : waiting, job);
      await new Promise((resolve) => setTimeout(resolve, 150));
      signal.throwIfAborted();
      job = await server.status(job.id, signal);
    }
  } catch (error) {
    if (signal.aborted) {
      if (job && job.id !== current?.id) server.forget(job.id);
      return;
    }
    problem(error.message);
  }
  status("");
}

function openFile(file) {
  if (limits && file.size > limits.bytes) {
    opening.abort();
    status("");
    problem(`The file is too large: ${mebibytes(file.size)}, at most ${mebibytes(limits.bytes)} are taken.`);
    return;
  }
  const stem = file.name.replace(/\.[^.]*$/, "").replace(/[^\p{L}\p{N}._-]+/gu, "_").slice(0, 80) || "picture";
  open(stem, (signal) => server.upload(file, signal));
}

const mebibytes = (bytes) => `${+(bytes / 2 ** 20).toPrecision(3)} MiB`;

function status(text, job) {
  find("status").hidden = !text;
  find("status-text").textContent = text;
  const progress = find("progress");
  if (job?.kind === "clip" && job.expected) {
    progress.max = job.expected;
    progress.value = job.frames;
  } else {
    progress.removeAttribute("value");
  }
}

function problem(text) {
  find("problem").hidden = !text;
  find("problem").textContent = text;
}

find("file").addEventListener("change", (event) => {
  if (event.target.files.length) openFile(event.target.files[0]);
  event.target.value = ""; // so that the same file can be opened again
});
for (const button of document.querySelectorAll("[data-example]")) {
  const name = button.dataset.example;
  button.addEventListener("click", () => open(`example_${name}`, (signal) => server.example(name, signal)));
}
let depth = 0;
addEventListener("dragenter", () => document.body.classList.toggle("dragging", ++depth > 0));
addEventListener("dragleave", () => document.body.classList.toggle("dragging", --depth > 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  document.body.classList.remove("dragging");
  if (event.dataTransfer.files.length) openFile(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) openFile(event.clipboardData.files[0]);
});
addEventListener("pagehide", () => current && server.forget(current.id));

// Frames

async function turn(k) {
  turning.abort();
  turning = new AbortController();
  const { signal } = turning;
  const { id } = current;
  const next = await server.frame(id, k, signal);
  if (signal.aborted || current?.id !== id) return;
  frame = next;
  picture.show(frame);
  document.body.classList.add("has-result");
  find("viewer").hidden = find("panel").hidden = false;
  marked = -1;
  tip(-1);
  segmentTable(find("segments"), frame.segments, { mark, isolate });
  find("segments-count").textContent = `(${frame.segments.length})`;
  timeBars(find("times"), frame.timings_ms);
  downloads(find("downloads"), current, k);
  find("frame").value = k;
  showCount();
  draw();
}

function showCount() {
  const clip = current.kind === "clip";
  find("clip").hidden = !clip;
  find("note").hidden = !current.note;
  find("note").textContent = current.note;
  if (!clip) return;
  const slider = find("frame");
  slider.max = current.frames - 1;
  const seconds = frame ? `, ${frame.time_s.toFixed(2)} s` : "";
  find("frame-label").textContent = `${+slider.value + 1} of ${current.frames}${seconds}`;
}

async function turnTo(k) {
  try {
    await turn(k);
  } catch (error) {
    if (error.name === "AbortError") return;
    pause();
    problem(error.message);
  }
}

function step(by) {
  if (current?.kind !== "clip") return;
  turnTo((+find("frame").value + by + current.frames) % current.frames);
}

async function play() {
  const run = ++playing;
  find("play").textContent = "Pause";
  find("play").setAttribute("aria-pressed", "true");
  while (run === playing && current) {
    const next = performance.now() + 120;
    await turnTo((+find("frame").value + 1) % current.frames);
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, next - performance.now())));
  }
}

function pause() {
  playing++;
  find("play").textContent = "Play";
  find("play").setAttribute("aria-pressed", "false");
}

const isPlaying = () => find("play").getAttribute("aria-pressed") === "true";
find("play").addEventListener("click", () => (isPlaying() ? pause() : play()));
find("frame").addEventListener("input", (event) => {
  pause();
  turnTo(+event.target.value);
});

// Layers, and what the pointer is on

let asked = false;
function draw() {
  if (asked || !frame) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    const alone = isolated === null ? -1 : frame.segments.findIndex((segment) => segment.id === isolated);
    picture.draw(layers);
    // A segment that is not in this frame leaves it dark: nothing else is to be seen.
    picture.mark(marked, isolated !== null && alone < 0 ? frame.segments.length : alone);
    for (const row of find("segments").tBodies[0].rows) {
      row.classList.toggle("marked", +row.dataset.index === marked);
      row.classList.toggle("isolated", +row.dataset.index === alone);
      row.querySelector("button").setAttribute("aria-pressed", +row.dataset.index === alone);
    }
    find("seen").textContent = described(marked >= 0 ? marked : alone);
  });
}

function described(index) {
  if (index < 0) return isolated === null ? "" : "The isolated segment is not in this frame.";
  const { category, id, score, area } = frame.segments[index];
  return `${category}, id ${id}, score ${score.toFixed(2)}, ${area.toLocaleString("en")} pixels`;
}

function mark(index) {
  if (index === marked) return;
  marked = index;
  draw();
}

function isolate(index) {
  const id = index < 0 ? null : frame.segments[index].id;
  isolated = id === isolated ? null : id;
  draw();
}

function tip(index, x = 0, y = 0) {
  const box = find("tip");
  box.hidden = index < 0;
  if (index < 0) return;
  const { category, id, score, area, color } = frame.segments[index];
  const title = document.createElement("b");
  const swatch = document.createElement("i");
  swatch.className = "swatch";
  swatch.style.background = `rgb(${color.join(" ")})`;
  title.append(swatch, category);
  const text = document.createElement("span");
  const share = ((100 * area) / (frame.width * frame.height)).toFixed(1);
  text.textContent = `id ${id} · score ${score.toFixed(2)} · ${area.toLocaleString("en")} px (${share} %)`;
  box.replaceChildren(title, text);
  const around = find("picture").getBoundingClientRect();
  const left = Math.min(x - around.left + 14, around.width - box.offsetWidth - 4);
  const below = y - around.top + 16;
  const top = below + box.offsetHeight > around.height ? y - around.top - box.offsetHeight - 10 : below;
  box.style.transform = `translate(${Math.max(4, left)}px, ${Math.max(4, top)}px)`;
}

const area = find("picture");
area.addEventListener("pointermove", (event) => {
  if (!frame) return;
  const index = picture.at(event.clientX, event.clientY);
  mark(index);
  tip(index, event.clientX, event.clientY);
});
area.addEventListener("pointerleave", () => {
  mark(-1);
  tip(-1);
});
area.addEventListener("click", (event) => frame && isolate(picture.at(event.clientX, event.clientY)));

layerList(find("layers"), layers, draw);

addEventListener("keydown", (event) => {
  if (!frame || event.ctrlKey || event.metaKey || event.altKey) return;
  const inControl = event.target.closest("input, button, a");
  if (event.key === "Escape") {
    isolated = null;
    marked = -1;
    tip(-1);
    draw();
  } else if (event.key >= "1" && event.key <= String(layers.length)) {
    find("layers").querySelectorAll("input[type=checkbox]")[event.key - 1].click();
  } else if (event.key === "ArrowRight" && event.target.type !== "range") {
    pause();
    step(1);
  } else if (event.key === "ArrowLeft" && event.target.type !== "range") {
    pause();
    step(-1);
  } else if (event.key === " " && !inControl && current?.kind === "clip") {
    event.preventDefault();
    find("play").click();
  }
});

try {
  const { model, ...rest } = await server.info();
  limits = rest.limits;
  const size = model.size ? `, ${model.size[0]} × ${model.size[1]}` : "";
  find("model").textContent = `${model.number_of_classes} classes (${model.classes})${size}, ${model.device}`;
  find("limits").textContent =
    `up to ${mebibytes(limits.bytes)} and ${+(limits.pixels / 1e6).toPrecision(3)} megapixels; ` +
    `${limits.frames} frames of a clip`;
} catch (error) {
  problem(error.message);
}
