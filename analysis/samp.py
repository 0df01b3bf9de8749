"""Send galaxies to TOPCAT, Aladin or DS9, and receive the selection made there, by SAMP.

Start TOPCAT or Aladin first: it runs the hub that programs on this machine meet at. `send` sends a
table of the run as a VOTable with units and UCDs, whole or only the rows that `kind` and `query`
name; with one row, programs that show the sky turn to its position as well. `receive` waits for
what is selected there (rows of the table that was sent, a table, a position), and writes it as a
table that other stages take:

    python analysis/decals_4.py --marks data/demo/samp/selection.csv
    python analysis/similar.py --query $(tail -n +2 data/demo/samp/selection.csv | cut -d, -f1)

Reads:  `table`, any parquet table of the run
Writes: samp/<table>.vot (what was sent); samp/selection.csv (what was received: name, path, ra, dec
        (degrees), mark)

Example: python analysis/samp.py --table result/outliers_40.parquet --kind rare
         python analysis/samp.py --action receive --mark merger
"""

import contextlib
import queue
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd

from VAE_model.data.sky import nearest_position
from VAE_model.pipeline.files import atomic
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, start
from VAE_model.tables.lookup import RADIUS, find_row
from VAE_model.tables.reading import read_table
from VAE_model.tables.text import write_csv
from VAE_model.tables.writing import described, write_votable

with warnings.catch_warnings(action="ignore"):  # moved to pyvo.samp, which is not a dependency
    from astropy.samp import SAMPHubError, SAMPIntegratedClient, SAMPProxyError

LOAD, ROWS, POINT = "table.load.votable", "table.select.rowList", "coord.pointAt.sky"


@dataclass(frozen=True)
class Config:
    """Constants of the script."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    action: Literal["send", "receive"] = "send"
    """send: rows of the table to the other programs; receive: the selection made there."""
    table: Path = Path("result/latents_40.parquet")
    """Table of the run, relative to its folder; to receive rows, the table that was sent."""
    kind: str = ""
    """Send the rows whose column kind (or mark) is this, as rare in outliers_40.parquet."""
    query: tuple[str, ...] = ()
    """Send the rows with these names, parts of names, or positions."""
    mark: str = "selected"
    """Mark that received galaxies get."""
    seconds: float = 300.0
    """Seconds to wait for a selection."""


class Client(SAMPIntegratedClient):
    """A program among others at a SAMP hub: `with Client() as client`."""

    def __init__(self) -> None:
        super().__init__(name="Galaxy_VAE", description="Latent variables of galaxies")
        self.messages: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()

    def __enter__(self) -> "Client":
        """Join the hub, and listen. Raises Problem where none runs."""
        try:
            self.connect()
        except SAMPHubError:
            raise Problem(
                "no SAMP hub runs on this machine: start TOPCAT or Aladin first"
            ) from None
        for kind in (LOAD, ROWS, POINT):
            self.bind_receive_call(kind, self._call)
            self.bind_receive_notification(kind, self._notification)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the hub, which may have ended."""
        with contextlib.suppress(OSError, SAMPProxyError, SAMPHubError):
            self.disconnect()

    def _call(self, key: str, sender: str, message: str, kind: str, values: dict, _: dict) -> None:
        self.messages.put((kind, values))
        self.reply(message, {"samp.status": "samp.ok", "samp.result": {}})

    def _notification(self, key: str, sender: str, kind: str, values: dict, _: dict) -> None:
        self.messages.put((kind, values))

    def send(self, kind: str, values: dict[str, str]) -> list[str]:
        """Send a message to all programs that take it, and return their names."""
        takers = self.get_subscribed_clients(kind)
        for one in takers:
            self.notify(one, {"samp.mtype": kind, "samp.params": values})
        return sorted(self.get_metadata(one).get("samp.name", one) for one in takers)


def chosen(table: pd.DataFrame, config: Config) -> pd.DataFrame:
    """Return the rows that the constants name, all where they name none."""
    rows = np.full(len(table), not config.query)
    for query in config.query:
        rows[find_row(table, query)] = True
    if config.kind:
        columns = [name for name in ("kind", "mark") if name in table]
        if not columns:
            raise Problem(f"{config.table} has neither a column kind nor mark: leave --kind out")
        rows &= (table[columns].astype(str) == config.kind).any(axis=1).to_numpy()
    if not rows.any():
        raise Problem(f"{config.table} has no row of kind {config.kind!r}: nothing to send")
    return table[rows].reset_index(drop=True)


def send(table: pd.DataFrame, run: Run, config: Config) -> None:
    """Send the chosen rows to all programs that take tables."""
    rows, target = chosen(table, config), run.samp(f"{config.table.stem}.vot")
    with Client() as client:
        with atomic(target) as temporary:
            write_votable(described(rows, config.table.stem), temporary)
        values = {
            "url": target.resolve().as_uri(), "table-id": _identity(run, config),
            "name": f"{run.folder.name} {config.table.stem}",
        }  # fmt: skip
        if not (takers := client.send(LOAD, values)):
            raise Problem("no program at the SAMP hub takes tables: start TOPCAT or Aladin")
        print(f"  {len(rows):,} rows of {config.table} sent to {', '.join(takers)}")
        if len(rows) == 1 and np.isfinite(rows["ra"][0]):
            place = {name: f"{rows[name][0]:.7f}" for name in ("ra", "dec")}
            if takers := client.send(POINT, place):
                print(f"  its position sent to {', '.join(takers)}")


def receive(table: pd.DataFrame, run: Run, config: Config) -> None:
    """Wait for a selection, and write it."""
    with Client() as client:
        print(f"  waiting {config.seconds:g} s for rows, a table or a position", flush=True)
        end = time.monotonic() + config.seconds
        while (left := end - time.monotonic()) > 0:
            try:
                kind, values = client.messages.get(timeout=left)
            except queue.Empty:
                break
            rows = selection(kind, values, table, run, config)
            if rows is not None:
                named = table.iloc[rows].rename(columns={"iauname": "name"})
                lines = named[["name", "path", "ra", "dec"]].assign(mark=config.mark)
                target = run.samp("selection.csv")
                write_csv(target, [tuple(lines), *lines.itertuples(index=False, name=None)])
                print(f"  {len(rows):,} galaxies received: {run.show(target)}")
                return
    raise Problem(f"nothing was selected within {config.seconds:g} s: select rows, and send them")


def selection(
    kind: str, values: dict[str, Any], table: pd.DataFrame, run: Run, config: Config
) -> list[int] | None:
    """Return the rows of the table that a message names; None where it is about another table."""
    if kind == POINT:
        return [_nearest(float(values["ra"]), float(values["dec"]), table)]
    if kind == ROWS:
        if values.get("table-id") != _identity(run, config):
            print("  rows of another table are left out")
            return None
        sent = read_table(run.samp(f"{config.table.stem}.vot"), ["path"])
        wanted = sent["path"].iloc[[int(row) for row in values["row-list"]]]
    else:
        path = Path(unquote(urlsplit(str(values["url"])).path))
        received = read_table(path, optional=["path", "ra", "dec"])
        if "path" not in received:
            places = received[["ra", "dec"]].to_numpy(float)
            return sorted({_nearest(ra, dec, table) for ra, dec in places})
        wanted = received["path"]
    rows = pd.Series(np.arange(len(table)), table["path"]).reindex(wanted.dropna())
    if unknown := int(rows.isna().sum()):
        print(f"  {unknown:,} rows are of no image of this run, and are left out")
    return rows.dropna().astype(int).tolist()


def _nearest(ra: float, dec: float, table: pd.DataFrame) -> int:
    apart, row = nearest_position([ra], [dec], table["ra"], table["dec"])
    if not apart[0] <= RADIUS:
        raise Problem(f"no image lies within {RADIUS:g} arcsec of {ra:.5f} {dec:.5f}")
    return int(row[0])


def _identity(run: Run, config: Config) -> str:
    return f"Galaxy_VAE/{run.folder.resolve()}/{config.table}"


def main(config: Config) -> None:
    """Send, or receive."""
    run = Run(config.run)
    source = run.folder / config.table
    if not source.exists():
        raise Problem(f"{run.show(source)} is missing: run {run.made_by(source) or 'its stage'}")
    table = read_table(source)
    lacking = {"iauname", "path", "ra", "dec"} - set(table)
    if lacking:
        raise Problem(
            f"{run.show(source)} has no column {', '.join(sorted(lacking))}: give another"
        )
    (send if config.action == "send" else receive)(table, run, config)


if __name__ == "__main__":
    start(main, Config, __doc__)
