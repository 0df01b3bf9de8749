"""A page of cards, one per galaxy, with filter buttons that need no script.

The buttons are radio buttons and CSS rules; pictures are in the page. So the one file works
offline, in any browser, on a phone, and wherever scripts are forbidden.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from VAE_model.report.page import render


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
    that the picture leads to, empty for none.
    """

    kind: str
    title: str
    picture: str
    link: str = ""
    lines: tuple[str, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


def gallery_page(
    title: str, lead: Sequence[str], kinds: Sequence[Kind], cards: Sequence[Card]
) -> str:
    """Return the page: title, paragraphs, a button per kind and one for all, the cards in order.

    Raises ValueError for a card whose kind has no button.
    """
    counts = Counter(card.kind for card in cards)
    if unknown := set(counts) - {kind.name for kind in kinds}:
        raise ValueError(f"cards of a kind without a button: {', '.join(sorted(unknown))}")
    counts["all"] = len(cards)
    buttons = [Kind("all", "all", "every card", "var(--soft)"), *kinds]
    return render("gallery.html", title=title, lead=lead, kinds=buttons, counts=counts, cards=cards)
