"""SAMP: a hub and a second program in the test receive what is sent, and send selections back."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.samp import SAMPHubServer, SAMPIntegratedClient
from astropy.table import Table
from conftest import load_script

from VAE_model.evaluation.marks import read_marks
from VAE_model.pipeline.files import write_parquet
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run

samp = load_script("analysis/samp.py")
WAIT = 20.0  # seconds for any message


@pytest.fixture
def run(tmp_path: Path) -> Run:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"iauname": [f"J{n}" for n in range(6)]})
    table["ra"], table["dec"] = rng.uniform(0, 360, 6), rng.uniform(-60, 60, 6)
    table["path"] = "images/mine/" + table["iauname"] + ".fits"
    table["flux_r"], table["kind"] = 2.5, ["rare", "broken", "rare", "ordinary", "rare", "broken"]
    write_parquet(Run(tmp_path / "run").outliers(40), table)
    return Run(tmp_path / "run")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SAMPHubServer]:
    """A hub that only this test can find."""
    lock = tmp_path / "hub.lock"
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{lock.as_uri()}")
    server = SAMPHubServer(web_profile=False, lockfile=str(lock), addr="127.0.0.1")
    server.start()
    yield server
    server.stop()


class Other:
    """Another program at the hub, such as TOPCAT; `took` has the messages it received."""

    def __init__(self, *kinds: str) -> None:
        self.client, self.took, self.got = SAMPIntegratedClient(name="Other"), [], threading.Event()
        self.client.connect()
        for kind in kinds:
            self.client.bind_receive_notification(kind, self.take)

    def take(self, key, sender, kind, values, extra) -> None:
        self.took.append((kind, values))
        self.got.set()

    def __enter__(self) -> "Other":
        return self

    def __exit__(self, *_) -> None:
        self.client.disconnect()

    def say(self, kind: str, call: bool = False, **values) -> None:
        """Send when the script has joined."""
        for _ in range(int(WAIT / 0.1)):
            if self.client.get_subscribed_clients(kind):
                break
            threading.Event().wait(0.1)
        message = {"samp.mtype": kind, "samp.params": values}
        if call:
            (one,) = self.client.get_subscribed_clients(kind)
            assert self.client.call_and_wait(one, message, "20")["samp.status"] == "samp.ok"
        else:
            self.client.notify_all(message)


def config(run: Run, **constants) -> "samp.Config":
    table = Path("result/outliers_40.parquet")
    return samp.Config(run=run.folder, table=table, seconds=WAIT, **constants)


def test_a_table_is_received_with_units_and_one_galaxy_is_pointed_at(run: Run, hub):
    with Other("table.load.votable", "coord.pointAt.sky") as other:
        samp.main(config(run, kind="rare"))
        assert other.got.wait(WAIT)
        ((kind, values),) = other.took
        assert kind == "table.load.votable" and values["name"] == "run outliers_40"
        table = Table.read(values["url"].removeprefix("file://"), format="votable")
        assert table["iauname"].tolist() == ["J0", "J2", "J4"]
        assert table["ra"].unit == "deg" and table["ra"].meta["ucd"] == "pos.eq.ra;meta.main"
        other.took.clear()
        samp.main(config(run, query=("J3",)))
        for _ in range(200):
            if len(other.took) == 2:
                break
            threading.Event().wait(0.1)
        place = dict(other.took)["coord.pointAt.sky"]
        row = samp.read_table(run.outliers(40)).iloc[3]
        assert float(place["ra"]) == pytest.approx(row["ra"], abs=1e-6)
        assert float(place["dec"]) == pytest.approx(row["dec"], abs=1e-6)


def selected(run: Run, other: Other, kind: str, **values) -> list[str]:
    """Names in the file that `receive` writes when the other program sends this."""
    speaker = threading.Thread(target=other.say, args=(kind,), kwargs=values)
    speaker.start()
    samp.main(config(run, action="receive", mark="merger"))
    speaker.join(WAIT)
    assert not speaker.is_alive()
    path = run.samp("selection.csv")
    marks = read_marks(path, samp.read_table(run.outliers(40)))
    assert set(marks["mark"]) == {"merger", ""}  # as decals_4.py --marks reads it
    return pd.read_csv(path)["name"].tolist()


def test_selections_come_back_as_marks(run: Run, hub, tmp_path: Path, capsys):
    with Other("table.load.votable") as other:
        samp.main(config(run, kind="rare"))
        sent = other.got.wait(WAIT) and other.took[0][1]["table-id"]
        rows = {"row-list": ["0", "2"]}
        assert selected(run, other, samp.ROWS, **rows, **{"table-id": sent}) == ["J0", "J4"]
        assert selected(run, other, samp.ROWS, call=True, **rows, **{"table-id": sent}) \
            == ["J0", "J4"]  # fmt: skip
        table = samp.read_table(run.outliers(40))
        place = {"ra": str(table["ra"][1]), "dec": str(table["dec"][1] + 3 / 3600)}
        assert selected(run, other, samp.POINT, **place) == ["J1"]
        theirs = tmp_path / "their table.vot"
        Table({"RA": table["ra"][[5, 2]], "Dec": table["dec"][[5, 2]]}).write(
            theirs, format="votable"
        )
        assert selected(run, other, samp.LOAD, url=theirs.as_uri()) == ["J2", "J5"]
        lines = pd.DataFrame({"path": [*table["path"][[4]], "images/far.fits"]})
        Table.from_pandas(lines).write(theirs, format="votable", overwrite=True)
        assert selected(run, other, samp.LOAD, url=theirs.as_uri()) == ["J4"]
        assert "1 rows are of no image of this run" in capsys.readouterr().out


def test_no_hub_nobody_and_silence_are_one_line(run: Run, tmp_path: Path, monkeypatch, request):
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{(tmp_path / 'none').as_uri()}")
    with pytest.raises(Problem, match="no SAMP hub runs on this machine: start TOPCAT"):
        samp.main(config(run))
    request.getfixturevalue("hub")
    with pytest.raises(Problem, match="no program at the SAMP hub takes tables"):
        samp.main(config(run))
    with pytest.raises(Problem, match=r"nothing was selected within 0\.2 s"):
        samp.receive(samp.read_table(run.outliers(40)), run,
                     samp.Config(action="receive", seconds=0.2))  # fmt: skip
    with pytest.raises(Problem, match="has no row of kind 'purple'"):
        samp.main(config(run, kind="purple"))
