// The gallery: cards in the order of the marks, those to look at first. Needs marks.js before it.

const data = JSON.parse(document.getElementById("data").textContent);
const main = document.querySelector("main");
const cards = [...main.children].filter((child) => child.tagName === "ARTICLE");
const signs = cards.map((card) => {
  const sign = document.createElement("b");
  sign.className = "sign";
  card.prepend(sign);
  return sign;
});

const filter = () => document.querySelector(".choice:checked").id.replace("show-", "");
const shown = (i) => filter() === "all" || cards[i].classList.contains(`kind-${filter()}`);
let sorted = cards; // as on the page

const marking = new Marking(data, {
  may: shown,
  show(i) {
    if (!shown(i)) document.getElementById("show-all").checked = true;
    cards[i].focus({ preventScroll: true });
    cards[i].scrollIntoView({ block: "center", behavior: "instant" });
    choose(i);
  },
  changed() { // those not marked by their score, then those marked; without marks as they were
    const { order, known } = marking, marked = (i) => Boolean(marking.of(i));
    const wanted = known ? [...order.filter((i) => !marked(i)), ...order.filter(marked)]
      : [...cards.keys()];
    sorted = wanted.map((i) => cards[i]);
    main.append(...sorted);
    let place = 0;
    for (const i of wanted) {
      const mark = marking.of(i);
      signs[i].textContent = mark || (known ? ++place : "");
      signs[i].style.setProperty("--mark", mark ? marking.colour(mark) : "");
      signs[i].classList.toggle("marked", Boolean(mark));
      cards[i].classList.toggle("kind-marked", Boolean(mark));
    }
    document.getElementById("count-marked").textContent = wanted.filter(marked).length;
  },
});

function choose(i) {
  cards[marking.current]?.removeAttribute("aria-current");
  cards[i].setAttribute("aria-current", "true");
  marking.look(i);
}

cards.forEach((card, i) => {
  card.tabIndex = -1;
  card.addEventListener("click", (event) => { // the first click chooses, the second opens the viewer
    if (marking.current !== i) event.preventDefault();
    choose(i);
  });
});

function step(by, rows) { // to another card that is shown
  const there = sorted.filter((card) => card.offsetParent);
  const top = there[0]?.offsetTop, across = there.filter((card) => card.offsetTop === top).length;
  const here = there.indexOf(cards[marking.current]);
  const next = there[here < 0 ? 0 : here + by * (rows ? across : 1)];
  if (next) marking.show(cards.indexOf(next));
}
const KEYS = {
  ArrowRight: () => step(1), ArrowLeft: () => step(-1),
  ArrowDown: () => step(1, true), ArrowUp: () => step(-1, true),
  Enter: () => cards[marking.current]?.querySelector("a")?.click(),
};
document.addEventListener("keydown", (event) => {
  const act = KEYS[event.key], { ctrlKey, metaKey, altKey, target } = event;
  if (!act || ctrlKey || metaKey || altKey || target.closest("a, button, input, select, summary")) return;
  event.preventDefault();
  act();
});
marking.update();
document.documentElement.dataset.ready = "yes";
