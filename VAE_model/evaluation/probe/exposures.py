"""Latents of the same galaxies in further exposures, on a simulated sky."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from VAE_model.evaluation.probe.encoded import Encoded, Encoder
from VAE_model.pipeline.files import read_parquet
from VAE_model.pipeline.provenance import read_sidecar
from VAE_model.pipeline.run import Run
from VAE_model.simulation.repeats import as_observed, observe_again

KINDS = ("noise", "night")  # same conditions with other noise; other conditions
_TOLERANCE = 0.1  # of the noise: the rounding of half precision


@dataclass(frozen=True)
class Exposures:
    """Further exposures of n galaxies.

    rows: of the galaxies in the table of latents, (n,); latents: by kind, means and log-variances,
    each (exposures, n, latents), those of the image in the run first; why: the reason why there are
    none, or empty.
    """

    rows: NDArray[np.int64]
    latents: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
    why: str = ""

    @classmethod
    def none(cls, why: str) -> "Exposures":
        """Return no exposures, with the reason."""
        return cls(np.empty(0, np.int64), {}, why)


def observe(
    run: Run, encoded: Encoded, encode: Encoder, rows: NDArray[np.int64],
    number: int, least: int,
) -> Exposures:  # fmt: skip
    """Encode `number` further exposures of each kind of the galaxies in `rows` of the table.

    Only galaxies whose image in the run is of DECaLS and without a defect are observed; none where
    these are fewer than `least`.
    """
    sky = read_sidecar(run.truth) if run.truth.exists() else {}
    if sky.get("script") != "data/simulate.py":
        return Exposures.none("only a simulated sky can be observed again")
    truth = read_parquet(run.truth, ["iauname", "index", "defect_decals"]).set_index("iauname")
    known = truth.reindex(encoded.table["iauname"].iloc[rows])
    survey = encoded.packed.index["survey"].to_numpy(object)[encoded.images(rows)]
    kept = (known["defect_decals"] == "").to_numpy() & (survey == "decals")
    rows, known, seed = rows[kept], known[kept], int(sky["config"]["seed"])
    if len(rows) < least:
        return Exposures.none(f"{len(rows)} test galaxies without a defect are too few")
    if not _is_of_this_version(encoded, rows[0], seed, known):
        return Exposures.none("this version draws other images: run python data/simulate.py")
    indices = tqdm(known["index"], desc="observing again", unit="galaxy")
    again = [
        encode(np.concatenate(observe_again(seed, int(index), number)), np.full(2 * number, row))
        for row, index in zip(rows, indices, strict=True)
    ]
    latents: dict[str, Any] = {kind: [] for kind in KINDS}
    first = encoded.means[rows], encoded.log_variances[rows]
    for own, of in zip(first, zip(*again, strict=True), strict=True):
        both = np.split(np.stack(of, axis=1), 2)  # noise, night, each (number, n, latents)
        for kind, further in zip(KINDS, both, strict=True):
            latents[kind].append(np.concatenate([own[None], further]))
    return Exposures(rows, {kind: tuple(of) for kind, of in latents.items()})


def _is_of_this_version(encoded: Encoded, row: int, seed: int, known: pd.DataFrame) -> bool:
    """Return True where the image of a row is the one that the simulation draws now."""
    image = encoded.images(np.array([row]))[0]
    noise = encoded.packed.noise[image].astype(float)
    apart = as_observed(seed, int(known["index"].iloc[0])) - encoded.packed.images[image]
    return bool((np.abs(apart).mean(axis=(1, 2)) < _TOLERANCE * noise).all())
