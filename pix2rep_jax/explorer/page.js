// @ts-check
"use strict";

/**
 * @typedef {object} ScanFacts
 * @property {string} name
 * @property {[number, number, number]} shape Slices, rows and columns of the image.
 * @property {[number, number]} grid Rows and columns of the embedded pixels.
 * @property {number} first The image's row, and column, of the first embedded pixel.
 * @property {number} step From one embedded pixel to the next, px of the image.
 * @property {number[]} slices The scan's index of each slice.
 * @property {number[][]} affine From row, column, slice of the image to mm.
 * @property {number} image Where its bytes begin; so for the next three.
 * @property {number} values
 * @property {number | null} labels
 * @property {number | null} predictions
 *
 * @typedef {object} Facts
 * @property {string} title
 * @property {string} about
 * @property {string[]} classes
 * @property {string[]} notes
 * @property {number} error
 * @property {number} largestError
 * @property {number} axes
 * @property {number} scale
 * @property {{mean: number[], axes: number[][], low: number[], high: number[]}} colours
 * @property {ScanFacts[]} scans
 *
 * @typedef {object} Pixel An embedded pixel.
 * @property {number} scan
 * @property {number} slice
 * @property {number} row
 * @property {number} column
 *
 * @typedef {object} Scan
 * @property {ScanFacts} facts
 * @property {Uint8Array} image
 * @property {Float32Array} vectors Nearly of length 1; zeros outside of the scan.
 * @property {Uint8Array} inside
 * @property {Uint8Array | null} labels
 * @property {Uint8Array | null} predictions
 * @property {Uint8Array | null} colours
 * @property {Float32Array} similarity To the query.
 * @property {number} best The pixel that is most similar to the query.
 * @property {Uint8Array} found The class by the nearest example.
 * @property {number} shown The slice on view.
 * @property {Parts} parts
 *
 * @typedef {object} Parts
 * @property {HTMLElement} card
 * @property {HTMLElement} note
 * @property {HTMLCanvasElement} canvas
 * @property {HTMLInputElement} slider
 * @property {HTMLElement} number
 * @property {HTMLButtonElement} save
 */

/** @type {Record<string, string>} */
const VIEWS = {
  similarity: "Similarity",
  components: "Components",
  mask: "Expert's mask",
  prediction: "Prediction",
  examples: "Mask by examples",
  image: "Image",
};

/** By Okabe and Ito, background first, in the order of the program's other pictures. */
const CLASS_COLOURS = [
  "#999999", "#56B4E9", "#F0E442", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#0072B2",
];

/** Nine points of viridis, which the colour-blind can read too. */
const VIRIDIS = [
  [68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142],
  [31, 158, 137], [53, 183, 121], [110, 206, 88], [253, 231, 37],
];

const MARK = "#CC79A7";
const NO_CLASS = 255;

/** @type {Facts} */
const facts = JSON.parse(text("facts"));
/** @type {Scan[]} */
const scans = [];
const state = {
  /** @type {Pixel} */
  query: { scan: 0, slice: 0, row: 0, column: 0 },
  held: false,
  view: "similarity",
  /** @type {{pixel: Pixel, label: number}[]} */
  examples: [],
  lowest: 0,
  least: 0.5,
};

/** @param {string} id */
function text(id) {
  return document.getElementById(id)?.textContent ?? "";
}

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
function part(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${id}`);
  return found;
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {HTMLElement} parent
 * @param {string} [className]
 * @param {string} [content]
 */
function add(tag, parent, className = "", content = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = content;
  parent.append(element);
  return element;
}

/** @param {number} label */
function classColour(label) {
  const others = CLASS_COLOURS.length - 1;
  return CLASS_COLOURS[label ? ((label - 1) % others) + 1 : 0];
}

/** @param {string} hex */
function rgb(hex) {
  return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
}

/** @param {number} value From 0 to 1. */
function viridis(value) {
  const place = Math.min(Math.max(value, 0), 1) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(place), VIRIDIS.length - 2);
  return VIRIDIS[low].map((x, i) => x + (place - low) * (VIRIDIS[low + 1][i] - x));
}

// ---------------------------------------------------------------- what the page holds

/** @returns {Promise<Uint8Array>} */
async function unpack() {
  const packed = atob(text("content").trim());
  const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream();
  const unpacked = stream.pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(unpacked).arrayBuffer());
}

/**
 * @param {Uint8Array} bytes
 * @param {ScanFacts} of
 * @returns {Scan}
 */
function readScan(bytes, of) {
  const pixels = of.shape[0] * of.shape[1] * of.shape[2];
  const embedded = of.shape[0] * of.grid[0] * of.grid[1];
  const axes = facts.axes;
  const values = new Int8Array(bytes.buffer, of.values, embedded * axes);
  const vectors = new Float32Array(embedded * axes);
  const inside = new Uint8Array(embedded);
  for (let axis = 0, at = 0; axis < axes; axis++) {
    for (let pixel = 0; pixel < embedded; pixel++, at++) {
      if (values[at] === 0) continue;
      vectors[pixel * axes + axis] = values[at] * facts.scale;
      inside[pixel] = 1;
    }
  }
  /** @param {number | null} start */
  const take = (start) =>
    start === null ? null : bytes.subarray(start, start + pixels);
  return {
    facts: of,
    image: bytes.subarray(of.image, of.image + pixels),
    vectors,
    inside,
    labels: take(of.labels),
    predictions: take(of.predictions),
    colours: null,
    similarity: new Float32Array(embedded),
    best: 0,
    found: new Uint8Array(embedded).fill(NO_CLASS),
    shown: of.shape[0] >> 1,
    parts: makeCard(of),
  };
}

/**
 * @param {Scan} scan
 * @param {Pixel} pixel
 */
function indexOf(scan, pixel) {
  const [rows, columns] = scan.facts.grid;
  return (pixel.slice * rows + pixel.row) * columns + pixel.column;
}

/**
 * @param {number} scan
 * @param {number} index
 * @returns {Pixel}
 */
function pixelAt(scan, index) {
  const [rows, columns] = scans[scan].facts.grid;
  const row = Math.floor(index / columns) % rows;
  return { scan, slice: Math.floor(index / (rows * columns)), row, column: index % columns };
}

/** @param {Pixel} pixel */
function vectorOf(pixel) {
  const axes = facts.axes;
  const index = indexOf(scans[pixel.scan], pixel);
  return scans[pixel.scan].vectors.subarray(index * axes, (index + 1) * axes);
}

/**
 * The cosines of a pixel with all pixels of a scan; -2 outside of the scan.
 * @param {Float32Array} query
 * @param {Scan} scan
 * @param {Float32Array} result
 */
function compare(query, scan, result) {
  const axes = query.length;
  const { vectors, inside } = scan;
  for (let pixel = 0, at = 0; pixel < result.length; pixel++, at += axes) {
    let sum = 0;
    for (let axis = 0; axis < axes; axis++) sum += query[axis] * vectors[at + axis];
    result[pixel] = inside[pixel] ? Math.min(Math.max(sum, -1), 1) : -2;
  }
}

/** @param {Scan} scan */
function paintComponents(scan) {
  const { mean, axes, low, high } = facts.colours;
  const number = facts.axes;
  const colours = new Uint8Array(scan.inside.length * 3);
  for (let pixel = 0; pixel < scan.inside.length; pixel++) {
    for (let colour = 0; scan.inside[pixel] && colour < 3; colour++) {
      let place = 0;
      for (let axis = 0; axis < number; axis++) {
        place += (scan.vectors[pixel * number + axis] - mean[axis]) * axes[axis][colour];
      }
      const share = (place - low[colour]) / Math.max(high[colour] - low[colour], 1e-12);
      colours[pixel * 3 + colour] = 255 * Math.min(Math.max(share, 0), 1);
    }
  }
  return colours;
}

/** Decides which similarity has the darkest colour: one that most pairs exceed. */
function findLowest() {
  const sample = [];
  for (const [index, scan] of scans.entries()) {
    const stride = Math.max(1, Math.floor(scan.inside.length / 60));
    for (let pixel = stride >> 1; pixel < scan.inside.length; pixel += stride) {
      if (scan.inside[pixel]) sample.push(vectorOf(pixelAt(index, pixel)));
    }
  }
  const found = [];
  for (const [index, one] of sample.entries()) {
    for (const other of sample.slice(index + 1)) {
      found.push(one.reduce((sum, value, axis) => sum + value * other[axis], 0));
    }
  }
  found.sort((a, b) => a - b);
  return found.length ? Math.floor(found[found.length >> 2] * 20) / 20 : 0;
}

// ------------------------------------------------------------------ masks by examples

function findByExamples() {
  for (const scan of scans) {
    scan.found.fill(NO_CLASS);
    const nearest = new Float32Array(scan.inside.length).fill(state.least);
    const found = new Float32Array(scan.inside.length);
    for (const example of state.examples) {
      compare(vectorOf(example.pixel), scan, found);
      for (let pixel = 0; pixel < found.length; pixel++) {
        if (found[pixel] >= nearest[pixel]) {
          nearest[pixel] = found[pixel];
          scan.found[pixel] = example.label;
        }
      }
    }
    scan.parts.save.hidden = !state.examples.some((example) => example.label);
  }
}

/**
 * The mask by examples as NIfTI, on the pixels of the page's image.
 * @param {Scan} scan
 * @returns {Uint8Array<ArrayBuffer>}
 */
function maskFile(scan) {
  const [slices, rows, columns] = scan.facts.shape;
  const [height, width] = scan.facts.grid;
  const { affine, first, step } = scan.facts;
  const file = new Uint8Array(352 + rows * columns * slices);
  const header = new DataView(file.buffer);
  header.setInt32(0, 348, true); // sizeof_hdr
  [3, rows, columns, slices, 1, 1, 1, 1].forEach((length, axis) =>
    header.setInt16(40 + 2 * axis, length, true));
  header.setInt16(70, 2, true); // datatype: uint8
  header.setInt16(72, 8, true); // bits of a voxel
  const sizes = [0, 1, 2].map((axis) => Math.hypot(...affine.map((x) => x[axis]).slice(0, 3)));
  [1, ...sizes, 1, 1, 1, 1].forEach((size, axis) =>
    header.setFloat32(76 + 4 * axis, size, true));
  header.setFloat32(108, 352, true); // where the voxels begin
  header.setFloat32(112, 1, true); // slope
  header.setUint8(123, 2); // mm
  header.setInt16(254, 1, true); // the affine is that of the scanner
  affine.slice(0, 3).forEach((line, row) => line.forEach((value, column) =>
    header.setFloat32(280 + 16 * row + 4 * column, value, true)));
  [0x6e, 0x2b, 0x31, 0].forEach((letter, index) => header.setUint8(344 + index, letter));
  /** @param {number} place @param {number} most */
  const cell = (place, most) =>
    Math.min(Math.max(Math.round((place - first) / step), 0), most - 1);
  let at = 352;
  for (let slice = 0; slice < slices; slice++) {
    for (let column = 0; column < columns; column++) {
      for (let row = 0; row < rows; row++) {
        const place = (slice * height + cell(row, height)) * width + cell(column, width);
        file[at++] = scan.found[place] === NO_CLASS ? 0 : scan.found[place];
      }
    }
  }
  return file;
}

/** @param {Scan} scan */
function saveMask(scan) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([maskFile(scan)]));
  link.download = `${scan.facts.name.replace(/[^\w.-]+/g, "_")}_examples.nii`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// ---------------------------------------------------------------------------- drawing

/** @param {ScanFacts} of @returns {Parts} */
function makeCard(of) {
  const card = add("article", part("scans", HTMLElement), "card");
  const top = add("div", card, "top");
  add("h2", top, "", of.name).title = of.name;
  const note = add("span", top, "found");
  const canvas = add("canvas", card);
  const scale = Math.max(1, Math.round(512 / Math.max(of.shape[1], of.shape[2])));
  canvas.width = of.shape[1] * scale; // rows go to the right, as in figures
  canvas.height = of.shape[2] * scale;
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-roledescription", "scan");
  canvas.setAttribute("aria-describedby", "help");
  const line = add("label", card, "slice");
  const slider = add("input", line);
  const number = add("span", line);
  slider.type = "range";
  slider.min = "0";
  slider.max = String(of.shape[0] - 1);
  slider.setAttribute("aria-label", `Slice of ${of.name}`);
  const save = add("button", line, "save", "Save the mask");
  save.type = "button";
  save.hidden = true;
  return { card, note, canvas, slider, number, save };
}

/**
 * Turns values of a slice into a picture that can be stretched.
 * @param {number} width
 * @param {number} height
 * @param {(pixel: number) => number[]} paint Gives red, green, blue and opacity.
 */
function picture(width, height, paint) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel++) {
    image.data.set(paint(pixel), 4 * pixel);
  }
  context?.putImageData(image, 0, 0);
  return canvas;
}

/** @param {Scan} scan @param {number} index */
function draw(scan, index) {
  const { facts: of, shown, parts } = scan;
  const [, rows, columns] = of.shape;
  const [height, width] = of.grid;
  const context = parts.canvas.getContext("2d");
  if (!context) return;
  const scale = parts.canvas.width / rows;
  const start = shown * rows * columns;
  context.setTransform(0, 1, 1, 0, 0, 0); // columns go down, rows to the right
  context.imageSmoothingQuality = "high";
  context.imageSmoothingEnabled = true;
  const grey = picture(columns, rows, (pixel) => {
    const value = scan.image[start + pixel];
    return [value, value, value, 255];
  });
  context.drawImage(grey, 0, 0, columns * scale, rows * scale);

  const strength = 255 * Number(part("strength", HTMLInputElement).value);
  const cells = shown * height * width;
  /** @type {((pixel: number) => number[]) | null} */
  let paint = null;
  let onImage = false;
  if (state.view === "similarity") {
    const span = Math.max(1 - state.lowest, 1e-6);
    paint = (pixel) => {
      const share = (scan.similarity[cells + pixel] - state.lowest) / span;
      if (!scan.inside[cells + pixel]) return [0, 0, 0, 0];
      return [...viridis(share), strength * (0.35 + 0.65 * Math.min(Math.max(share, 0), 1))];
    };
  } else if (state.view === "components") {
    const colours = (scan.colours ??= paintComponents(scan));
    paint = (pixel) => {
      const at = 3 * (cells + pixel);
      const opacity = scan.inside[cells + pixel] ? strength : 0;
      return [colours[at], colours[at + 1], colours[at + 2], opacity];
    };
  } else if (state.view !== "image") {
    const labels = { mask: scan.labels, prediction: scan.predictions, examples: scan.found }[
      state.view
    ];
    onImage = state.view !== "examples";
    const begin = onImage ? start : cells;
    paint = labels
      ? (pixel) => {
          const label = labels[begin + pixel];
          if (label === 0 || label === NO_CLASS) return [0, 0, 0, 0];
          return [...rgb(classColour(label)), 0.8 * strength];
        }
      : null;
  }
  if (paint) {
    const isSmooth = state.view === "similarity" || state.view === "components";
    context.imageSmoothingEnabled = isSmooth;
    const over = onImage ? picture(columns, rows, paint) : picture(width, height, paint);
    // An embedded pixel stands for `step` pixels of the image, about its own place.
    const at = onImage ? 0 : (of.first - (of.step - 1) / 2) * scale;
    const size = onImage ? scale : of.step * scale;
    context.drawImage(over, at, at, over.width * size, over.height * size);
  }
  for (const example of state.examples) {
    if (example.pixel.scan === index && example.pixel.slice === shown) {
      dot(context, scan, example.pixel, scale, classColour(example.label));
    }
  }
  const isQuery = index === state.query.scan;
  const marked = isQuery ? state.query : pixelAt(index, scan.best);
  if (marked.slice === shown) ring(context, scan, marked, scale, isQuery);
}

/** @param {Scan} scan @param {Pixel} pixel @param {number} scale */
function place(scan, pixel, scale) {
  const { first, step } = scan.facts;
  return [pixel.column, pixel.row].map((x) => (first + step * x + 0.5) * scale);
}

/** @param {Scan} scan How many pixels of the canvas are one of the screen. */
function unitOf(scan) {
  const { canvas } = scan.parts;
  return canvas.width / (canvas.clientWidth || 400);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Scan} scan
 * @param {Pixel} pixel
 * @param {number} scale
 * @param {boolean} isQuery
 */
function ring(context, scan, pixel, scale, isQuery) {
  const [x, y] = place(scan, pixel, scale);
  const unit = unitOf(scan);
  const [near, far] = [8 * unit, 14 * unit];
  for (const [colour, thick] of /** @type {[string, number][]} */ ([
    ["#000", 6], ["#fff", 4.5], [MARK, 2.5],
  ])) {
    context.strokeStyle = colour;
    context.lineWidth = thick * unit;
    context.beginPath();
    context.arc(x, y, near, 0, 2 * Math.PI);
    if (isQuery) {
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + near * dx, y + near * dy);
        context.lineTo(x + far * dx, y + far * dy);
      }
    }
    context.stroke();
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Scan} scan
 * @param {Pixel} pixel
 * @param {number} scale
 * @param {string} colour
 */
function dot(context, scan, pixel, scale, colour) {
  const [x, y] = place(scan, pixel, scale);
  context.beginPath();
  context.arc(x, y, 5 * unitOf(scan), 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.fill();
  context.lineWidth = 1.5 * unitOf(scan);
  context.strokeStyle = "#fff";
  context.stroke();
}

/** @param {Pixel} pixel In words, with the image's rows and columns. */
function describe(pixel) {
  const { name, slices, first, step } = scans[pixel.scan].facts;
  const [row, column] = [pixel.row, pixel.column].map((x) => first + step * x);
  return `${name}, slice ${slices[pixel.slice]}, row ${row}, column ${column}`;
}

/** @param {Pixel} pixel The class that the expert's mask has there; "" if unknown. */
function classAt(pixel) {
  const { labels, facts: of } = scans[pixel.scan];
  const [row, column] = [pixel.row, pixel.column].map((x) => of.first + of.step * x);
  const label = labels?.[(pixel.slice * of.shape[1] + row) * of.shape[2] + column];
  return label === undefined || label === NO_CLASS ? "" : facts.classes[label] ?? "";
}

function showAll() {
  const { query } = state;
  const words = [];
  for (const [index, scan] of scans.entries()) {
    const isQuery = index === query.scan;
    const best = isQuery ? query : pixelAt(index, scan.best);
    const name = classAt(best);
    const value = scan.similarity[scan.best].toFixed(2);
    const { parts, facts: of } = scan;
    parts.card.classList.toggle("query", isQuery);
    parts.note.textContent = (isQuery ? "query" : value) + (name ? ` on ${name}` : "");
    parts.slider.value = String(scan.shown);
    parts.number.textContent = `slice ${of.slices[scan.shown]}`;
    parts.canvas.setAttribute("aria-label", isQuery
      ? `${describe(query)}, the query`
      : `${of.name}, slice ${of.slices[scan.shown]}, closest pixel ${value}`);
    if (!isQuery) words.push(`${of.name} ${value}${name ? ` on ${name}` : ""}`);
    draw(scan, index);
  }
  const status = part("status", HTMLElement);
  const name = classAt(query);
  status.textContent = `${state.held ? "Held" : "Query"}: ${describe(query)}${name ? ` (${name})` : ""}`;
  // Everybody else sees it above each scan.
  if (state.held && words.length) add("span", status, "hidden", `. Closest: ${words.join(", ")}`);
  part("add", HTMLButtonElement).disabled = !state.held;
}

let waiting = false;
function showSoon() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    showAll();
  });
}

// ---------------------------------------------------------------------- what users do

/** @param {Pixel} pixel @param {boolean} held */
function ask(pixel, held) {
  const moves = part("follow", HTMLInputElement).checked;
  state.query = pixel;
  state.held = held;
  const vector = vectorOf(pixel);
  for (const [index, scan] of scans.entries()) {
    compare(vector, scan, scan.similarity);
    let best = 0;
    scan.similarity.forEach((value, at) => {
      if (value > scan.similarity[best]) best = at;
    });
    scan.best = best;
    if (index === pixel.scan) scan.shown = pixel.slice;
    else if (moves) scan.shown = pixelAt(index, best).slice;
  }
  if (held) remember();
  showSoon();
}

/** @param {number} index @param {number} slice @param {number} row @param {number} column */
function nearest(index, slice, row, column) {
  const { grid, shape, first, step } = scans[index].facts;
  /** @param {number} value @param {number} most */
  const within = (value, most) => Math.min(Math.max(Math.round(value), 0), most - 1);
  return {
    scan: index,
    slice: within(slice, shape[0]),
    row: within((row - first) / step, grid[0]),
    column: within((column - first) / step, grid[1]),
  };
}

/** @param {MouseEvent} event @param {number} index */
function pointed(event, index) {
  const { parts, facts: of, shown } = scans[index];
  const box = parts.canvas.getBoundingClientRect();
  const row = ((event.clientX - box.left) / box.width) * of.shape[1] - 0.5;
  const column = ((event.clientY - box.top) / box.height) * of.shape[2] - 0.5;
  return nearest(index, shown, row, column);
}

/** @param {KeyboardEvent} event @param {number} index */
function pressed(event, index) {
  const scan = scans[index];
  const { grid, shape } = scan.facts;
  /** @type {Record<string, [number, number, number]>} */
  const moves = {
    ArrowUp: [0, 0, -1], ArrowDown: [0, 0, 1], ArrowLeft: [0, -1, 0], ArrowRight: [0, 1, 0],
    PageUp: [1, 0, 0], PageDown: [-1, 0, 0],
  };
  if (event.key === "Enter") {
    if (state.held) addExample();
  } else if (event.key in moves) {
    const from = state.query.scan === index ? state.query : pixelAt(index, scan.best);
    const [slices, rows, columns] = moves[event.key].map((x) => (event.shiftKey ? 5 * x : x));
    /** @param {number} value @param {number} most */
    const within = (value, most) => Math.min(Math.max(value, 0), most - 1);
    const slice = within(from.slice + slices, shape[0]);
    const row = within(from.row + rows, grid[0]);
    ask({ scan: index, slice, row, column: within(from.column + columns, grid[1]) }, true);
  } else {
    return;
  }
  event.preventDefault();
}

/** @param {string} view */
function choose(view) {
  state.view = view;
  for (const input of document.querySelectorAll("#views input")) {
    if (input instanceof HTMLInputElement) input.checked = input.value === view;
  }
  const legend = part("legend", HTMLElement);
  legend.replaceChildren();
  if (view === "similarity") {
    add("span", legend, "", state.lowest.toFixed(2));
    const stops = VIRIDIS.map((colour) => `rgb(${colour.join(" ")})`);
    add("span", legend, "ramp").style.background = `linear-gradient(to right, ${stops.join()})`;
    add("span", legend, "", "1 cosine");
  } else if (view === "components") {
    add("span", legend, "", "three principal components as red, green and blue");
  } else if (view !== "image") {
    for (const [label, name] of classNames().entries()) {
      if (!label) continue;
      const entry = add("span", legend);
      add("i", entry).style.background = classColour(label);
      entry.append(name);
    }
  }
  remember();
  showSoon();
}

function classNames() {
  if (facts.classes.length > 1) return facts.classes;
  return ["background", ...[1, 2, 3, 4].map((number) => `structure ${number}`)];
}

function addExample() {
  const label = Number(part("class", HTMLSelectElement).value);
  state.examples.push({ pixel: { ...state.query }, label });
  changeExamples();
  choose("examples");
}

function changeExamples() {
  findByExamples();
  const list = part("points", HTMLElement);
  list.replaceChildren();
  for (const example of state.examples) {
    const button = add("button", add("li", list));
    add("i", button).style.background = classColour(example.label);
    button.append(`${classNames()[example.label]}: ${describe(example.pixel)}  ×`);
    button.type = "button";
    button.setAttribute("aria-label", `Remove ${button.textContent}`);
    button.addEventListener("click", () => {
      state.examples = state.examples.filter((each) => each !== example);
      changeExamples();
    });
  }
  part("clear", HTMLButtonElement).disabled = !state.examples.length;
  part("least-value", HTMLElement).textContent = state.least.toFixed(2);
  part("least", HTMLInputElement).value = String(state.least);
  remember();
  showSoon();
}

// --------------------------------------------------------------- the page's own address

/** @param {Pixel} pixel With rows and columns of the image. */
function numbers(pixel) {
  const { slices, first, step } = scans[pixel.scan].facts;
  const [row, column] = [pixel.row, pixel.column].map((x) => first + step * x);
  return [pixel.scan, slices[pixel.slice], row, column];
}

let isReading = false;
function remember() {
  if (isReading) return;
  const [scan, slice, row, column] = numbers(state.query);
  const words = state.held ? [`scan=${scan}`, `slice=${slice}`, `row=${row}`, `column=${column}`] : [];
  words.push(`view=${state.view}`);
  if (state.examples.length) {
    const points = state.examples.map((x) => [x.label, ...numbers(x.pixel)].join("."));
    words.push(`examples=${points.join()}`, `least=${state.least}`);
  }
  try {
    history.replaceState(null, "", `#${words.join("&")}`);
  } catch {
    // Some viewers of files do not allow it.
  }
}

/** @param {number[]} given Scan, slice of the scan, row and column of the image. */
function readPixel([scan, slice, row, column]) {
  if (!scans[scan]) return null;
  const { slices } = scans[scan].facts;
  const distance = slices.map((x) => Math.abs(x - slice));
  return nearest(scan, distance.indexOf(Math.min(...distance)), row, column);
}

function readAddress() {
  const words = new URLSearchParams(location.hash.slice(1));
  isReading = true;
  const points = (words.get("examples") ?? "").split(",").filter(Boolean);
  state.examples = points.flatMap((point) => {
    const [label, ...rest] = point.split(".").map(Number);
    const pixel = readPixel(rest);
    return pixel && label in classNames() ? [{ pixel, label }] : [];
  });
  if (words.has("least")) state.least = Number(words.get("least")) || 0;
  const given = ["scan", "slice", "row", "column"].map((name) => Number(words.get(name)));
  const named = words.has("scan") ? readPixel(given) : null;
  const [slices, rows, columns] = scans[0].facts.shape;
  ask(named ?? nearest(0, slices >> 1, rows >> 1, columns >> 1), named !== null);
  changeExamples();
  const view = words.get("view") ?? "";
  choose(view in VIEWS && available(view) ? view : "similarity");
  isReading = false;
}

/** @param {string} view */
function available(view) {
  if (view === "mask") return scans.some((scan) => scan.labels);
  return view !== "prediction" || scans.some((scan) => scan.predictions);
}

// ------------------------------------------------------------------------------ start

function makeControls() {
  part("title", HTMLElement).textContent = document.title = facts.title;
  part("about", HTMLElement).textContent =
    `${facts.about} Similarities are made from numbers of 8 bits on ${facts.axes} ` +
    `axes: by that, 99 % of them are off by at most ${facts.error.toFixed(3)}, and the ` +
    `worst of those compared by ${facts.largestError.toFixed(3)}.`;
  const notes = ["Everything is in this file; it sends nothing anywhere. Not a medical device."];
  for (const note of [...facts.notes, ...notes]) add("li", part("notes", HTMLElement), "", note);
  for (const [view, name] of Object.entries(VIEWS)) {
    if (!available(view)) continue;
    const label = add("label", part("views", HTMLElement));
    const input = add("input", label);
    Object.assign(input, { type: "radio", name: "view", value: view });
    label.append(name);
    input.addEventListener("change", () => choose(view));
  }
  const select = part("class", HTMLSelectElement);
  classNames().forEach((name, label) => {
    const option = add("option", select, "", name);
    option.value = String(label);
    option.selected = label === 1;
  });
  part("strength", HTMLInputElement).addEventListener("input", showSoon);
  part("follow", HTMLInputElement).addEventListener("change", () => ask(state.query, state.held));
  part("add", HTMLButtonElement).addEventListener("click", addExample);
  part("clear", HTMLButtonElement).addEventListener("click", () => {
    state.examples = [];
    changeExamples();
  });
  part("least", HTMLInputElement).addEventListener("input", (event) => {
    if (event.target instanceof HTMLInputElement) state.least = Number(event.target.value);
    changeExamples();
  });
  window.addEventListener("hashchange", readAddress);
  window.addEventListener("resize", showSoon);
  window.addEventListener("keydown", (event) => {
    if (event.key === "Escape") ask(state.query, false);
  });
}

/** @param {Scan} scan @param {number} index */
function listen(scan, index) {
  const { canvas, slider, save } = scan.parts;
  let isDragged = false;
  canvas.addEventListener("pointerdown", (event) => {
    isDragged = true;
    ask(pointed(event, index), true);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (isDragged && event.buttons) ask(pointed(event, index), true);
    else if (!state.held && event.pointerType === "mouse") ask(pointed(event, index), false);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => (isDragged = false));
  }
  canvas.addEventListener("keydown", (event) => pressed(event, index));
  slider.addEventListener("input", () => {
    scan.shown = Number(slider.value);
    showSoon();
  });
  save.addEventListener("click", () => saveMask(scan));
}

/** Draws the page; what tests and other programs may use comes with the result. */
async function start() {
  const bytes = await unpack();
  for (const of of facts.scans) scans.push(readScan(bytes, of));
  scans.forEach(listen);
  state.lowest = findLowest();
  state.least = (1 + state.lowest) / 2;
  makeControls();
  readAddress();
  showAll();
  return { facts, scans, state, ask, maskFile, pixelAt, indexOf };
}

const explorer = start();
explorer.catch((error) => {
  part("status", HTMLElement).textContent =
    `This browser cannot open the page (${error}). Any of 2023 or later can.`;
});
