"""Tables of a run for other programs: values, units, UCDs and descriptions survive."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits, votable
from astropy.io.votable.ucd import parse_ucd
from astropy.table import Table
from astropy.units import Unit
from conftest import run_script, says_one_line, succeeded

from VAE_model.data import galaxy_zoo
from VAE_model.pipeline.files import write_parquet
from VAE_model.pipeline.run import Run
from VAE_model.preparation.defects import FLAGS
from VAE_model.tables import descriptions
from VAE_model.tables.descriptions import describe
from VAE_model.tables.reading import read_table
from VAE_model.tables.writing import WRITERS, described

STAGE = "analysis/export_table.py"
UNITS = {"ra": "deg", "dec": "deg", "image_angle": "deg", "centre_x": "arcsec",
         "flux_g": "nanomaggy", "separation": "arcsec"}  # fmt: skip


def latents(rows: int = 7) -> pd.DataFrame:
    """A table of latents with every kind of value: missing, text beyond ASCII, long integers."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"iauname": [f"J{n:06d}" for n in range(rows)]})
    table["ra"], table["dec"] = rng.uniform(0, 360, rows), rng.uniform(-90, 90, rows)
    table.loc[2, ["ra", "dec"]] = np.nan
    table["path"] = "images/mine/ü.fits"
    table["split"] = [None, *["train"] * (rows - 1)]
    for name in ("mu_00", "mu_01", "logvar_00", "image_angle", "centre_x"):
        table[name] = rng.normal(size=rows).astype(np.float32)
    table["flux_g"], table["separation"] = rng.normal(size=rows) * 1e-9, 0.1
    table["class_row"] = 2**53 + np.arange(rows)
    table["flag_gap"] = np.arange(rows) % 2 == 0
    table["how round"] = "round"
    return table


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "run")
    write_parquet(run.latents(2), latents())
    return run


@pytest.mark.parametrize("ending", WRITERS)
def test_a_table_survives_with_units_ucds_and_descriptions(ending: str, run: Run):
    target = run.folder / f"out{ending}"
    succeeded(run_script(STAGE, run, "--table", "result/latents_2.parquet", "--to", str(target)))
    before, after = read_table(run.latents(2)), read_table(target)
    pd.testing.assert_frame_equal(before, after)
    with warnings.catch_warnings(action="ignore"):  # nanomaggy is no unit of the FITS standard
        table = Table.read(target)
    for column in table.itercols():
        known = describe(column.name, "latents_2")
        assert Unit(str(column.unit or "")) == Unit(UNITS.get(column.name, ""))
        if ending == ".ecsv":
            assert (column.meta["ucd"], column.description) == (known.ucd, known.description)
    if ending == ".fits":
        header = fits.getheader(target, 1)
        for number, name in enumerate(before, 1):
            known = describe(name, "latents_2")
            assert header[f"TUCD{number}"] == known.ucd
            assert header[f"TCOMM{number}"] == known.description
    if ending == ".vot":
        parsed = votable.parse(target)
        assert parsed.resources[0].coordinate_systems[0].system == "ICRS"
        for field in parsed.get_first_table().fields:
            known = describe(field.name, "latents_2")
            assert field.ucd == known.ucd
            assert " ".join(field.description.split()) == known.description
            assert (field.ref == "ICRS") == (field.name in ("ra", "dec"))


def test_every_unit_and_ucd_of_the_list_is_of_the_standards():
    lists = [descriptions._COMMON, *descriptions._OF_TABLE.values()]
    for unit, ucd, said in (known for columns in lists for known in columns.values()):
        Unit(unit)
        for word in ("{band}", "{0}"):
            ucd = ucd.replace(word, "em.opt.R" if word == "{band}" else "x")
        parse_ucd(ucd, check_controlled_vocabulary=True, has_colon=True)
        assert said and said == said.strip()


def test_columns_are_described_by_the_table_they_are_in():
    assert describe("distance", "similar_40") != describe("distance", "outliers_40")
    assert describe("flux_z").ucd == "phot.flux.density;em.opt.I"
    assert describe("bar_p_strong", "predictions_40").description.startswith("probability of the")
    assert describe("bar_fraction", "truth") is None and describe("own column", "labels") is None
    every = [*FLAGS, *galaxy_zoo.CLASSES, *map(galaxy_zoo.answer_column, galaxy_zoo.questions())]
    assert all(describe(name).ucd.startswith("meta.code") for name in every)


def test_the_page_has_the_columns_of_the_list(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(descriptions.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    before = page.read_text(encoding="utf-8")
    assert descriptions.write_page(page) == before, "run python -m VAE_model.tables.descriptions"


def test_the_default_is_a_votable_and_a_column_without_description_is_named(run: Run):
    write_parquet(run.labels, latents().assign(my_T=1.5))
    done = succeeded(run_script(STAGE, run, "--table", "labels.parquet"))
    assert "1 columns have no description: my_T" in done.stdout
    assert Table.read(run.export("labels.vot"))["my_T"][0] == 1.5
    assert "nothing to do" in run_script(STAGE, run, "--table", "labels.parquet").stdout


def test_a_format_that_is_not_written_and_a_missing_table_are_refused(run: Run):
    done = run_script(STAGE, run, "--to", str(run.folder / "a.xlsx"))
    assert "ends in .xlsx: give .fits, .vot, .ecsv, or a folder" in says_one_line(done)
    done = run_script(STAGE, run)
    assert "latents_40.parquet is missing: run python" in says_one_line(done)


def test_an_empty_name_and_odd_text_are_written(tmp_path: Path):
    table = described(pd.DataFrame({"a b": ["x", None, "ñ"], "B": [True, False, True]}), "labels")
    for ending, write in WRITERS.items():
        write(table, tmp_path / f"a{ending}")
        assert read_table(tmp_path / f"a{ending}")["a b"].fillna("").tolist() == ["x", "", "ñ"]
