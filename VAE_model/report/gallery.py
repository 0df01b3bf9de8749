"""A page of cards, one per galaxy, with filter buttons, and marks that the page learns from.

The buttons are radio buttons and CSS rules; pictures are in the page. So the one file works
offline, in any browser, on a phone, and, except for the marks (marks.js, gallery.js), wherever
scripts are forbidden. The page's content security policy forbids every request and other script.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from VAE_model.report.page import in_script, render, script_of


@dataclass(frozen=True)
class Kind:
    """A filter button.

    name: the word that cards use (letters); label: the text on the button; meaning: its
    explanation in a sentence; colour: in CSS.
    """

    name: str
    label: str
    meaning: str
    colour: str


@dataclass(frozen=True)
class Card:
    """One galaxy: title and lines of text, numbers by name, and tags, short words in frames.

    kind: name of the button that shows it; picture: from figures.jpeg; link: web address
    that the picture leads to, empty for none; path, ra, dec (degrees, None where unknown): for the
    file of marks.
    """

    kind: str
    title: str
    picture: str
    link: str = ""
    lines: tuple[str, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    path: str = ""
    ra: float | None = None
    dec: float | None = None


def gallery_page(
    title: str,
    lead: Sequence[str],
    kinds: Sequence[Kind],
    cards: Sequence[Card],
    marking: dict[str, Any],
) -> str:
    """Return the page: title, paragraphs, a button per kind and one for all, the cards in order.

    marking: from marking_content, with the features of the cards. Raises ValueError for a card
    whose kind has no button.
    """
    counts = Counter(card.kind for card in cards)
    if unknown := set(counts) - {kind.name for kind in kinds}:
        raise ValueError(f"cards of a kind without a button: {', '.join(sorted(unknown))}")
    counts["all"] = len(cards)
    every = Kind("all", "all", "every card", "var(--soft)")
    marked = Kind("marked", "marked", "those that you have marked", "var(--mark, var(--ink))")
    names = {"name": "title", "paths": "path", "ra": "ra", "dec": "dec"}
    columns = {name: [getattr(card, of) for card in cards] for name, of in names.items()}
    return render(
        "gallery.html", title=title, lead=lead, kinds=[every, *kinds, marked], counts=counts,
        cards=cards, data=in_script({**columns, "marking": marking}),
        **script_of("marks.js", "gallery.js"),
    )  # fmt: skip
