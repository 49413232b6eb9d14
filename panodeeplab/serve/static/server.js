// What the page asks the server. Every failure becomes an Error with a sentence for the user.

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  if (response.ok) return response;
  let message = `The server answered ${response.status}.`;
  try {
    message = (await response.json()).error ?? message;
  } catch {
    // Not JSON: the web server itself refused.
    if (response.status === 503) message = "The server is busy. Try again in a moment.";
  }
  throw new Error(message);
}

export async function info() {
  return (await ask("/api/info")).json();
}

export async function upload(file, signal) {
  const headers = { "Content-Type": "application/octet-stream" };
  return (await ask("/api/jobs", { method: "POST", body: file, headers, signal })).json();
}

export async function example(name, signal) {
  return (await ask(`/api/examples/${name}`, { method: "POST", signal })).json();
}

export async function status(job, signal) {
  return (await ask(`/api/jobs/${job}`, { signal })).json();
}

export function forget(job) {
  // Nothing depends on the answer, and the page may be closing.
  fetch(`/api/jobs/${job}`, { method: "DELETE", keepalive: true }).catch(() => {});
}

export function path(job, k, file) {
  return `/api/jobs/${job}/${k}/${file}`;
}

// A frame with everything that is drawn of it.
export async function frame(job, k, signal) {
  const picture = async (name) => createImageBitmap(await (await ask(path(job, k, name), { signal })).blob());
  const [detail, image, overlay, heatmap, offsets, index] = await Promise.all([
    ask(`/api/jobs/${job}/${k}`, { signal }).then((response) => response.json()),
    picture("image.jpg"),
    picture("overlay.png"),
    picture("heatmap.png"),
    picture("offsets.png"),
    ask(path(job, k, "segments.bin"), { signal }).then((response) => response.arrayBuffer()),
  ]);
  return { ...detail, image, overlay, heatmap, offsets, index: little16(index) };
}

function little16(buffer) {
  const view = new DataView(buffer);
  const values = new Uint16Array(buffer);
  if (values.length && values[0] !== view.getUint16(0, true)) {
    for (let i = 0; i < values.length; i++) values[i] = view.getUint16(2 * i, true);
  }
  return values;
}
