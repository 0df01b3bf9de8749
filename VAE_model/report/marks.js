"use strict";
// Marks: a person marks galaxies, a logistic model learns from the marks and ranks the others. The
// model is that of VAE_model/evaluation/marks.py, where it is explained; both must give the same
// scores. The page that includes this file has the galaxies, and shows them.

// ---- the model
const Learner = {
  features({ values, step, mean, variance }) { // from the JSON of the page
    const bytes = Uint8Array.from(atob(values), (letter) => letter.charCodeAt(0));
    return { values: new Int8Array(bytes.buffer), step, mean, variance };
  },

  row({ values, step, mean }, i) { // the features of a galaxy and a one
    const size = mean.length - 1, x = new Float64Array(size + 1);
    for (let k = 0; k < size; k++) x[k] = values[i * size + k] * step;
    x[size] = 1;
    return x;
  },

  factor(matrix, size) { // Cholesky: the lower triangle, in place
    for (let i = 0; i < size; i++)
      for (let j = 0; j <= i; j++) {
        let sum = matrix[i * size + j];
        for (let k = 0; k < j; k++) sum -= matrix[i * size + k] * matrix[j * size + k];
        matrix[i * size + j] = i === j ? Math.sqrt(sum) : sum / matrix[j * size + j];
      }
    return matrix;
  },

  solve(lower, size, right) { // lower lower' x = right
    const x = Float64Array.from(right);
    for (let i = 0; i < size; i++) {
      for (let k = 0; k < i; k++) x[i] -= lower[i * size + k] * x[k];
      x[i] /= lower[i * size + i];
    }
    for (let i = size - 1; i >= 0; i--) {
      for (let k = i + 1; k < size; k++) x[i] -= lower[k * size + i] * x[k];
      x[i] /= lower[i * size + i];
    }
    return x;
  },

  // Weights and the factor of their inverse covariance; rows: marked galaxies, wanted: 0 or 1 each.
  learn(features, rows, wanted) {
    const { mean, variance } = features, size = mean.length;
    const given = rows.map((i) => Learner.row(features, i));
    const dot = (a, b) => a.reduce((sum, value, k) => sum + value * b[k], 0);
    const loss = (weights) => {
      let sum = 0;
      given.forEach((x, i) => {
        const sign = (wanted[i] ? 1 : -1) * dot(x, weights);
        sum += Math.max(0, -sign) + Math.log1p(Math.exp(-Math.abs(sign)));
      });
      for (let k = 0; k < size; k++) sum += (weights[k] - mean[k]) ** 2 / variance[k] / 2;
      return sum;
    };
    let weights = Float64Array.from(mean), before = loss(weights);
    let lower = new Float64Array(size * size);
    for (let k = 0; k < size; k++) lower[k * size + k] = Math.sqrt(1 / variance[k]);
    for (let turn = 0; given.length && turn < 100; turn++) {
      const slope = new Float64Array(size), curve = new Float64Array(size * size);
      for (let k = 0; k < size; k++) {
        slope[k] = (weights[k] - mean[k]) / variance[k];
        curve[k * size + k] = 1 / variance[k];
      }
      given.forEach((x, i) => {
        const chance = 1 / (1 + Math.exp(-dot(x, weights))), spread = chance * (1 - chance);
        for (let k = 0; k < size; k++) {
          slope[k] += x[k] * (chance - wanted[i]);
          for (let j = 0; j <= k; j++) curve[k * size + j] += spread * x[k] * x[j];
        }
      });
      lower = Learner.factor(curve, size);
      const step = Learner.solve(lower, size, slope);
      let part = 1, tried, after;
      for (;;) {
        tried = weights.map((weight, k) => weight - part * step[k]);
        after = loss(tried);
        if (!(after > before && part > 1e-4)) break;
        part /= 2;
      }
      weights = tried;
      before = after;
      if (Math.max(...step.map(Math.abs)) < 1e-9) break;
    }
    return { weights, lower };
  },

  // The score of each galaxy: log-odds of being wanted. Their variances are found when needed.
  rank(features, { weights, lower }) {
    const { values, step } = features, size = weights.length - 1, count = values.length / size;
    const score = new Float64Array(count).fill(weights[size]);
    for (let i = 0; i < count; i++)
      for (let k = 0; k < size; k++) score[i] += values[i * size + k] * step * weights[k];
    return { score, features, lower, known: new Float64Array(count).fill(-1) };
  },

  variance({ features, lower, known }, i) {
    if (known[i] >= 0) return known[i];
    const z = Learner.row(features, i);
    let square = 0;
    for (let k = 0; k < z.length; k++) {
      for (let j = 0, at = k * z.length; j < k; j++) z[k] -= lower[at + j] * z[j];
      z[k] /= lower[k * z.length + k];
      square += z[k] * z[k];
    }
    known[i] = square;
    return square;
  },

  moderate(ranking, i) { // log-odds with the uncertainty averaged over
    return ranking.score[i] / Math.sqrt(1 + Math.PI * Learner.variance(ranking, i) / 8);
  },
};

// ---- the file of marks
const Csv = {
  head: ["name", "path", "ra", "dec", "mark", "time"],
  write(rows) {
    const cell = (value) => /[",\n\r]|^\s|\s$/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
    return [Csv.head, ...rows].map((row) => row.map((v) => cell(String(v ?? ""))).join(",") + "\r\n").join("");
  },
  read(words) { // rows of cells; null where a quote is not closed
    words = words.replace(/^\ufeff/, "");
    const comma = [",", ";", "\t"].find((sign) => words.split(/[\r\n]/, 1)[0].includes(sign));
    const rows = [];
    let row = [""], quoted = false;
    for (let k = 0; k < words.length; k++) {
      const sign = words[k], last = row.length - 1;
      if (sign === '"' && quoted && words[k + 1] === '"') { row[last] += sign; k++; }
      else if (sign === '"') quoted = !quoted;
      else if (quoted || !["\r", "\n", comma].includes(sign)) row[last] += sign;
      else if (sign === comma) row.push("");
      else { rows.push(row); row = [""]; }
    }
    rows.push(row);
    return quoted ? null : rows.filter((cells) => cells.some(Boolean));
  },
};

// ---- the marks, and the bar with their buttons (templates/marks.html)
const COLOURS = ["#44AA99", "#8A8C91", "#CC6677", "#DDCC77", "#88CCEE", "#332288", "#117733", "#882255", "#AA4499"];

class Marking {
  // data: name, paths, ra, dec of the galaxies, and marking: features, key, file, marks. show(i):
  // look at a galaxy; changed(): the marks or the order have; may(i): whether it can be proposed.
  constructor(data, { show, changed, may = () => true }) {
    Object.assign(this, { data, show, changed, may, current: -1, before: [], passed: new Set() });
    const { key, marks, labels } = data.marking;
    this.key = `galaxy_vae marks ${key}`;
    this.features = Learner.features(data.marking);
    this.place = new Map(data.paths.map((path, i) => [path, i]));
    this.state = { labels, target: labels[0], by: "both", advance: true, marks };
    this.reload();
    this.build();
    window.addEventListener("storage", ({ key: other }) => { // of another page of the same run
      if (other === this.key) { this.reload(); this.update(); }
    });
    document.addEventListener("keydown", (event) => this.press(event));
  }

  reload() {
    try { Object.assign(this.state, JSON.parse(localStorage.getItem(this.key) || "{}")); }
    catch { /* no storage, or of another version: the marks last as long as the page */ }
  }

  save() {
    try { localStorage.setItem(this.key, JSON.stringify(this.state)); }
    catch { this.unsaved = true; }
  }

  at(id) { return document.getElementById(`mark-${id}`); }
  of(i) { return this.state.marks[this.data.paths[i]]?.mark || ""; }
  colour(mark) { return COLOURS[this.state.labels.indexOf(mark) % COLOURS.length] || COLOURS[1]; }
  chance(i) { return 1 / (1 + Math.exp(-Learner.moderate(this.ranking, i))); } // of the target
  get count() { return Object.keys(this.state.marks).length; }

  // Learn, and rank all galaxies: this.order, the best first.
  update() {
    const began = performance.now(), { marks, target } = this.state;
    const rows = [], wanted = [];
    for (const [path, { mark }] of Object.entries(marks)) {
      if (!this.place.has(path)) continue;
      rows.push(this.place.get(path));
      wanted.push(mark === target ? 1 : 0);
    }
    this.known = rows.length;
    this.ranking = Learner.rank(this.features, Learner.learn(this.features, rows, wanted));
    const { score } = this.ranking;
    this.order = Array.from(score.keys()).sort((a, b) => score[b] - score[a] || a - b);
    this.changed();
    this.say();
    this.milliseconds = performance.now() - began;
  }

  // The galaxy to look at next, and why; "both": the two kinds of proposals in turn.
  proposal() {
    const uncertain = this.state.by === "uncertain" || (this.state.by === "both" && this.count % 2);
    let best = -1, least = Infinity;
    for (const i of this.order) {
      if (this.passed.has(i) || this.of(i) || !this.may(i)) continue;
      const apart = uncertain ? Math.abs(Learner.moderate(this.ranking, i)) : 0;
      if (apart < least) { best = i; least = apart; }
      if (!uncertain) break;
    }
    return best;
  }

  next() { // those that were passed without a mark come again when all have been
    this.passed.add(this.current);
    let i = this.proposal();
    if (i < 0) {
      this.passed.clear();
      i = this.proposal();
    }
    if (i < 0) this.say("Every galaxy here is marked.");
    else { this.look(i); this.show(i); }
  }

  look(i) { // the page shows this galaxy now: the buttons are about it
    this.current = i;
    this.say();
  }

  set(path, row) {
    if (row) this.state.marks[path] = row;
    else delete this.state.marks[path];
  }

  mark(label, i = this.current) { // the same mark again takes it away
    if (i < 0) return this.say("Choose a galaxy, or press n.");
    const path = this.data.paths[i], { name, ra, dec } = this.data, old = this.state.marks[path];
    this.before.push([[path, old]]);
    const row = { name: name[i], ra: ra[i], dec: dec[i], mark: label, time: new Date().toISOString() };
    this.set(path, old?.mark === label ? null : row);
    this.save();
    this.update();
    if (this.state.advance && this.of(i)) this.next();
  }

  undo() {
    const changes = this.before.pop();
    if (!changes) return this.say("Nothing to undo.");
    changes.forEach(([path, old]) => this.set(path, old));
    this.save();
    this.update();
    const i = this.place.get(changes[0][0]);
    if (i !== undefined) { this.look(i); this.show(i); }
  }

  csv() {
    const rows = Object.entries(this.state.marks).sort(([, a], [, b]) => a.time < b.time ? -1 : 1);
    return Csv.write(rows.map(([path, r]) => [r.name, path, r.ra, r.dec, r.mark, r.time]));
  }

  download() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([this.csv()], { type: "text/csv" }));
    link.download = this.data.marking.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  read(words) { // a file of marks, added to those that are there; what to say of it
    const [head = [], ...rows] = Csv.read(words) || [];
    const [name, path, ra, dec, mark, time] = Csv.head.map((title) => head.indexOf(title));
    if (mark < 0 || (name < 0 && path < 0))
      return "This is no CSV file with the columns name or path, and mark.";
    const named = new Map();
    this.data.name.forEach((n, i) => named.set(n, named.has(n) ? -1 : i));
    const changes = [];
    let unknown = 0;
    for (const row of rows) {
      const i = this.place.get(row[path]) ?? named.get(row[name]) ?? -1;
      const label = (row[mark] || "").trim().slice(0, 40);
      if (i < 0 || !label || !this.addLabel(label)) { unknown++; continue; }
      const file = this.data.paths[i], number = (place) => row[place] ? Number(row[place]) : null;
      changes.push([file, this.state.marks[file]]);
      this.set(file, { name: this.data.name[i], ra: this.data.ra[i] ?? number(ra),
        dec: this.data.dec[i] ?? number(dec), mark: label, time: row[time] || new Date().toISOString() });
    }
    if (changes.length) this.before.push(changes.reverse());
    this.save();
    this.buttons();
    this.update();
    return `${changes.length} marks read` + (unknown ? `; ${unknown} of unknown galaxies, or without a mark, left out.` : ".");
  }

  addLabel(label) { // whether there is such a class now; there are nine keys
    const { labels } = this.state;
    if (labels.includes(label)) return true;
    return labels.length < 9 && Boolean(labels.push(label));
  }

  // ---- the bar
  build() {
    const on = (id, kind, act) => this.at(id).addEventListener(kind, act);
    on("next", "click", () => this.next());
    on("undo", "click", () => this.undo());
    on("save", "click", () => this.download());
    on("target", "change", ({ target }) => this.choose("target", target.value));
    on("by", "change", ({ target }) => this.choose("by", target.value));
    on("advance", "change", ({ target }) => this.choose("advance", target.checked));
    on("load", "change", async ({ target }) => {
      if (target.files.length) this.say(this.read(await target.files[0].text()));
      target.value = "";
    });
    on("add", "submit", (event) => {
      event.preventDefault();
      const label = this.at("label").value.trim();
      this.at("label").value = "";
      if (!label) return;
      if (!this.addLabel(label)) return this.say("Nine classes are the most.");
      this.save();
      this.buttons();
      this.say();
    });
    on("clear", "click", () => {
      if (!this.count || !window.confirm(`Remove all ${this.count} marks?`)) return;
      this.before.push(Object.entries(this.state.marks));
      this.state.marks = {};
      this.save();
      this.update();
    });
    this.buttons();
    const bar = document.getElementById("marking"); // the height of which cards must leave free
    new ResizeObserver(() => document.documentElement.style.setProperty("--bar", `${bar.offsetHeight}px`))
      .observe(bar);
  }

  choose(name, value) {
    this.state[name] = value;
    this.save();
    this.update();
  }

  buttons() {
    const list = this.at("labels"), target = this.at("target");
    list.replaceChildren();
    target.replaceChildren();
    this.state.labels.forEach((label, k) => {
      const button = document.createElement("button");
      button.type = "button";
      button.style.setProperty("--mark", COLOURS[k]);
      const key = document.createElement("kbd"), words = document.createElement("span");
      key.textContent = k + 1;
      words.textContent = label;
      button.append(key, words);
      button.addEventListener("click", () => this.mark(label));
      list.append(button);
      target.append(new Option(label, label));
    });
    target.value = this.state.target;
    this.at("by").value = this.state.by;
    this.at("advance").checked = this.state.advance;
  }

  say(words) {
    const here = this.current >= 0 ? this.of(this.current) : "";
    [...this.at("labels").children].forEach((button, k) => {
      button.setAttribute("aria-pressed", String(this.state.labels[k] === here));
      button.disabled = this.current < 0;
    });
    this.at("undo").disabled = !this.before.length;
    const marked = Object.values(this.state.marks), wanted = marked.filter(({ mark }) => mark === this.state.target);
    const elsewhere = marked.length - (this.known ?? 0);
    this.at("count").textContent = marked.length ? `${marked.length} marked, ${wanted.length} ${this.state.target}`
      + (elsewhere ? `; ${elsewhere} not on this page` : "") : "no marks yet";
    const standing = this.current < 0 || !this.known ? ""
      : ` · ${this.state.target}: ${Math.round(100 * this.chance(this.current))} %`;
    this.at("now").textContent = words || (this.current < 0 ? "Choose a galaxy, or press Next."
      : this.data.name[this.current] + standing);
    if (this.unsaved) this.at("count").textContent += "; this browser keeps nothing: save the file";
  }

  press(event) {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName)
      && target.type !== "radio" && target.type !== "checkbox") return;
    const label = /^[1-9]$/.test(key) && this.state.labels[key - 1];
    const act = label ? () => this.mark(label) : { n: () => this.next(), u: () => this.undo() }[key];
    if (!act) return;
    event.preventDefault();
    act();
  }
}
