"""HATS catalogues by LSDB: a table as a catalogue, and a cross-match with 10^6 rows."""

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from conftest import ENVIRONMENT, run_script, says_one_line, succeeded

from VAE_model.pipeline.files import read_parquet, write_parquet
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.tables.descriptions import describe

lsdb = pytest.importorskip("lsdb", reason="the extra `hats` (lsdb) is not installed")

MATCHED, BORDER, ALONE = 1_500, 60, 500
MILLION = pytest.param(1_000_000, marks=pytest.mark.long)
SCRIPT = "analysis/crossmatch.py"


def moved(ra: np.ndarray, dec: np.ndarray, arcsec: np.ndarray, angle: np.ndarray) -> tuple:
    """Positions at this distance and position angle, degrees."""
    there = SkyCoord(ra, dec, unit="deg").directional_offset_by(
        angle * units.rad, arcsec * units.arcsec
    )
    return there.ra.deg, there.dec.deg


@pytest.fixture(scope="module", params=[20_000])
def sky(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path, pd.DataFrame]:
    """A run, a catalogue in some 20 partitions, and the true match of each image (-1: none).

    60 pairs lie on both sides of RA 90 deg in the north, a border of HEALPix pixels of all orders.
    """
    rng, rows_in_all = np.random.default_rng(7), request.param
    ra = rng.uniform(0, 360, rows_in_all)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, rows_in_all)))
    ra[:BORDER], dec[:BORDER] = 90 - 0.2 / 3600, np.linspace(45, 80, BORDER)
    catalogue = pd.DataFrame({"id": np.arange(rows_in_all), "ra": ra, "dec": dec})
    catalogue["mag"] = rng.normal(18, 1, rows_in_all).astype(np.float32)
    catalogue["unused"] = rng.normal(size=rows_in_all)
    folder = tmp_path_factory.mktemp("hats")
    lsdb.from_dataframe(
        catalogue, partition_rows=rows_in_all // 20, catalog_name="big"
    ).write_catalog(folder / "big", as_collection=False, progress_bar=False)
    rows = np.r_[
        np.arange(BORDER), rng.choice(np.arange(BORDER, rows_in_all), MATCHED, replace=False)
    ]
    apart = np.r_[np.zeros(BORDER), rng.uniform(0, 0.9, MATCHED)]
    here = np.array(moved(ra[rows], dec[rows], apart, rng.uniform(0, 2 * np.pi, len(rows))))
    here[0, :BORDER] = 90 + 0.2 / 3600
    near = SkyCoord(ra[rows[-1:]], dec[rows[-1:]], unit="deg")  # a second image of the last row
    here = np.c_[here, moved(near.ra.deg, near.dec.deg, np.array([0.7]), np.array([1.0]))]
    far = np.array([rng.uniform(0, 360, ALONE), np.degrees(np.arcsin(rng.uniform(-1, 1, ALONE)))])
    images = pd.DataFrame(np.c_[here, far].T, columns=["ra", "dec"])
    images["match"] = np.r_[rows, rows[-1], np.full(ALONE, -1)]
    images["iauname"] = [f"J{n}" for n in range(len(images))]
    images["path"] = "images/mine/" + images["iauname"] + ".fits"
    images.loc[len(images)] = {
        "ra": np.nan,
        "dec": np.nan,
        "match": -1,
        "iauname": "x",
        "path": "x",
    }
    images = images.sample(frac=1, random_state=1, ignore_index=True)
    run = Run(folder / "run")
    write_parquet(run.latents(2), images.drop(columns="match"))
    return run, folder / "big", images


@pytest.mark.parametrize("sky", [20_000, MILLION], indirect=True)
def test_a_catalogue_is_matched_across_borders_in_bounded_memory(sky, tmp_path: Path):
    run, catalogue, images = sky
    options = ("--num-var", "2", "--catalogue", str(catalogue), "--columns", "id", "mag")
    command = [sys.executable, str(ROOT / SCRIPT), "--run", str(run.folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    succeeded(done)
    found = read_parquet(run.crossmatch("big"))
    known = images[images["match"] >= 0]
    wrong = set(found["iauname"]) - set(known["iauname"])  # of 500 at random, by chance
    assert len(wrong) <= 1 and set(known["iauname"]) <= set(found["iauname"])
    found = found.merge(known[["iauname", "match"]], on="iauname", validate="one_to_one")
    assert len(found) == BORDER + MATCHED + 1
    assert (found["id"] == found["match"]).mean() > 0.999
    one, two = (
        SkyCoord(found[f"ra{end}"], found[f"dec{end}"], unit="deg") for end in ("", "_catalogue")
    )
    right = one.separation(two).arcsec
    np.testing.assert_allclose(found["separation"], right, atol=1e-6)
    assert right.max() < 1 and "unused" not in found
    assert f"{len(images) - len(known) - len(wrong) - 1:,}: no match, 1: no position" in done.stdout
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"peak memory {peak:.2f} GiB")
    assert peak < 2  # 1.3 of them are LSDB's margin, whatever the catalogue's size
    again = run_script(SCRIPT, run, *options)
    assert "nothing to do" in again.stdout


def test_bad_input_is_one_line(sky, tmp_path: Path):
    run, catalogue, _ = sky
    base = ("--num-var", "2", "--catalogue")
    done = run_script(SCRIPT, run, *base, str(tmp_path))
    assert "is no HATS catalogue" in says_one_line(done)
    done = run_script(SCRIPT, run, *base, str(catalogue), "--columns", "colour")
    assert "has no column colour: it has id, ra, dec, mag, unused" in says_one_line(done)
    done = run_script(SCRIPT, run, *base, str(catalogue), "--radius", "0")
    assert "--radius must be" in says_one_line(done)


def test_a_table_becomes_a_catalogue_with_units_and_ucds(sky, tmp_path: Path):
    run, _, images = sky
    table = images.drop(columns="match").assign(flux_r=1.5)
    write_parquet(run.latents(3), table)
    target = tmp_path / "mine"
    options = ("--table", "result/latents_3.parquet", "--to", str(target))
    done = succeeded(run_script("analysis/export_table.py", run, *options))
    assert "1 rows without a position are left out" in done.stdout
    back = lsdb.open_catalog(target).compute().sort_values("iauname", ignore_index=True)
    right = table[np.isfinite(table["ra"])].sort_values("iauname", ignore_index=True)
    for name in ("iauname", "ra", "dec", "flux_r"):
        assert back[name].tolist() == right[name].tolist()
    import pyarrow.parquet as pq

    notes = pq.read_schema(target / "dataset" / "_common_metadata").metadata
    xml = notes[b"IVOA.VOTable-Parquet.content"].decode()
    known = describe("flux_r", "latents_3")
    assert known.ucd in xml and 'unit="deg"' in xml and known.description in " ".join(xml.split())
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.txt").write_text("mine")
    done = run_script("analysis/export_table.py", run, *options[:3], str(other))
    assert "holds no HATS catalogue: choose another name" in says_one_line(done)
    assert (other / "chapter.txt").read_text() == "mine"
