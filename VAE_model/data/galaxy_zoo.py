"""The Galaxy Zoo DECaLS question tree, the eight classes and the seven questions, as data.

Votes are fractions: `{question}_{answer}_fraction`. Source of the tree: Walmsley et al. 2022,
MNRAS 509, 3966; of the cuts: Xu et al. 2023, MNRAS 526, 6391. The `auto_posteriors` catalogue
holds votes predicted by a network; `volunteers_5` holds votes of volunteers.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

# question: its answers
TREE = {
    "smooth-or-featured": ("smooth", "featured-or-disk", "artifact"),
    "how-rounded": ("round", "in-between", "cigar-shaped"),
    "disk-edge-on": ("yes", "no"),
    "edge-on-bulge": ("boxy", "none", "rounded"),
    "bar": ("strong", "weak", "no"),
    "has-spiral-arms": ("yes", "no"),
    "spiral-winding": ("tight", "medium", "loose"),
    "spiral-arm-count": ("1", "2", "3", "4", "more-than-4", "cant-tell"),
    "bulge-size": ("dominant", "large", "moderate", "small", "none"),
    "merging": ("none", "minor-disturbance", "major-disturbance", "merger"),
}

# question: (the question before it, the answer that leads here)
ASKED_AFTER = {
    "how-rounded": ("smooth-or-featured", "smooth"),
    "disk-edge-on": ("smooth-or-featured", "featured-or-disk"),
    "edge-on-bulge": ("disk-edge-on", "yes"),
    "bar": ("disk-edge-on", "no"),
    "has-spiral-arms": ("disk-edge-on", "no"),
    "bulge-size": ("disk-edge-on", "no"),
    "spiral-winding": ("has-spiral-arms", "yes"),
    "spiral-arm-count": ("has-spiral-arms", "yes"),
}

IDENTITY = ["iauname", "ra", "dec"]


def fraction(question: str, answer: str) -> str:
    """Return the column of the fraction of volunteers who gave this answer."""
    return f"{question}_{answer}_fraction"


def asked(question: str) -> str:
    """Return the column of the fraction of volunteers who reached this question."""
    return f"{question}_proportion_volunteers_asked"


@dataclass(frozen=True)
class Cut:
    """Thresholds that the fractions exceed: all those in `all_of`, and at least one in `any_of`."""

    all_of: tuple[tuple[str, str, float], ...] = ()
    any_of: tuple[tuple[str, str, float], ...] = ()

    def columns(self) -> set[str]:
        """Return the catalogue's columns that the cut reads."""
        return {fraction(q, a) for q, a, _ in self.all_of + self.any_of}

    def select(self, catalogue: pd.DataFrame) -> np.ndarray:
        """Return a boolean mask (N,) of the catalogue's rows; a missing fraction passes no cut."""
        chosen = np.ones(len(catalogue), dtype=bool)
        for question, answer, threshold in self.all_of:
            chosen &= (catalogue[fraction(question, answer)] > threshold).to_numpy(bool)
        if self.any_of:
            either = np.zeros(len(catalogue), dtype=bool)
            for question, answer, threshold in self.any_of:
                either |= (catalogue[fraction(question, answer)] > threshold).to_numpy(bool)
            chosen &= either
        return chosen


_SMOOTH = ("smooth-or-featured", "smooth")
_FEATURED = ("smooth-or-featured", "featured-or-disk")
_NOT_EDGE_ON = ("disk-edge-on", "no")
_MERGING = tuple(("merging", a, 0.6) for a in ("minor-disturbance", "major-disturbance", "merger"))

CLASSES = {
    "smoothRounded": Cut(((*_SMOOTH, 0.7), ("how-rounded", "round", 0.8))),
    "smoothInBetween": Cut(((*_SMOOTH, 0.7), ("how-rounded", "in-between", 0.85))),
    "smoothCigarShaped": Cut(((*_SMOOTH, 0.5), ("how-rounded", "cigar-shaped", 0.6))),
    "edgeOn": Cut(((*_FEATURED, 0.5), ("disk-edge-on", "yes", 0.7))),
    "diskNoBar": Cut(((*_FEATURED, 0.5), (*_NOT_EDGE_ON, 0.5), ("bar", "no", 0.8))),
    "diskWeakBar": Cut(((*_FEATURED, 0.5), (*_NOT_EDGE_ON, 0.5), ("bar", "weak", 0.5))),
    "diskStrongBar": Cut(((*_FEATURED, 0.5), (*_NOT_EDGE_ON, 0.5), ("bar", "strong", 0.5))),
    "merger": Cut(any_of=_MERGING),
}


def questions(gate: float = 0.5, answer: float = 0.6) -> dict[str, dict[str, Cut]]:
    """Return the seven questions that latents are evaluated on: question -> answer -> cut.

    gate: fraction that the answers leading to a question must exceed;
    answer: fraction that the answer itself must exceed, so that answers exclude each other.
    """
    face_on = ((*_FEATURED, gate), (*_NOT_EDGE_ON, gate))
    spiral = (*face_on, ("has-spiral-arms", "yes", gate))

    def answers(question: str, gates: tuple, *names: str) -> dict[str, Cut]:
        return {name: Cut((*gates, (question, name, answer))) for name in names}

    return {
        "how round": answers(
            "how-rounded", ((*_SMOOTH, gate),), "round", "in-between", "cigar-shaped"
        ),
        "edge-on": answers("disk-edge-on", ((*_FEATURED, gate),), "yes", "no"),
        "bar": answers("bar", face_on, "strong", "no"),
        "has arm": answers("has-spiral-arms", face_on, "yes", "no"),
        "arm tightness": answers("spiral-winding", spiral, "tight", "medium", "loose"),
        "bulge size": answers("bulge-size", face_on, "none", "small", "moderate"),
        "merger": {
            "merger": Cut(any_of=tuple((q, a, answer) for q, a, _ in _MERGING)),
            "not merging": Cut((("disk-edge-on", "no", 0.6), ("merging", "none", 0.8))),
        },
    }


def answer_column(question: str) -> str:
    """Return the column of a question's answers in classes.parquet.

    It has the name of the question, except `merger answer` for the question merger, as the class of
    that name has the column `merger`.
    """
    return f"{question} answer" if question in CLASSES else question


def columns_needed(cuts: list[Cut]) -> list[str]:
    """Return the catalogue's columns that the cuts and the identity of a galaxy need, sorted."""
    return IDENTITY + sorted(set().union(*(cut.columns() for cut in cuts)))
