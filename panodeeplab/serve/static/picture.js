// The picture: its layers on one canvas, what is marked on a second one above it.

// A picture is drawn with at most this many pixels in a row or column; what it says of a pixel stays exact.
const LARGEST = 2048;

export class Picture {
  constructor(layersCanvas, marksCanvas) {
    this.layersCanvas = layersCanvas;
    this.marksCanvas = marksCanvas;
    this.frame = null;
  }

  show(frame) {
    this.frame = frame;
    const scale = Math.min(1, LARGEST / Math.max(frame.width, frame.height));
    this.width = Math.max(1, Math.round(frame.width * scale));
    this.height = Math.max(1, Math.round(frame.height * scale));
    for (const canvas of [this.layersCanvas, this.marksCanvas]) {
      canvas.width = this.width;
      canvas.height = this.height;
    }
    this.shown = this.#sampled();
    const colors = (name) => frame.segments.map((segment) => packed(...segment[name], 255));
    this.painted = {
      semantic: this.#painted(colors("class_color")),
      instances: this.#painted(frame.segments.map((s) => (s.is_thing ? packed(...s.color, 255) : 0))),
    };
  }

  // The segment's index at a place on the screen; -1 where there is none.
  at(clientX, clientY) {
    const box = this.layersCanvas.getBoundingClientRect();
    // object-fit: contain may leave bars beside the picture.
    const scale = Math.min(box.width / this.width, box.height / this.height);
    const left = box.left + (box.width - this.width * scale) / 2;
    const top = box.top + (box.height - this.height * scale) / 2;
    const x = Math.floor(((clientX - left) / (this.width * scale)) * this.frame.width);
    const y = Math.floor(((clientY - top) / (this.height * scale)) * this.frame.height);
    if (x < 0 || y < 0 || x >= this.frame.width || y >= this.frame.height) return -1;
    return this.frame.index[y * this.frame.width + x] - 1;
  }

  // layers: in drawing order, {name, on, opacity}
  draw(layers) {
    const context = this.layersCanvas.getContext("2d");
    const { frame, width, height } = this;
    context.globalAlpha = 1;
    context.drawImage(frame.image, 0, 0, width, height);
    for (const { name, on, opacity } of layers) {
      if (!on || opacity === 0) continue;
      context.globalAlpha = opacity;
      if (name === "heatmap" || name === "offsets") {
        // Cells are squares of `stride` pixels; the last ones may reach beyond the picture.
        const x = (frame[name].width * frame.stride * width) / frame.width;
        const y = (frame[name].height * frame.stride * height) / frame.height;
        context.drawImage(frame[name], 0, 0, x, y);
      } else {
        context.drawImage(name === "overlay" ? frame.overlay : this.painted[name], 0, 0, width, height);
      }
    }
    context.globalAlpha = 1;
  }

  // Outline one segment, and darken all but the isolated one; -1 is none.
  mark(marked, isolated) {
    const context = this.marksCanvas.getContext("2d");
    const { shown, width, height } = this;
    context.clearRect(0, 0, width, height);
    if (marked < 0 && isolated < 0) return;
    const picture = context.createImageData(width, height);
    const pixels = new Uint32Array(picture.data.buffer);
    const dark = packed(8, 10, 14, 205);
    const line = packed(255, 255, 255, 255);
    const tint = packed(255, 255, 255, 46);
    const reach = Math.max(1, Math.round(Math.min(width, height) / 400));
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        const segment = shown[i] - 1;
        if (segment === marked && marked >= 0) {
          const inside =
            x >= reach && x < width - reach && y >= reach && y < height - reach &&
            shown[i - reach] === shown[i] && shown[i + reach] === shown[i] &&
            shown[i - reach * width] === shown[i] && shown[i + reach * width] === shown[i];
          pixels[i] = inside ? (segment === isolated ? 0 : tint) : line;
        } else if (isolated >= 0 && segment !== isolated) {
          pixels[i] = dark;
        }
      }
    }
    context.putImageData(picture, 0, 0);
  }

  // The index map at the size of the canvas.
  #sampled() {
    const { frame, width, height } = this;
    if (width === frame.width && height === frame.height) return frame.index;
    const sampled = new Uint16Array(width * height);
    for (let y = 0, i = 0; y < height; y++) {
      const row = Math.floor(((y + 0.5) * frame.height) / height) * frame.width;
      for (let x = 0; x < width; x++, i++) {
        sampled[i] = frame.index[row + Math.floor(((x + 0.5) * frame.width) / width)];
      }
    }
    return sampled;
  }

  #painted(colors) {
    const canvas = document.createElement("canvas");
    canvas.width = this.width;
    canvas.height = this.height;
    const context = canvas.getContext("2d");
    const picture = context.createImageData(this.width, this.height);
    const pixels = new Uint32Array(picture.data.buffer);
    const table = Uint32Array.from([0, ...colors]);
    for (let i = 0; i < pixels.length; i++) pixels[i] = table[this.shown[i]];
    context.putImageData(picture, 0, 0);
    return canvas;
  }
}

const LITTLE_ENDIAN = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;

// RGBA as it lies in ImageData.
function packed(r, g, b, a) {
  return (LITTLE_ENDIAN ? (a << 24) | (b << 16) | (g << 8) | r : (r << 24) | (g << 16) | (b << 8) | a) >>> 0;
}
