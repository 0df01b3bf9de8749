"use strict";
// The map of many galaxies. All points go into an image (`layer`) that is somewhat larger than the
// canvas; while one drags or zooms, that image is moved and scaled, and it is made again when the
// view rests or leaves it. Places are in units of the map's longer side; (0, 0) is its lower left
// corner. Names enter the page as text, never as markup.

const at = (id) => document.getElementById(id);
const data = JSON.parse(at("data").textContent), { count, sample } = data;
const bytes = (id) => { // of an array in base64
  const text = atob(at(id).textContent.trim()), made = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) made[i] = text.charCodeAt(i);
  return made;
};
const xs = new Uint16Array(bytes("x").buffer), ys = new Uint16Array(bytes("y").buffer);
const allCodes = data.schemes.map(() => null); // decoded when they are shown
const codesOf = (k) => (allCodes[k] ??= bytes(`codes-${k}`));
const canvas = at("map"), pen = canvas.getContext("2d"), card = at("card");
const UNIT = 65535, REACH = 14; // pixels in which the pointer finds a galaxy
const MARGIN = 0.25; // of the canvas, that the layer has beyond each of its edges
const REST = 120; // milliseconds without a move after which the layer is made again
const MOST_TILES = 150; // thumbnails in sight

let scheme = 0, hidden = new Set(), chosen = -1, drawing = false, resting = 0;
let view = { zoom: 1, x: 0, y: 0 }; // pixels a unit, and where (0, 0) lies
let width = 0, height = 0, layer = null;
const toX = (i) => view.x + (xs[i] / UNIT) * view.zoom;
const toY = (i) => view.y - (ys[i] / UNIT) * view.zoom;

function fit() {
  const [w, h] = data.size, margin = 24;
  const zoom = Math.min((width - 2 * margin) / w, (height - 2 * margin) / h);
  view = { zoom, x: (width - w * zoom) / 2, y: (height + h * zoom) / 2,
    least: zoom * 0.6, most: zoom * Math.max(12, 2 * Math.sqrt(count)) };
}

function resize() {
  const box = canvas.getBoundingClientRect();
  const first = !width;
  canvas.width = width = Math.round(box.width);
  canvas.height = height = Math.round(box.height);
  if (first) fit();
  layer = null;
  redraw();
}

function redraw() {
  if (!drawing) requestAnimationFrame(draw);
  drawing = true;
}

// ---- the image of all points
function makeLayer() {
  const w = Math.ceil(width * (1 + 2 * MARGIN)), h = Math.ceil(height * (1 + 2 * MARGIN));
  const left = (w - width) / 2, top = (h - height) / 2, codes = codesOf(scheme);
  const { answers } = data.schemes[scheme], scale = view.zoom / UNIT;
  const red = [], green = [], blue = [];
  answers.forEach(({ colour }, k) => [red, green, blue].forEach((part, c) => {
    part[k] = hidden.has(k) ? 0xe7 : parseInt(colour.slice(1 + 2 * c, 3 + 2 * c), 16);
  }));
  const sums = new Float32Array(3 * w * h), numbers = new Float32Array(w * h);
  let sight = 0;
  for (let i = 0; i < count; i++) {
    const x = (view.x + left + xs[i] * scale) | 0, y = (view.y + top - ys[i] * scale) | 0;
    if (x < 0 || y < 0 || x >= w || y >= h) continue;
    const place = y * w + x, k = codes[i];
    sums[3 * place] += red[k];
    sums[3 * place + 1] += green[k];
    sums[3 * place + 2] += blue[k];
    numbers[place]++;
    sight++;
  }
  const image = new ImageData(w, h), pixels = new Uint32Array(image.data.buffer).fill(0xffffffff);
  // Points are as large as their number allows: one pixel, to a square of seven.
  const size = Math.max(1, Math.min(7, Math.round(0.4 * Math.sqrt((w * h) / (sight + 1)))));
  const half = size >> 1;
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++) {
      const place = y * w + x, n = numbers[place];
      if (!n) continue;
      const full = Math.min(1, 0.5 + 0.25 * Math.log2(n)); // several galaxies are darker than one
      const [r, g, b] = [0, 1, 2].map((c) => 255 - full * (255 - sums[3 * place + c] / n));
      const colour = ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
      if (size === 1) { pixels[place] = colour; continue; }
      for (let v = Math.max(0, y - half); v <= Math.min(h - 1, y + half); v++)
        pixels.fill(colour, v * w + Math.max(0, x - half), v * w + Math.min(w, x + half + 1));
    }
  const picture = document.createElement("canvas");
  picture.width = w;
  picture.height = h;
  picture.getContext("2d").putImageData(image, 0, 0);
  layer = { picture, left, top, zoom: view.zoom, x: view.x, y: view.y, sight };
}

const rested = () => layer && layer.zoom === view.zoom && layer.x === view.x && layer.y === view.y;
function draw() {
  drawing = false;
  if (!width || !height) return;
  if (!layer) makeLayer();
  const ratio = view.zoom / layer.zoom;
  const x = view.x - (layer.x + layer.left) * ratio, y = view.y - (layer.y + layer.top) * ratio;
  const leaves = x > 0 || y > 0 || x + layer.picture.width * ratio < width
    || y + layer.picture.height * ratio < height;
  clearTimeout(resting);
  if (!rested()) resting = setTimeout(() => { layer = null; redraw(); }, leaves ? 0 : REST);
  pen.fillStyle = "#FFFFFF";
  pen.fillRect(0, 0, width, height);
  pen.drawImage(layer.picture, x, y, layer.picture.width * ratio, layer.picture.height * ratio);
  drawTiles();
  if (chosen >= 0) {
    pen.beginPath();
    pen.arc(toX(chosen), toY(chosen), 10, 0, 2 * Math.PI);
    pen.strokeStyle = "#CC3311";
    pen.lineWidth = 3;
    pen.stroke();
  }
  if (!window.firstFrame) requestAnimationFrame(() => {
    window.firstFrame = performance.now();
    document.documentElement.dataset.firstFrame = window.firstFrame.toFixed(0);
  });
}

// ---- thumbnails of the sample
const sheets = new Map(), numberOf = new Map(sample.map((i, k) => [i, k]));
function drawTile(onto, k, x, y, side) {
  const number = Math.floor(k / data.tiles ** 2), source = at(`sheet-${number}`);
  if (!sheets.has(number) && source) {
    const image = new Image();
    image.onload = () => { redraw(); showCard(); };
    image.src = "data:image/jpeg;base64," + source.textContent;
    sheets.set(number, image);
  }
  const image = sheets.get(number), place = k % data.tiles ** 2, tile = data.tile;
  if (!image || !image.complete || !image.naturalWidth) return;
  onto.drawImage(image, (place % data.tiles) * tile, Math.floor(place / data.tiles) * tile,
    tile, tile, x, y, side, side);
}

function drawTiles() {
  if (view.zoom < 1.7 * view.least / 0.6) return;
  const sight = sample.map((i, k) => [i, k]).filter(([i]) => {
    const x = toX(i), y = toY(i);
    return x > -30 && y > -30 && x < width + 30 && y < height + 30;
  });
  if (sight.length <= MOST_TILES)
    for (const [i, k] of sight) drawTile(pen, k, toX(i) - 22, toY(i) - 22, 44);
}

// ---- names, read when they are first needed
let names = null;
async function readNames() {
  if (names) return names;
  const stream = new Blob([bytes("names")]).stream().pipeThrough(new DecompressionStream("gzip"));
  const text = await new Response(stream).text();
  names = text.split("\n");
  return names;
}

function element(parent, tag, words) {
  const made = document.createElement(tag);
  made.textContent = words;
  parent.append(made);
  return made;
}

async function showCard() {
  const i = chosen;
  card.hidden = i < 0;
  if (i < 0) return;
  const name = (await readNames())[i];
  if (i !== chosen) return;
  card.replaceChildren();
  if (numberOf.has(i)) {
    const picture = element(card, "canvas", "");
    picture.width = picture.height = 2 * data.tile;
    drawTile(picture.getContext("2d"), numberOf.get(i), 0, 0, 2 * data.tile);
  }
  element(card, "h2", name);
  data.schemes.forEach(({ title, answers }, k) =>
    element(card, "p", `${title}: ${answers[codesOf(k)[i]].label}`));
}

function choose(i) {
  if (i === chosen) return;
  chosen = i;
  showCard();
  redraw();
}

function nearest(x, y, reach) {
  const codes = codesOf(scheme), scale = view.zoom / UNIT;
  let best = -1, least = reach * reach;
  for (let i = 0; i < count; i++) {
    const dx = view.x + xs[i] * scale - x, dy = view.y - ys[i] * scale - y;
    const apart = dx * dx + dy * dy;
    if (apart < least && !hidden.has(codes[i])) { least = apart; best = i; }
  }
  return best;
}

// ---- pointer and keys
function zoomAbout(x, y, factor) {
  const zoom = Math.max(view.least, Math.min(view.most, view.zoom * factor));
  view.x = x - (x - view.x) * zoom / view.zoom;
  view.y = y - (y - view.y) * zoom / view.zoom;
  view.zoom = zoom;
  redraw();
}
const move = (dx, dy) => { view.x += dx; view.y += dy; redraw(); };
const fingers = new Map();
const place = ({ clientX, clientY }) => {
  const { left, top } = canvas.getBoundingClientRect();
  return [clientX - left, clientY - top];
};
const middleOf = ([a, b = a]) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2, Math.hypot(a[0] - b[0], a[1] - b[1])];
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, place(event));
  if (event.pointerType !== "mouse") choose(nearest(...place(event), 26));
});
canvas.addEventListener("pointermove", (event) => {
  if (!fingers.has(event.pointerId)) {
    if (event.pointerType === "mouse") choose(nearest(...place(event), REACH));
    return;
  }
  const before = middleOf([...fingers.values()]);
  fingers.set(event.pointerId, place(event));
  const now = middleOf([...fingers.values()]);
  move(now[0] - before[0], now[1] - before[1]);
  if (before[2] && now[2]) zoomAbout(now[0], now[1], now[2] / before[2]);
});
for (const kind of ["pointerup", "pointercancel"])
  canvas.addEventListener(kind, ({ pointerId }) => fingers.delete(pointerId));
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoomAbout(...place(event), Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)));
}, { passive: false });
const zoomBy = (factor) => zoomAbout(width / 2, height / 2, factor);
const reset = () => { fit(); redraw(); };
const KEYS = {
  ArrowRight: () => move(-60, 0), ArrowLeft: () => move(60, 0), ArrowUp: () => move(0, 60),
  ArrowDown: () => move(0, -60), "+": () => zoomBy(1.4), "=": () => zoomBy(1.4),
  "-": () => zoomBy(1 / 1.4), 0: reset, Escape: () => choose(-1),
};
canvas.addEventListener("keydown", (event) => {
  const act = !event.ctrlKey && !event.metaKey && !event.altKey && KEYS[event.key];
  if (act) { event.preventDefault(); act(); }
});
at("in").addEventListener("click", () => zoomBy(1.6));
at("out").addEventListener("click", () => zoomBy(1 / 1.6));
at("all").addEventListener("click", reset);

// ---- search
let asked = "", last = -1;
at("search").addEventListener("submit", async (event) => {
  event.preventDefault();
  const wanted = at("words").value.trim().toLowerCase();
  if (!wanted) return;
  if (wanted !== asked) { asked = wanted; last = -1; }
  const all = await readNames(), fits = (name) => name.toLowerCase().includes(wanted);
  let i = all.findIndex((name, k) => k > last && fits(name));
  if (i < 0 && last >= 0) i = all.findIndex(fits);
  last = i;
  at("said").textContent = i < 0 ? "No galaxy has this name." : `${all[i]}: Enter for the next.`;
  if (i < 0) return;
  if (view.zoom < 8 * view.least) zoomBy(8 * view.least / view.zoom);
  move(width / 2 - toX(i), height / 2 - toY(i));
  choose(i);
});

// ---- colours and legend
function legend() {
  const { answers } = data.schemes[scheme], numbers = new Array(answers.length).fill(0);
  for (const code of codesOf(scheme)) numbers[code]++;
  at("legend").replaceChildren();
  answers.forEach((answer, code) => {
    if (!numbers[code]) return;
    const button = element(at("legend"), "button", "");
    button.type = "button";
    button.setAttribute("aria-pressed", String(!hidden.has(code)));
    const sign = element(button, "canvas", "");
    sign.width = sign.height = 32;
    const onto = sign.getContext("2d");
    onto.fillStyle = answer.colour;
    onto.fillRect(6, 6, 20, 20);
    element(button, "span", answer.label);
    element(button, "small", numbers[code].toLocaleString("en"));
    button.addEventListener("click", () => {
      if (!hidden.delete(code)) hidden.add(code);
      button.setAttribute("aria-pressed", String(!hidden.has(code)));
      layer = null;
      redraw();
    });
  });
}
at("scheme").replaceChildren(...data.schemes.map(({ title }, k) => new Option(title, k)));
at("scheme").addEventListener("change", ({ target }) => {
  scheme = Number(target.value);
  hidden = new Set();
  layer = null;
  legend();
  redraw();
});
legend();
new ResizeObserver(resize).observe(canvas);
resize();
