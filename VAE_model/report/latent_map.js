"use strict";
// The map of the latent space: points on a canvas, thumbnails where one looks closely, a card for
// the galaxy under the pointer, marks (marks.js before this file). Data come as JSON in the page, and enter it as text, never as
// markup. Places are in units of the map's longer side; (0, 0) is its lower left corner.

const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const canvas = at("map"), pen = canvas.getContext("2d"), card = at("card");
const count = data.x.length;
const schemes = [...data.schemes]; // with those of the marks
const REACH = { mouse: 14, pen: 20, touch: 26 }; // pixels around a pointer in which a galaxy is found
const MOST_TILES = 420; // galaxies in sight from which on down thumbnails stand for points
const KEPT = 12; // sheets of thumbnails that stay decoded, beyond those in sight

// ---- what is shown
let scheme = 0; // which colouring
let hidden = new Set(); // its answers that are switched off
let chosen = -1; // galaxy of the card
let kept = false; // whether the card stays when the pointer passes over other galaxies
let found = [], turn = 0; // galaxies that a search has found, and which of them is looked at
let view = { zoom: 1, x: 0, y: 0 }; // pixels a unit, and where (0, 0) lies
let width = 0, height = 0, drawing = false;
let side = 0; // pixels of a thumbnail on the map; 0 where points are drawn

const toX = (i) => view.x + data.x[i] * view.zoom;
const toY = (i) => view.y - data.y[i] * view.zoom;
const shown = (i) => !hidden.has(schemes[scheme].codes[i]);

function fit() {
  const margin = 24, buttons = width < 500 ? 52 : 0; // pixels on the right of a narrow map
  const [w, h] = data.size;
  view.zoom = Math.min((width - buttons - 2 * margin) / w, (height - 2 * margin) / h);
  view.x = (width - buttons - w * view.zoom) / 2;
  view.y = (height + h * view.zoom) / 2;
  view.least = view.zoom * 0.6;
  view.most = view.zoom * Math.max(12, Math.sqrt(count));
}

function resize() {
  const box = canvas.getBoundingClientRect(), sharp = window.devicePixelRatio || 1;
  const middle = width && [(width / 2 - view.x) / view.zoom, (view.y - height / 2) / view.zoom];
  width = box.width;
  height = box.height;
  canvas.width = Math.round(width * sharp);
  canvas.height = Math.round(height * sharp);
  pen.setTransform(sharp, 0, 0, sharp, 0, 0);
  if (middle) {
    view.x = width / 2 - middle[0] * view.zoom;
    view.y = height / 2 + middle[1] * view.zoom;
  } else fit();
  redraw();
}

function drawAll() { // after something has been read that was not there
  redraw();
  drawPicture();
}

function redraw() {
  if (!drawing) requestAnimationFrame(draw);
  drawing = true;
}

// ---- sheets of thumbnails, decoded when they are needed
const sheets = new Map();
let inSight = new Set(), onCard = new Set(), inStrip = new Set(); // sheets of the thumbnails there
const sheetOf = (i) => Math.floor(i / data.tiles ** 2);
function sheet(number) {
  const known = sheets.get(number);
  if (known) {
    sheets.delete(number); // the one that was looked at last goes to the end
    sheets.set(number, known);
    return known.complete && known.naturalWidth ? known : null;
  }
  const source = at("sheet-" + number);
  if (!source) return null; // the page is still being read
  const image = new Image();
  image.onload = drawAll;
  image.src = "data:image/jpeg;base64," + source.textContent;
  sheets.set(number, image);
  for (const other of sheets.keys())
    if (sheets.size > KEPT && other !== number && ![inSight, onCard, inStrip].some((of) => of.has(other)))
      sheets.delete(other);
  return null;
}

function drawTile(onto, i, x, y, side) {
  const image = sheet(sheetOf(i));
  if (!image) return false;
  const place = i % data.tiles ** 2, tile = data.tile;
  onto.drawImage(image, (place % data.tiles) * tile, Math.floor(place / data.tiles) * tile,
    tile, tile, x, y, side, side);
  return true;
}

// ---- drawing
function path(onto, marker, x, y, r) {
  onto.beginPath();
  if (marker === "o") onto.arc(x, y, r, 0, 2 * Math.PI);
  else if (marker === "s") onto.rect(x - 0.88 * r, y - 0.88 * r, 1.76 * r, 1.76 * r);
  else {
    const corners = marker === "D" ? [[0, -1.2], [1.2, 0], [0, 1.2], [-1.2, 0]]
      : [[0, -1.25], [1.15, 0.85], [-1.15, 0.85]];
    corners.forEach(([a, b], k) => onto[k ? "lineTo" : "moveTo"](x + a * r, y + b * r));
    onto.closePath();
  }
}

function stamp(answer, r, quiet) { // a marker, drawn once and copied to every place
  const size = Math.ceil(2.6 * r + 3), sharp = window.devicePixelRatio || 1;
  const small = document.createElement("canvas");
  small.width = small.height = Math.ceil(size * sharp);
  const onto = small.getContext("2d");
  onto.scale(sharp, sharp);
  path(onto, answer.marker, size / 2, size / 2, answer.none ? 0.75 * r : r);
  onto.fillStyle = quiet ? "#E7E7E7" : answer.colour;
  onto.fill();
  if (!quiet) { onto.strokeStyle = "#FFFFFF"; onto.lineWidth = 0.8; onto.stroke(); }
  return { small, size };
}

function draw() {
  drawing = false;
  const { codes, answers } = schemes[scheme];
  pen.fillStyle = "#FFFFFF";
  pen.fillRect(0, 0, width, height);
  const sight = [];
  for (let i = 0; i < count; i++) {
    const x = toX(i), y = toY(i);
    if (x > -60 && y > -60 && x < width + 60 && y < height + 60) sight.push(i);
  }
  side = 0;
  inSight = new Set();
  if (sight.length <= MOST_TILES && view.zoom > 1.7 * view.least) drawTiles(sight);
  else {
    const r = Math.max(1.8, Math.min(6, 0.32 * Math.sqrt(width * height / (sight.length + 1))));
    const layers = [[], []]; // those of no answer, and those switched off, lie below
    for (const i of sight) layers[shown(i) && !answers[codes[i]].none ? 1 : 0].push(i);
    const stamps = answers.map((answer, k) => stamp(answer, r, hidden.has(k)));
    for (const layer of layers)
      for (const i of layer) {
        const { small, size } = stamps[codes[i]];
        pen.drawImage(small, toX(i) - size / 2, toY(i) - size / 2, size, size);
      }
  }
  for (const i of found) ring(i, 9, "#0077BB");
  if (chosen >= 0) ring(chosen, 12, "#CC3311");
  const edge = side / 2;
  at("nothing").hidden = sight.some((i) => toX(i) > -edge && toX(i) < width + edge
    && toY(i) > -edge && toY(i) < height + edge);
  if (!window.firstFrame) requestAnimationFrame(() => {
    window.firstFrame = performance.now();
    document.documentElement.dataset.firstFrame = window.firstFrame.toFixed(0);
  });
}

function ring(i, r, colour) {
  path(pen, side ? "s" : "o", toX(i), toY(i), side ? side / 1.76 + 3 : r);
  pen.strokeStyle = colour;
  pen.lineWidth = 3;
  pen.stroke();
}

function drawTiles(sight) {
  const { codes, answers } = schemes[scheme];
  inSight = new Set(sight.map(sheetOf));
  side = Math.max(22, Math.min(80, 0.62 * Math.sqrt(width * height / (sight.length + 1))));
  const last = new Set([...found, chosen]); // on top of the others
  for (const i of [...sight.filter((i) => !last.has(i)), ...sight.filter((i) => last.has(i))]) {
    const x = toX(i) - side / 2, y = toY(i) - side / 2, answer = answers[codes[i]];
    pen.globalAlpha = shown(i) ? 1 : 0.15;
    pen.fillStyle = answer.colour;
    pen.fillRect(x - 2, y - 2, side + 4, side + 4);
    if (!drawTile(pen, i, x, y, side)) {
      pen.fillStyle = "#0B0B0C";
      pen.fillRect(x, y, side, side);
    }
    path(pen, answer.marker, x + 6, y + 6, 4); // colour is not the only sign
    pen.fillStyle = answer.colour;
    pen.fill();
    pen.strokeStyle = "#FFFFFF";
    pen.lineWidth = 1;
    pen.stroke();
  }
  pen.globalAlpha = 1;
}

// ---- the card
function text(parent, tag, words, name) {
  const made = document.createElement(tag);
  made.textContent = words;
  if (name) made.className = name;
  parent.append(made);
  return made;
}

function picture(parent, i, pixels) {
  const made = document.createElement("canvas");
  made.width = made.height = pixels;
  made.galaxy = i;
  made.setAttribute("role", "img");
  made.setAttribute("aria-label", "thumbnail");
  parent.append(made);
}

function drawPicture() {
  for (const one of document.querySelectorAll("#card canvas, #ranked canvas"))
    drawTile(one.getContext("2d"), one.galaxy, 0, 0, one.width);
}

function address(i) {
  if (data.ra[i] === null) return "";
  const layer = data.viewer[data.survey[i]];
  return layer.replace("{ra}", data.ra[i].toFixed(5)).replace("{dec}", data.dec[i].toFixed(5));
}

function choose(i, keep = true) {
  kept = keep && i >= 0;
  if (i === chosen) return;
  chosen = i;
  card.replaceChildren();
  card.hidden = i < 0;
  card.scrollTop = 0;
  at("keys").hidden = i >= 0;
  onCard = new Set(i < 0 ? [] : [i, ...data.similar[i]].map(sheetOf));
  if (i >= 0) {
    picture(card, i, 2 * data.tile);
    const close = text(card, "button", "×", "close");
    close.type = "button";
    close.setAttribute("aria-label", "close");
    close.addEventListener("click", closeCard);
    const words = text(card, "div", "");
    text(words, "h2", data.name[i]);
    const place = data.ra[i] === null ? []
      : [`${data.ra[i].toFixed(4)}, ${data.dec[i].toFixed(4)} deg`];
    text(words, "p", [...place, data.surveys[data.survey[i]]].join(" · "), "soft");
    if (address(i)) {
      const link = text(words, "a", "Open in the survey's viewer");
      link.href = address(i);
      link.target = "_blank";
      link.rel = "noopener";
      if (data.simulated) text(words, "p", "Simulated: the viewer shows the real sky there.", "soft");
    }
    if (data.similar[i].length) similar(i);
    const more = text(card, "div", "", "more");
    const list = document.createElement("dl");
    for (const { title, answers, codes, values } of data.schemes.slice(0, -1)) {
      if (answers[codes[i]].none) continue;
      text(list, "dt", title);
      text(list, "dd", values[i] || answers[codes[i]].label);
    }
    more.append(list);
    const votes = data.votes.filter((vote) => vote.share[i] >= 0);
    if (votes.length) {
      text(more, "h3", data.labels);
      const shares = document.createElement("dl");
      for (const { question, answers, leads, share } of votes) {
        text(shares, "dt", `${question}: ${answers[leads[i]]}`);
        text(shares, "dd", `${share[i]} %`);
      }
      more.append(shares);
    }
    drawPicture();
    fromUnder();
  }
  marking?.look(i);
  redraw();
}

function closeCard() {
  choose(-1);
  canvas.focus();
}
card.addEventListener("keydown", ({ key }) => { if (key === "Escape") closeCard(); });

function similar(i) {
  const part = text(card, "div", "", "similar");
  text(part, "h3", "Most similar");
  const list = text(part, "div", "");
  for (const other of data.similar[i])
    thumbnail(list, other, () => card.querySelector(".similar button").focus({ preventScroll: true }));
}

function thumbnail(parent, i, then) { // a button that leads to a galaxy
  const button = text(parent, "button", "");
  button.type = "button";
  button.title = data.name[i];
  picture(button, i, data.tile);
  text(button, "span", data.name[i]);
  button.addEventListener("click", () => { goTo(i); then(); });
}

// What the card, which on a phone lies over the map, leaves free of the canvas: top and bottom.
function free() {
  const { top, bottom } = canvas.getBoundingClientRect();
  const over = !card.hidden && getComputedStyle(card).position === "fixed";
  const low = over ? card.getBoundingClientRect().top : window.innerHeight;
  return [Math.max(0, -top), Math.min(bottom, low) - top];
}

function fromUnder() { // move what the card is about out from under it
  const low = free()[1] - 30;
  if (getComputedStyle(card).position === "fixed") view.y += Math.min(low - toY(chosen), 0);
}

function goTo(i) { // show the galaxy in the middle, larger
  choose(i);
  let [top, bottom] = free();
  if (bottom - top < 120) {
    canvas.scrollIntoView({ behavior: "instant" });
    [top, bottom] = free();
  }
  if (view.zoom < 4 * view.least) zoomAbout(toX(i), toY(i), 4 * view.least / view.zoom);
  view.x += width / 2 - toX(i);
  view.y += (top + bottom) / 2 - toY(i);
  redraw();
}

function openViewer(i) {
  if (i >= 0 && address(i)) window.open(address(i), "_blank", "noopener");
}

// ---- pointer: hover, click, drag, wheel, pinch
function nearest(x, y, reach) {
  let best = -1, least = reach * reach;
  for (let i = 0; i < count; i++) {
    if (!shown(i)) continue;
    const apart = (toX(i) - x) ** 2 + (toY(i) - y) ** 2;
    if (apart < least) { least = apart; best = i; }
  }
  return best;
}

function zoomAbout(x, y, factor) {
  const zoom = Math.max(view.least, Math.min(view.most, view.zoom * factor));
  view.x = x - (x - view.x) * zoom / view.zoom;
  view.y = y - (y - view.y) * zoom / view.zoom;
  view.zoom = zoom;
  redraw();
}

const fingers = new Map();
let moved = 0;
const place = (event) => {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
const middleOf = (points) => {
  const [a, b = a] = points;
  return [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2, Math.hypot(a[0] - b[0], a[1] - b[1])];
};
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  if (!fingers.size) moved = 0;
  fingers.set(event.pointerId, place(event));
});
canvas.addEventListener("pointermove", (event) => {
  const [x, y] = place(event);
  if (!fingers.has(event.pointerId)) {
    if (event.pointerType === "mouse") {
      const i = nearest(x, y, REACH.mouse);
      canvas.style.cursor = i >= 0 ? "pointer" : "grab";
      canvas.title = kept && i >= 0 ? data.name[i] : "";
      if (i >= 0 && !kept) choose(i, false);
    }
    return;
  }
  const before = middleOf([...fingers.values()]);
  fingers.set(event.pointerId, [x, y]);
  const now = middleOf([...fingers.values()]);
  moved += Math.hypot(now[0] - before[0], now[1] - before[1]) + Math.abs(now[2] - before[2]);
  if (moved < 4) return;
  view.x += now[0] - before[0];
  view.y += now[1] - before[1];
  if (before[2] && now[2]) zoomAbout(now[0], now[1], now[2] / before[2]);
  redraw();
});
function lift(event) {
  if (!fingers.delete(event.pointerId)) return;
  if (event.type === "pointercancel" || moved >= 4 || fingers.size) return;
  const i = nearest(...place(event), REACH[event.pointerType] || REACH.mouse);
  // A finger cannot hover: its first tap shows the card, its second opens the viewer.
  if (event.pointerType === "mouse" || i === chosen) openViewer(i);
  choose(i);
}
canvas.addEventListener("pointerup", lift);
canvas.addEventListener("pointercancel", lift);
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoomAbout(...place(event), Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)));
}, { passive: false });

// ---- keyboard
function step(right, up) { // to the nearest galaxy in a direction
  if (chosen < 0) return choose(nearest(width / 2, height / 2, Infinity));
  let best = -1, least = Infinity;
  for (let i = 0; i < count; i++) {
    if (i === chosen || !shown(i)) continue;
    const x = data.x[i] - data.x[chosen], y = data.y[i] - data.y[chosen];
    const along = x * right + y * up, across = Math.abs(x * up - y * right);
    if (along > 0 && across <= along && along + 2 * across < least) {
      least = along + 2 * across;
      best = i;
    }
  }
  if (best >= 0) { choose(best); intoSight(best); }
}
function intoSight(i) {
  const edge = 60, x = toX(i), y = toY(i);
  view.x += Math.max(edge - x, 0) + Math.min(width - edge - x, 0);
  view.y += Math.max(edge - y, 0) + Math.min(height - edge - y, 0);
  redraw();
}
const zoomBy = (factor) => {
  const here = chosen >= 0 ? [toX(chosen), toY(chosen)] : [width / 2, height / 2];
  zoomAbout(...here, factor);
};
const reset = () => { fit(); redraw(); };
const KEYS = {
  ArrowRight: () => step(1, 0), ArrowLeft: () => step(-1, 0),
  ArrowUp: () => step(0, 1), ArrowDown: () => step(0, -1),
  "+": () => zoomBy(1.4), "=": () => zoomBy(1.4), "-": () => zoomBy(1 / 1.4), 0: reset,
  Enter: () => openViewer(chosen), Escape: () => choose(-1),
};
canvas.addEventListener("keydown", (event) => {
  const act = !event.ctrlKey && !event.metaKey && !event.altKey && KEYS[event.key];
  if (act) { event.preventDefault(); act(); }
});
at("in").addEventListener("click", () => zoomBy(1.6));
at("out").addEventListener("click", () => zoomBy(1 / 1.6));
at("all").addEventListener("click", reset);
at("back").addEventListener("click", () => { reset(); canvas.focus(); });

// ---- search, with the rules of VAE_model/tables/lookup.py: the name or path, the file name with or
// without its ending, a part of name or file name; if there is none, a position
const RADIUS = 30; // arcsec around a position in which a galaxy is meant
const LETTERS = /\.(fits?|fts|jpe?g|png|tiff?)(\.gz|\.fz)?$/;
const files = data.paths.map((path) => path.slice(path.lastIndexOf("/") + 1).toLowerCase());

// RA and Dec in degrees; null where the words are no position. Two numbers are degrees; anything
// sexagesimal, and a name such as J101905.01+462713.3, has the right ascension in hours.
function positionIn(words) {
  const spaced = words.trim().replace(/−/g, "-").replace(/\s*[,;]\s*|\s+/g, " ");
  const degrees = spaced.match(/^([+-]?\d+(?:\.\d*)?) ([+-]?\d+(?:\.\d*)?)$/)
    || spaced.match(/(\d{1,3}\.\d+)_([+-]?\d{1,2}\.\d+)/);
  const number = "(\\d\\d?)", seconds = "(\\d\\d?(?:\\.\\d*)?)";
  const parts = degrees ? null
    : spaced.match(/[Jj](\d\d)(\d\d)(\d\d(?:\.\d+)?)([+-])(\d\d)(\d\d)(\d\d(?:\.\d+)?)/)
    || spaced.toLowerCase().match(new RegExp(`^${number}[h: ] ?${number}[m: ] ?(?:${seconds}s?)? ?`
      + `([+-]?)${number}[d:° ] ?${number}(?:[m:' ] ?(?:${seconds}["s]?)?)?$`));
  let ra, dec;
  if (degrees) [ra, dec] = degrees.slice(1).map(Number);
  else if (parts) {
    const [h, m, s, d, dm, ds] = [1, 2, 3, 5, 6, 7].map((k) => Number(parts[k] || 0));
    if (h >= 24 || Math.max(m, s, dm, ds) >= 60) return null;
    ra = 15 * (h + m / 60 + s / 3600);
    dec = (parts[4] === "-" ? -1 : 1) * (d + dm / 60 + ds / 3600);
  } else return null;
  return ra < -180 || ra > 360 || Math.abs(dec) > 90 ? null : [ra, dec];
}

function atPosition([ra, dec]) {
  let best = -1, least = Infinity;
  const turns = Math.PI / 180, half = (a) => Math.sin(a * turns / 2) ** 2;
  for (let i = 0; i < count; i++) {
    if (data.ra[i] === null) continue;
    const apart = half(data.dec[i] - dec)
      + Math.cos(dec * turns) * Math.cos(data.dec[i] * turns) * half(data.ra[i] - ra);
    if (apart < least) { least = apart; best = i; }
  }
  if (best < 0) return "No galaxy has a position: search by name.";
  const arcsec = 2 * Math.asin(Math.sqrt(Math.min(least, 1))) / turns * 3600;
  const far = arcsec < 600 ? `${arcsec.toFixed(1)} arcsec` : `${(arcsec / 3600).toFixed(2)} deg`;
  if (arcsec > RADIUS)
    return `No galaxy within ${RADIUS} arcsec: the nearest, ${data.name[best]}, is ${far} away.`;
  found = [best];
  return `Nearest: ${data.name[best]}, ${far} away.`;
}

function search(words) { // into `found`; what to say of it
  const wanted = words.trim().toLowerCase(), stem = wanted.replace(LETTERS, "");
  found = [];
  if (!wanted) return "";
  const names = data.name.map((name) => name.toLowerCase());
  const all = [...names.keys()];
  found = [...new Set([ // the best first
    ...all.filter((i) => names[i] === wanted || data.paths[i].toLowerCase() === wanted),
    ...all.filter((i) => files[i] === wanted || files[i].replace(LETTERS, "") === stem),
    ...all.filter((i) => names[i].includes(wanted) || files[i].includes(wanted)),
  ])];
  if (found.length) return "";
  const position = positionIn(words);
  return position ? atPosition(position) : "No galaxy has this name or position.";
}
let asked = "";
at("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = at("words").value;
  let said = "";
  if (words !== asked) { asked = words; turn = 0; said = search(words); }
  else if (found.length) turn = (turn + 1) % found.length;
  if (found.length > 1) said = `${turn + 1} of ${found.length}: Enter for the next.`;
  at("said").textContent = said;
  if (matchMedia("(pointer: coarse)").matches) at("words").blur(); // the keyboard hides the map
  if (found.length) goTo(found[turn]);
  redraw();
});

// ---- colours and legend
function legend() {
  const list = at("legend"), { answers, codes } = schemes[scheme];
  list.replaceChildren();
  const numbers = new Array(answers.length).fill(0);
  for (const code of codes) numbers[code]++;
  answers.forEach((answer, code) => {
    if (!numbers[code]) return;
    const button = text(list, "button", "");
    button.type = "button";
    button.setAttribute("aria-pressed", String(!hidden.has(code)));
    const sign = document.createElement("canvas");
    sign.width = sign.height = 32;
    const onto = sign.getContext("2d");
    path(onto, answer.marker, 16, 16, 11);
    onto.fillStyle = answer.colour;
    onto.fill();
    onto.strokeStyle = "#FFFFFF";
    onto.lineWidth = 2;
    onto.stroke();
    button.append(sign);
    text(button, "span", answer.label);
    text(button, "small", numbers[code].toLocaleString("en"));
    button.addEventListener("click", () => {
      if (!hidden.delete(code)) hidden.add(code);
      button.setAttribute("aria-pressed", String(!hidden.has(code)));
      redraw();
    });
  });
}
const schemeNames = () => {
  at("scheme").replaceChildren(...schemes.map(({ title }, k) => new Option(title, k)));
  at("scheme").value = scheme;
};
schemeNames();
at("scheme").addEventListener("change", (event) => {
  scheme = Number(event.target.value);
  hidden = new Set();
  marking?.changed();
  legend();
  redraw();
});

// ---- marks: two more colourings, and the galaxies to look at first
const BEST = 24; // thumbnails of them
const LIKELY = [0.9, 0.7, 0.5, 0.3, 0]; // probabilities from which on a galaxy has a colour
const SHADES = ["#FDC527", "#F07F4F", "#C03A76", "#7201A8", "#C4C4C4"];
const marking = data.marking && new Marking(data, {
  may: shown,
  show(i) {
    goTo(i);
    canvas.focus({ preventScroll: true });
  },
  changed() {
    const { labels, target } = marking.state;
    const none = { label: "not marked", colour: "#C4C4C4", marker: "o", none: true };
    const likely = { title: `likely ${target}`, codes: [], answers: LIKELY.map((p, k) => (
      { label: p ? `${100 * p} % or more` : "less", colour: SHADES[k], marker: "o", none: !p })) };
    const own = { title: "your marks", codes: [], answers: [...labels.map((label, k) => (
      { label, colour: COLOURS[k], marker: "osD^"[k % 4] })), none] };
    for (let i = 0; i < count; i++) {
      const mark = marking.of(i);
      own.codes.push(mark ? labels.indexOf(mark) : labels.length);
    }
    if (scheme > data.schemes.length) // it takes some time
      for (let i = 0; i < count; i++) {
        const chance = marking.chance(i);
        likely.codes.push(LIKELY.findIndex((p) => chance >= p));
      }
    schemes.splice(data.schemes.length, 2, own, likely);
    schemeNames();
    if (scheme >= data.schemes.length) legend();
    const best = marking.order.filter((i) => !marking.of(i)).slice(0, marking.known ? BEST : 0);
    at("ranked").hidden = !best.length;
    at("ranked-title").textContent = `Most likely ${target}`;
    at("ranked-list").replaceChildren();
    for (const i of best) thumbnail(at("ranked-list"), i, () => canvas.focus({ preventScroll: true }));
    inStrip = new Set(best.map(sheetOf));
    drawAll();
  },
});

legend();
marking?.update();
new ResizeObserver(resize).observe(canvas);
resize();
window.addEventListener("load", drawAll);
