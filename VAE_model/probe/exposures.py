"""Latents of the same galaxies in further exposures, which only a simulated sky can give."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from VAE_model.pipeline.files import read_parquet
from VAE_model.pipeline.provenance import read_sidecar
from VAE_model.pipeline.run import Run
from VAE_model.probe.encoded import Encoded, Encoder
from VAE_model.simulation.repeats import as_observed, observe_again

KINDS = ("noise", "night")  # the same conditions with other noise; other conditions too
_SAME = 0.1  # of the noise: less than that apart is the same image, rounded otherwise


@dataclass(frozen=True)
class Exposures:
    """rows: in the table of latents, of the galaxies that were observed again, (n,); views: by the
    kind, means and log-variances, each (views, n, latents), those of the image in the run first;
    why: there are none, or empty."""

    rows: NDArray[np.int64]
    views: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
    why: str = ""

    @classmethod
    def none(cls, why: str) -> "Exposures":
        return cls(np.empty(0, np.int64), {}, why)


def observe(
    run: Run, encoded: Encoded, encode: Encoder, rows: NDArray[np.int64],
    views: int, fewest: int,
) -> Exposures:  # fmt: skip
    """`views` further exposures of each kind of the galaxies in `rows` of the table whose image in
    the run is of DECaLS and without a defect; none where these are fewer than `fewest`."""
    sky = read_sidecar(run.truth) if run.truth.exists() else {}
    if sky.get("script") != "data/simulate.py":
        return Exposures.none("only a simulated sky can be observed again")
    truth = read_parquet(run.truth, ["iauname", "index", "defect_decals"]).set_index("iauname")
    known = truth.reindex(encoded.table["iauname"].iloc[rows])
    survey = encoded.packed.index["survey"].to_numpy(object)[encoded.images(rows)]
    kept = (known["defect_decals"] == "").to_numpy() & (survey == "decals")
    rows, known, seed = rows[kept], known[kept], int(sky["config"]["seed"])
    if len(rows) < fewest:
        return Exposures.none(f"{len(rows)} test galaxies without a defect are too few")
    if not _is_of_this_version(encoded, rows[0], seed, known):
        return Exposures.none("this version draws other images: run python data/simulate.py")
    parts: dict[str, list[tuple[NDArray, NDArray]]] = {kind: [] for kind in KINDS}
    indices = tqdm(known["index"], desc="observing again", unit="galaxy")
    for row, index in zip(rows, indices, strict=True):
        flux = np.concatenate(observe_again(seed, int(index), views))
        found = encode(flux, np.full(len(flux), row))
        own = encoded.means[[row]], encoded.log_variances[[row]]
        for kind, place in zip(KINDS, (slice(views), slice(views, None)), strict=True):
            mean, width = (
                np.concatenate([first, other[place]])
                for first, other in zip(own, found, strict=True)
            )
            parts[kind].append((mean, width))
    stacked = {}
    for kind, of in parts.items():
        means, widths = zip(*of, strict=True)
        stacked[kind] = np.stack(means, axis=1), np.stack(widths, axis=1)
    return Exposures(rows, stacked)


def _is_of_this_version(encoded: Encoded, row: int, seed: int, known: pd.DataFrame) -> bool:
    """The image of a row is what the simulation draws, up to the rounding of half precision."""
    image = encoded.images(np.array([row]))[0]
    noise = encoded.packed.noise[image].astype(float)
    apart = as_observed(seed, int(known["index"].iloc[0])) - encoded.packed.images[image]
    return bool((np.abs(apart).mean(axis=(1, 2)) < _SAME * noise).all())
