"""A page of cards, one a galaxy, with filter buttons that need no script.

The buttons are radio buttons and rules of style; pictures are in the page. So the one file works
offline, in any browser, on a phone, and wherever scripts are forbidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from VAE_model.pages.page import Html, document, element
from VAE_model.pipeline.files import write_text


@dataclass(frozen=True)
class Kind:
    """A filter button: the word that cards use (letters), what people read, what it means in a
    sentence, its colour."""

    name: str
    label: str
    meaning: str
    colour: str


@dataclass(frozen=True)
class Card:
    """One galaxy: title and lines of text, numbers by name, and tags, short words in frames.

    kind: name of the button that shows it; picture: a `data:` address (figures.jpeg_uri);
    link: web address that the picture leads to, empty for none.
    """

    kind: str
    title: str
    picture: str
    link: str = ""
    lines: tuple[str, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


def write_gallery(
    path: Path, title: str, lead: Sequence[str], kinds: Sequence[Kind], cards: Sequence[Card]
) -> None:
    """Write the page: title, paragraphs, a button a kind and one for all, the cards in order."""
    write_text(path, gallery_page(title, lead, kinds, cards))


def gallery_page(
    title: str, lead: Sequence[str], kinds: Sequence[Kind], cards: Sequence[Card]
) -> str:
    """The page as text. Raises ValueError for a card whose kind has no button."""
    unknown = {card.kind for card in cards} - {kind.name for kind in kinds}
    if unknown:
        raise ValueError(f"cards of a kind without a button: {', '.join(sorted(unknown))}")
    counts = {kind.name: sum(card.kind == kind.name for card in cards) for kind in kinds}
    buttons = [Kind("all", "all", "every card", "var(--soft)"), *kinds]
    counts["all"] = len(cards)
    choices = [
        element(
            "input",
            type="radio",
            name="show",
            id=f"show-{kind.name}",
            class_="choice",
            checked="checked" if kind.name == "all" else None,
        )
        for kind in buttons
    ]
    labels = [
        element(
            "label",
            element("i"),
            f"{kind.label} ",
            element("small", f"{counts[kind.name]:,}"),
            for_=f"show-{kind.name}",
            title=kind.meaning,
            class_=f"kind-{kind.name}",
        )
        for kind in buttons
    ]
    content = [_card(card) for card in cards] or [element("p", "There is nothing to show.")]
    return document(
        title,
        element("h1", title),
        *(element("p", line, class_="soft") for line in lead),
        *choices,
        element("div", *labels, class_="buttons", role="group", aria_label="filter"),
        element("main", *content, class_="cards"),
        style=_STYLE + "\n".join(_rules(kind) for kind in buttons),
    )


def _card(card: Card) -> Html:
    picture = element("img", src=card.picture, alt=card.title, loading="lazy")
    if urlsplit(card.link).scheme in ("http", "https"):
        picture = element("a", picture, href=card.link, target="_blank", rel="noopener")
    facts = [part for name, value in card.facts.items()
             for part in (element("dt", name), element("dd", value))]  # fmt: skip
    text = [element("h2", card.title), *(element("p", line) for line in card.lines)]
    if card.tags:
        text.append(element("p", *(element("b", tag) for tag in card.tags), class_="tags"))
    if facts:
        text.append(element("dl", *facts))
    return element("article", picture, element("div", *text), class_=f"card kind-{card.kind}")


def _rules(kind: Kind) -> str:
    """The colour of a kind, the look of its button when chosen, and what it then hides."""
    button = f"#show-{kind.name}:%s ~ .buttons label[for=show-{kind.name}]"
    rules = (
        f".kind-{kind.name} {{ --kind: {kind.colour}; }}\n"
        f"{button % 'checked'} {{ border-color: var(--ink); box-shadow: inset 0 0 0 1px; }}\n"
        f"{button % 'focus-visible'} {{ outline: 3px solid var(--link); }}\n"
    )
    if kind.name != "all":
        rules += f"#show-{kind.name}:checked ~ .cards .card:not(.kind-{kind.name}) "
        rules += "{ display: none; }\n"
    return rules


_STYLE = """
body { max-width: 96rem; }
.choice { position: absolute; opacity: 0; pointer-events: none; }
.buttons { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; gap: .5rem;
  margin: .8rem 0 .3rem; padding: .6rem 0; background: var(--ground); }
.buttons label { min-height: 44px; display: inline-flex; align-items: center; gap: .5rem;
  padding: .2rem 1rem; border: 1px solid var(--line); border-radius: 22px; cursor: pointer;
  background: var(--card); user-select: none; }
.buttons i { width: .7em; height: .7em; border-radius: 50%; background: var(--kind); }
.buttons small { color: var(--soft); font-variant-numeric: tabular-nums; }
.cards { display: grid; gap: 1rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(13.4rem, 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-top: 4px solid var(--kind);
  border-radius: 10px; overflow: hidden; font-size: .84rem; line-height: 1.45; }
.card img { display: block; width: 100%; aspect-ratio: 1; background: #0b0b0c; }
.card > div { padding: .6rem .8rem .75rem; }
.card h2 { font-size: .92rem; margin: 0; overflow-wrap: anywhere; }
.card p { margin: .1rem 0; color: var(--soft); overflow-wrap: anywhere; }
.card .tags { display: flex; flex-wrap: wrap; gap: .3rem; margin: .4rem 0; }
.tags b { font-weight: 600; font-size: .76rem; padding: 0 .55rem; color: var(--ink);
  border: 1.5px solid var(--kind); border-radius: 10px; }
.card dl { display: grid; grid-template-columns: 1fr auto; gap: 0 .6rem; margin: .4rem 0 0; }
.card dt { color: var(--soft); }
.card dd { margin: 0; text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
@media (max-width: 32rem) { .buttons label { padding: .2rem .75rem; }
  .cards { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .55rem; }
  .card { font-size: .76rem; }
  .card h2 { font-size: .74rem; letter-spacing: -.015em; }
  .card > div { padding: .45rem .55rem .6rem; } }
@media (max-width: 19rem) { .cards { grid-template-columns: 1fr; } }
@media print { .buttons { display: none; } .card { break-inside: avoid; } }
"""
