"""Find the most similar galaxies in a whole survey: in the latents of many runs, on disk.

similar.py searches one run, in memory. This script makes an index of the latents of several runs
that one model has encoded (`--runs`), and searches it (`--query`). The search reads a quarter of
the size of the latents, needs little memory, and is exact (VAE_model/evaluation/latent_index.py).
Images with a defect flag are left out. Distances are in units of the scatter between two exposures
of one galaxy, as the first run has measured it. The index is not made again when a run changes.

Reads:  with `runs`: result/latents_40.parquet of each; with `query`: the index
Writes: with `runs`: <index>/names.parquet (run, iauname, path, ra, dec, survey) and the files of
        the index; with `query`: <index>/search.parquet: query, order (1 for the most similar), run,
        iauname, path, ra, dec, survey, distance (scatters)

Example: python analysis/search_survey.py --runs data/demo --query J112953.88-000427.4
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from VAE_model.data.sky import separation, unit_vectors, viewer_url
from VAE_model.evaluation.latent_index import LatentIndex, build
from VAE_model.extraction.latent_table import in_scatters, read_means
from VAE_model.extraction.repeatability import SCATTER
from VAE_model.pipeline.files import utf8, write_parquet
from VAE_model.pipeline.provenance import whole_sidecar
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem, start
from VAE_model.tables.lookup import RADIUS, position_in

COLUMNS = ("run", "iauname", "path", "ra", "dec", "survey")
GROUP = 2**18  # rows of a row group of names.parquet


@dataclass(frozen=True)
class Config:
    """The constants of this script."""

    index: Path = Path("data/survey_index")
    """Folder of the index."""
    runs: tuple[Path, ...] = ()
    """Folders of the runs of which to make the index; none: it is there."""
    num_var: int = 40
    """Number of latent variables."""
    query: tuple[str, ...] = ()
    """Galaxies of the index: IAU name, path with or without its folders, or position ("152.63
    1.367" in degrees, "10:10:31 +01:22:01")."""
    count: int = 10
    """Neighbours per query galaxy."""


def blocks_of(
    runs: list[Run], number: int, names: pq.ParquetWriter
) -> Iterator[NDArray[np.float32]]:
    """Yield the latents of each run, in scatters of the first, and write the names.

    Raises Problem where the runs were not encoded by the same model.
    """
    scatter, model = None, None
    for run in runs:
        path = run.latents(number)
        table, latents = read_means(run, path, number, ("survey", "flag_"))
        inputs = whole_sidecar(path).get("inputs", {})
        own = [entry["sha256"] for name, entry in inputs.items() if name.endswith(".safetensors")]
        model = own if model is None else model
        if own != model:
            raise Problem(
                f"{run.show(path)} comes from another model than {runs[0].show(runs[0].folder)}: "
                "run analysis/extract_latents.py with the same --model on each run"
            )
        scatter = scatter or table.attrs[SCATTER]
        table.attrs[SCATTER] = scatter
        good = ~table.filter(regex="^flag_").any(axis=1).to_numpy(bool)
        kept = table[good].assign(run=str(run.show(run.folder)))
        texts = kept[["run", "iauname", "path", "survey"]].astype(str)
        columns = pd.concat([texts, kept[["ra", "dec"]].astype(float)], axis=1)[list(COLUMNS)]
        names.write_table(pa.Table.from_pandas(columns, schema=SCHEMA), row_group_size=GROUP)
        print(f"  {run.show(path)}: {len(kept):,} of {len(table):,} images are without a flag")
        yield in_scatters(table, latents)[good]


SCHEMA = pa.schema(
    [(name, pa.float64() if name in ("ra", "dec") else pa.string()) for name in COLUMNS]
)


class Names:
    """The table of the galaxies of an index, read in groups of rows."""

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, pq.ParquetFile(utf8(path))
        groups = range(self.file.num_row_groups)
        sizes = [self.file.metadata.row_group(group).num_rows for group in groups]
        self.first = np.cumsum([0, *sizes])

    def of(self, rows: NDArray[np.int64]) -> pd.DataFrame:
        """Return the galaxies in some rows, in their order."""
        groups = np.searchsorted(self.first, rows, side="right") - 1
        parts = []
        for group in np.unique(groups):
            places = np.flatnonzero(groups == group)
            part = self.file.read_row_group(int(group)).take(rows[places] - self.first[group])
            parts.append(part.to_pandas().set_index(places))
        return pd.concat(parts).sort_index()

    def find(self, query: str) -> int:
        """Return the row of a galaxy. Raises Problem where none fits, or several by name."""
        position, found = position_in(query), []
        least, closest = np.inf, -1
        for group, first in enumerate(self.first[:-1]):
            part = self.file.read_row_group(group)
            key = pc.binary_join_element_wise(part["run"], part["path"], "/")
            ends = pc.or_(pc.equal(key, query), pc.ends_with(key, f"/{query}"))
            fits = pc.or_(pc.equal(part["iauname"], query), ends).to_numpy(zero_copy_only=False)
            found += (np.flatnonzero(fits) + first).tolist()
            if position:
                places = unit_vectors(part["ra"].to_numpy(), part["dec"].to_numpy())
                apart = np.linalg.norm(places - unit_vectors(*position), axis=1)
                if np.isfinite(apart).any() and np.nanmin(apart) < least:
                    least, closest = float(np.nanmin(apart)), int(np.nanargmin(apart)) + int(first)
        if len(found) > 1:
            some = self.of(np.array(found[:4]))
            shown = ", ".join(some["run"] + "/" + some["path"])
            raise Problem(f"{query!r} fits {len(found):,} images: {shown}: give one of these paths")
        if found:
            return found[0]
        if separation(least) > RADIUS:
            raise Problem(
                f"{self.path.parent} has no galaxy {query!r}: give its whole name, its file name "
                f"or its position, to {RADIUS:.0f} arcsec; images with a defect flag are not there"
            )
        return closest


def main(config: Config) -> None:
    """Make the index, search it, or both."""
    folder = ROOT / config.index
    if config.count < 1 or not (config.runs or config.query):
        raise Problem("give --runs to make an index, --query to search it, and a --count above 0")
    if config.runs:
        folder.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(utf8(folder / "names.parquet"), SCHEMA) as names:
            made = build(folder, blocks_of([*map(Run, config.runs)], config.num_var, names))
        print(f"  {made.rows:,} galaxies in {config.index}")
    if not config.query:
        return
    index, table = LatentIndex(folder), Names(folder / "names.parquet")
    own = np.array([table.find(query) for query in config.query])
    rows, distances = index.search(index.latents(own), config.count + 1)
    drop = rows == own[:, None]
    drop[~drop.any(axis=1), -1] = True  # more equal ones than fit: drop the last
    count = rows.shape[1] - 1
    found = table.of(rows[~drop])
    found.insert(0, "query", np.repeat(config.query, count))
    found.insert(1, "order", np.tile(np.arange(1, count + 1), len(own)))
    found["distance"] = distances[~drop]
    write_parquet(folder / "search.parquet", found)
    for row in found.itertuples():
        if row.order == 1:
            print(f"  {row.query}: distance in scatters between exposures")
        known = np.isfinite(row.ra) and np.isfinite(row.dec)
        link = viewer_url(row.ra, row.dec, row.survey) if known else ""
        print(f"  {row.order:>4}  {row.distance:7.3g}  {row.iauname}  {row.run}  {link}".rstrip())


if __name__ == "__main__":
    start(main, Config, __doc__)
