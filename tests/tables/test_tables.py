"""Claims about every table that is read: the same content, whatever wrote it."""

import decimal
import gzip
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table
from conftest import load_script, run_script, says_one_line
from PIL import Image

from VAE_model.data import galaxy_zoo
from VAE_model.evaluation.questions import read_questions
from VAE_model.imports.matching import rows_of_files
from VAE_model.pipeline.files import parquet_columns, read_parquet, write_parquet
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run
from VAE_model.tables import labels
from VAE_model.tables.columns import as_numbers, typed
from VAE_model.tables.reading import read_table

decals_1, decals_2_1, decals_2_2, import_images, map_page = (
    load_script(f"{name}.py")
    for name in (
        "analysis/decals_1", "analysis/decals_2_1", "analysis/decals_2_2",
        "data/import_images", "analysis/map",
    )
)  # fmt: skip

NAMES = ["a.jpg", "b.jpg", "c.jpg"]
LABELS = pd.DataFrame(
    {"file": NAMES, "ra": [154.7709, 1.5, 359.0], "dec": [46.4537, -2.25, 0.5],
     "bulge": ["None", "small", "large"], "votes": [1.0, np.nan, 3.0]}
)  # fmt: skip


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def as_csv(separator: str = ",", decimal_sign: str = ".", missing: str = "") -> str:
    return LABELS.to_csv(index=False, sep=separator, decimal=decimal_sign, na_rep=missing)


def same(found: pd.DataFrame, expected: pd.DataFrame = LABELS) -> None:
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


# Text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", as_csv()),
        ("t.csv", "\ufeff" + as_csv()),
        ("t.csv", as_csv(";", ",")),  # German Excel
        ("t.csv", "sep=;\r\n" + as_csv(";", ",").replace("\n", "\r\n")),
        ("t.csv", as_csv("\t").encode("utf-16")),  # "Unicode text" of Excel
        ("t.tsv", as_csv("\t")),
        ("t.txt", as_csv("|")),
        ("t.txt", as_csv(" ", missing="nan").replace(" ", "   ")),
        ("t.txt", "# file ra dec bulge votes\n" + as_csv(" ", missing="nan").split("\n", 1)[1]),
        ("t.csv", "# made by hand\n# on a Friday\n" + as_csv()),
        ("t.csv.gz", gzip.compress(as_csv().encode())),
        ("t.csv", as_csv(missing="NA")),
        ("t.csv", as_csv(missing="null")),
        ("t.csv", as_csv(missing="--")),
        ("t.csv", as_csv().replace("\n", ",,\n") + ",,,,,,\n,,,,,,\n"),  # empty rows and columns
        ("t.csv", LABELS.to_csv()),  # with the index of pandas
        ("t.csv", LABELS.iloc[[2, 0, 1]].sort_index().to_csv()),
        ("t.csv", '"file","ra","dec","bulge","votes"\n'  # write.table of R
         + "".join(f'"{i}",{row}\n' for i, row in enumerate(as_csv().splitlines()[1:], 1))),
        ("t.csv", "file,ra,dec,bulge,votes\n"
         + "".join(f"{row},\n" for row in as_csv().splitlines()[1:])),
        ("t.csv", as_csv().replace("file,ra,dec", " file ,`ra`,dec\u00a0")),
        ("t.csv", as_csv().replace("\n", "\r")),
        ("t.csv", as_csv().replace("small", " small\u00a0")),
        ("t.tsv", "# of VizieR\n" + as_csv("\t").replace(  # names, units, dashes
            "\n", "\n \tdeg\tdeg\t \t \n----\t---\t---\t---\t---\n", 1)),
    ],
)  # fmt: skip
def test_a_text_reads_the_same_whatever_wrote_it(tmp_path, name, content):
    same(read_table(write(tmp_path / name, content)))


def test_a_text_of_windows_keeps_its_letters(tmp_path):
    path = write(tmp_path / "t.csv", "file,type\na.jpg,spirale barrée\n".encode("cp1252"))
    assert read_table(path)["type"].tolist() == ["spirale barrée"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.xlsx", b"PK\x03\x04 and so on", "is a spreadsheet, or another archive"),
        ("t.csv", b"\xd0\xcf\x11\xe0 and so on", "is a spreadsheet: save the table as CSV"),
        ("t.csv", "<html><body>Please log in</body></html>", "is a web page"),
        ("t.csv", bytes(range(256)) * 8, "holds binary data"),
        ("t.csv", "file,type\na.jpg,x\nb.jpg,barred, loose, red\n", "line 3 has 4 cells"),
        ("t.csv", "file,type\na.jpg,barred, loose\nb.jpg,x\n", "3 cells in its first row under 2"),
        ("t.csv", "file,type, type\na.jpg,1,2\n", "two columns type, which differ"),
        ("t.fits", "file,type\na.jpg,1\n", "not a table in FITS format: it begins with 'file,type"),
        ("t.parquet", "file,type\na.jpg,1\n", "is not a table in parquet format: it begins with"),
        ("t.json", "{}", "ends in .json: a table ends in .csv"),
        ("t.csv", "iauname,IAU_NAME2,iau name,iau-name\na,b,c,d\n", ""),
        ("t.csv", "IAU_Name,iau name\na,b\n", "may both be the column iauname"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_one_clear_line(tmp_path, name, content, message):
    path = write(tmp_path / name, content)
    if not message:
        assert read_table(path)["iauname"].tolist() == ["a"]
        return
    with pytest.raises(Problem, match=message) as problem:
        read_table(path)
    assert str(path) in str(problem.value) and "\n" not in str(problem.value)


def test_a_small_gzip_file_of_gigabytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("VAE_model.tables.formats._SMALL", 2**20)
    path = write(tmp_path / "t.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 2**20))
    with pytest.raises(Problem, match=r"t\.csv\.gz unpacks to more than"):
        read_table(path)


def test_two_columns_of_one_name_and_content_are_one(tmp_path):
    path = write(tmp_path / "t.csv", "file,type, type\na.jpg,x,x\n")
    assert read_table(path).to_dict("list") == {"file": ["a.jpg"], "type": ["x"]}


def test_identifiers_keep_their_digits(tmp_path):
    content = "name,objid,source,code,deg\n000123,587722981742084097,587722981742084097,007,007.5\n"
    path = write(tmp_path / "t.csv", content + "1234.0,587722981742084099,,12,-00.5\n")
    table = read_table(path)
    assert table["name"].tolist() == ["000123", "1234.0"]
    assert table["objid"].astype(str).tolist() == ["587722981742084097", "587722981742084099"]
    assert table["source"][0] == "587722981742084097" and pd.isna(table["source"][1])
    assert table["code"].tolist() == ["007", "12"] and table["deg"].tolist() == [7.5, -0.5]
    table.drop(columns="name").astype({"objid": int}).to_parquet(tmp_path / "t.parquet")
    ids = pd.DataFrame({"objid": pd.array([587722981742084097, None], "Int64")})
    ids.to_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet")["objid"][0] == "587722981742084097"


# Missing values


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["None", "small", ""], ["None", "small", None]),
        (["NA", "nan", "x"], ["NA", "nan", "x"]),
        (["1", "NA", "2.5"], [1.0, None, 2.5]),
        (["1", "", "--", "#N/A", "null", "None", "nan"], [1.0, *[None] * 6]),
        (["None", "None"], ["None", "None"]),
        (["", ""], [None, None]),
        (["TRUE", "FALSE"], [True, False]),
        (["TRUE", "NA", "false"], ["True", None, "False"]),
        (["1", "2"], [1, 2]),
        (["01", "2"], ["01", "2"]),
        ([" 1 ", "−2"], [1, -2]),
        (["1.23E+17", "1e3"], [1.23e17, 1e3]),
        (["1", "x", "nan"], ["1", "x", "nan"]),
    ],
)
def test_only_an_empty_cell_is_missing_but_among_numbers_also_the_words_for_it(cells, found):
    made = typed(pd.Series(cells))
    assert [None if pd.isna(value) else value for value in made] == found


def test_numbers_come_of_all_types_and_words_do_not():
    for cells in (["0.5", "1"], [decimal.Decimal("0.5"), 1], [0.5, True]):
        assert as_numbers(pd.Series(cells, dtype=object)).tolist() == [0.5, 1.0]
    assert as_numbers(pd.Series(["True", None, "False"])).fillna(-1).tolist() == [1, -1, 0]
    assert as_numbers(pd.Series([0.6], dtype=np.float32)).dtype == np.float32
    with pytest.raises(ValueError, match="row 2 is 'many'"):
        as_numbers(pd.Series(["1", "many"]))


# Types and rows of parquet, Arrow, FITS and VOTable


def typed_columns() -> pa.Table:
    words = pa.array(["x", "y", None])
    return pa.table(
        {
            " name\u00a0": pa.array([b"a ", b"b\0", b"c"]),
            "category": words.dictionary_encode(),
            "view": words.cast(pa.string_view()),
            "bytes": pa.array([b"x  ", b"y\0", None]),
            "fixed": pa.array([b"x ", b"y\0", None], pa.binary(2)),
            "runs": pa.RunEndEncodedArray.from_arrays(pa.array([1, 2, 3], pa.int32()), words),
            "whole": pa.array([1, 2, None]),
            "half": pa.array([1, 2, None], pa.float64()).cast(pa.float16()),
            "decimal": pa.array([decimal.Decimal("1"), decimal.Decimal("2"), None]),
            "truth": pa.array([True, False, None]),
            "time": pa.array([0, 10**6, None], pa.timestamp("us")),
            "nothing": pa.nulls(3),
            "list": pa.array([[1], [2, 3], None]),
            "struct": pa.array([{"a": 1}, {"a": 2}, None]),
            "map": pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int64())),
            "jpeg": pa.array([b"\xff\xd8\x00\x01"] * 3),
        }
    )


@pytest.mark.parametrize("ending", ["parquet", "feather"])
def test_types_of_arrow_become_plain_ones(tmp_path, ending, capsys):
    path = tmp_path / f"t.{ending}"
    table = typed_columns()
    if ending == "parquet":
        pq.write_table(table.drop_columns(["runs"]), path)
    else:
        pyarrow.feather.write_feather(table, path)
    found = read_table(path)
    assert found["name"].tolist() == ["a", "b", "c"]
    for name in {"category", "view", "bytes", "fixed", "runs"} & set(found):
        assert found[name].tolist()[:2] == ["x", "y"] and pd.isna(found[name][2]), name
    for name in ("whole", "half", "decimal"):
        assert found[name].tolist()[:2] == [1, 2] and np.isnan(found[name][2])
        assert found[name].dtype.kind == "f"
    assert found["truth"].tolist()[:2] == ["True", "False"] and pd.isna(found["truth"][2])
    assert found["time"][1].startswith("1970-01-01 00:00:01") and pd.isna(found["time"][2])
    assert found["nothing"].isna().all()
    assert not {"list", "struct", "map", "jpeg"} & set(found)
    said = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert len(said) == 1 and "list, struct, map, jpeg" in said[0]
    if ending == "parquet":
        with pytest.raises(Problem, match="a cell of list holds more than one value"):
            read_table(path, ["name", "list"])
        assert read_parquet(path, ["category"])["category"][0] == "x"
        assert "list" not in parquet_columns(path)


INDICES = {
    "shuffled": lambda t: t.sample(frac=1, random_state=1),
    "sorted": lambda t: t.sort_values("ra"),
    "filtered": lambda t: pd.concat([t.iloc[:1].assign(file="gone.jpg"), t]).iloc[1:],
    "concatenated": lambda t: pd.concat([t.iloc[1:].reset_index(drop=True), t.iloc[:1]]),
    "named": lambda t: t.set_index("file"),
    "a range of a name": lambda t: t.set_axis(pd.RangeIndex(7, 10, name="number")),
    "of words": lambda t: t.set_axis(["q", "r", "s"]),
    "of two levels": lambda t: t.set_index(["file", "bulge"]),
    "of a name that is a column too": lambda t: t.set_axis(pd.Index([9, 8, 7], name="votes")),
    "nullable": lambda t: t.convert_dtypes(),
    "categorical": lambda t: t.astype({"file": "category", "bulge": "category"}),
    "bytes": lambda t: t.assign(file=[f"{name}  ".encode() for name in t["file"]]),
}  # fmt: skip


@pytest.mark.parametrize("kind", INDICES)
def test_the_index_of_pandas_never_decides_which_row_is_whose(tmp_path, kind):
    made = INDICES[kind](LABELS)
    made.to_parquet(tmp_path / "t.parquet")
    found = read_table(tmp_path / "t.parquet")
    assert isinstance(found.index, pd.RangeIndex) and found.index.start == 0
    assert set(found) - set(LABELS) <= {"number"}
    found = found.set_index("file").loc[NAMES].reset_index()
    same(found[list(LABELS)])


def test_names_are_text(tmp_path):
    path = tmp_path / "t.parquet"
    pd.DataFrame([[1, 2]], columns=pd.Index([1, 2])).rename(columns=str).to_parquet(path)
    assert list(read_table(path)) == ["1", "2"]
    pd.DataFrame({("bar", "no"): [1], ("ra", ""): [2]}).to_parquet(path)
    assert list(read_parquet(path)) == ["bar_no", "ra"]
    pq.write_table(pa.table([[1], [2]], names=["a", " a"]), path)
    with pytest.raises(Problem, match="two columns a, which differ"):
        read_parquet(path)
    path = write(tmp_path / "t.csv", "1,2\n3,4\n")
    assert list(read_table(path)) == ["1", "2"]


def test_attributes_of_pandas_stay_and_broken_notes_harm_nothing(tmp_path):
    table = pd.DataFrame({"a": [1]})
    table.attrs["labels"] = "votes"
    write_parquet(tmp_path / "t.parquet", table)
    assert read_parquet(tmp_path / "t.parquet").attrs == {"labels": "votes"}
    for notes in (b"no json", b"[1]", b'{"index_columns": [{"name": "a"}], "column_indexes": 3}'):
        pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({b"pandas": notes}),
                       tmp_path / "t.parquet")  # fmt: skip
        assert read_parquet(tmp_path / "t.parquet")["a"].tolist() == [1]


def masked_table() -> Table:
    """LABELS as astropy has it, with more that is no plain column."""
    return Table(
        {
            "file": [f"{name}  " for name in NAMES],
            "ra": np.array(LABELS["ra"], ">f8"),
            "dec": np.array(LABELS["dec"], ">f8"),
            "bulge": LABELS["bulge"].tolist(),
            "votes": MaskedColumn([1.0, 2.0, 3.0], mask=[False, True, False]),
            "whole": MaskedColumn([1, 2, 3], mask=[False, True, False]),
            "truth": [True, False, True],
        }
    )


@pytest.mark.parametrize(
    "name", ["t.fits", "t.fits.gz", "t.fit", "t.csv", "t.vot", "t.xml", "t.ecsv", "t.tbl", "t.pq"]
)
def test_tables_of_astropy_read_the_same(tmp_path, name, capsys):
    table, path = masked_table(), tmp_path / name
    if name == "t.csv":  # FITS under another name
        table.write(tmp_path / "t.fits")
        (tmp_path / "t.fits").rename(path)
    else:
        kinds = {".vot": "votable", ".xml": "votable", ".tbl": "ascii.ipac", ".pq": "parquet"}
        table.write(path, format=kinds.get(path.suffix))
    found = read_table(path)
    same(found[list(LABELS)])
    assert found["whole"].fillna(-1).tolist() == [1, -1, 3]
    assert found["truth"].tolist() == [True, False, True] and len(found.columns) == 7


def test_a_masked_truth_of_astropy_is_missing(tmp_path):
    truth = MaskedColumn([True, False, True], mask=[False, True, False])
    Table({"file": NAMES, "truth": truth}).write(tmp_path / "t.parquet")
    found = read_table(tmp_path / "t.parquet")["truth"]
    assert found[0] == found[2] == "True" and pd.isna(found[1])


def test_a_fits_table_with_arrays_and_of_several(tmp_path, capsys):
    table = masked_table()
    table["spectrum"], table["complex"] = np.zeros((3, 4)), np.zeros(3, complex)
    ragged = fits.Column("ragged", "PD()", array=np.array([np.zeros(2), np.zeros(1)], object))
    hdus = fits.HDUList(
        [
            fits.PrimaryHDU(), fits.ImageHDU(np.zeros((2, 2))), fits.BinTableHDU(table, name="ONE"),
            fits.BinTableHDU.from_columns([ragged]),
        ]
    )  # fmt: skip
    hdus.writeto(tmp_path / "t.fits")
    same(read_table(tmp_path / "t.fits")[list(LABELS)])
    said = capsys.readouterr().out
    assert "of 2 tables the first is read (HDU 2 ONE)" in said
    assert "spectrum, complex" in said
    hdus[:2].writeto(tmp_path / "image.fits")
    with pytest.raises(Problem, match="holds no table"):
        read_table(tmp_path / "image.fits")


def test_a_table_of_topcat_in_one_row_is_one_of_many(tmp_path):
    columns = [fits.Column(n, "3D", array=LABELS[[n]].T.to_numpy()) for n in ("ra", "dec")]
    names = np.array([NAMES])
    columns.append(fits.Column("file", "15A", dim="(5,3)", array=names))
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "t.fits")
    same(read_table(tmp_path / "t.fits")[["file", "ra", "dec"]], LABELS[["file", "ra", "dec"]])


def test_fields_of_a_votable_have_their_names_and_not_their_ids(tmp_path):
    name = galaxy_zoo.fraction("bar", "no")
    Table({"file": ["a"], "x": [0.25]}).write(tmp_path / "t.vot", format="votable")
    text = (tmp_path / "t.vot").read_text().replace(' name="x"', f' name="{name}"')
    assert 'ID="x"' in text and name in text
    found = read_table(write(tmp_path / "t.vot", text))
    assert found.to_dict("list") == {"file": ["a"], name: [0.25]}


# Angles


def angles(ra_unit: str | None, dec_unit: str | None, scale: tuple[float, float]) -> Table:
    table = masked_table()
    for name, unit, factor in zip(("ra", "dec"), (ra_unit, dec_unit), scale, strict=True):
        table[name] = table[name] * factor
        table[name].unit = unit
    return table


@pytest.mark.parametrize(
    ("ra_unit", "dec_unit", "scale"),
    [
        ("rad", "rad", (np.pi / 180, np.pi / 180)),
        ("arcmin", "arcsec", (60, 3600)),
        ("deg", "deg", (1, 1)),
        ("h", "deg", (1 / 15, 1)),
        ("mas", "mas", (3.6e6, 3.6e6)),
    ],
)
@pytest.mark.parametrize("name", ["t.fits", "t.vot", "t.ecsv", "t.pq"])
def test_angles_are_converted_by_their_units(tmp_path, ra_unit, dec_unit, scale, name, capsys):
    table = angles(ra_unit, dec_unit, scale)
    kinds = {".vot": "votable", ".pq": "parquet"}
    table.write(tmp_path / name, format=kinds.get(Path(name).suffix))
    found = read_table(tmp_path / name, ["file", "ra", "dec"])
    assert found["ra"].to_numpy() == pytest.approx(LABELS["ra"].to_numpy(), abs=1e-9)
    assert found["dec"].to_numpy() == pytest.approx(LABELS["dec"].to_numpy(), abs=1e-9)
    assert ("converted to degrees" in capsys.readouterr().out) == (ra_unit != "deg")


@pytest.mark.parametrize("said", ["hourangle", "radian", "degrees", "deg (J2000)"])
def test_units_in_the_notes_of_parquet_are_honoured(tmp_path, said):
    degrees = {"hourangle": 15, "radian": 180 / np.pi}.get(said, 1)
    fields = [pa.field(name, pa.float64(), metadata={"unit": said}) for name in ("RA", "Dec")]
    columns = [pa.array(LABELS[name] / degrees) for name in ("ra", "dec")]
    pq.write_table(pa.table(columns, schema=pa.schema(fields)), tmp_path / "t.parquet")
    found = read_table(tmp_path / "t.parquet")
    assert found.to_numpy() == pytest.approx(LABELS[["ra", "dec"]].to_numpy(), abs=1e-9)


def test_the_votable_in_the_notes_of_parquet_gives_the_units(tmp_path):
    angles("rad", "rad", (1, 1)).write(tmp_path / "t.vot", format="votable")
    notes = {b"IVOA.VOTable-Parquet.content": (tmp_path / "t.vot").read_bytes()}
    made = pa.table({"ra": [1.0], "dec": [0.5]}).replace_schema_metadata(notes)
    pq.write_table(made, tmp_path / "t.parquet")
    found = read_table(tmp_path / "t.parquet")
    assert found.to_numpy() == pytest.approx(np.degrees([[1.0, 0.5]]))


@pytest.mark.parametrize(
    ("ra_unit", "dec_unit", "message"),
    [
        ("mag", "deg", "ra has the unit 'mag', which is not an angle"),
        ("deg", "deg / yr", "dec has the unit 'deg / yr', which is not an angle"),
        ("rad", None, "ra is in rad, and dec has no unit"),
        ("deg", "rad", "dec in row 1 is 46.4537"),
    ],
)
def test_units_that_are_no_angles_are_refused(tmp_path, ra_unit, dec_unit, message):
    angles(ra_unit, dec_unit, (1, 1)).write(tmp_path / "t.ecsv")
    with pytest.raises(Problem, match=message):
        read_table(tmp_path / "t.ecsv")


@pytest.mark.parametrize(
    ("ra", "dec"),
    [
        ("11:29:53.88", "-00:04:27.4"),
        ("11 29 53.88", "-00 04 27.4"),
        ("11h29m53.88s", "-0d04m27.4s"),
        ("11h 29m 53.88s", "−0° 04′ 27.4″"),
    ],
)
def test_sexagesimal_positions_become_degrees(tmp_path, ra, dec, capsys):
    write(tmp_path / "t.csv", f"name,RAJ2000,DEJ2000\na,{ra},{dec}\nb,,\n")
    found = read_table(tmp_path / "t.csv")
    expected = SkyCoord("11:29:53.88", "-00:04:27.4", unit=(units.hourangle, units.deg))
    assert found["ra"][0] == pytest.approx(expected.ra.deg, abs=1e-9)
    assert found["dec"][0] == pytest.approx(expected.dec.deg, abs=1e-9)
    assert found[["ra", "dec"]].iloc[1].isna().all()
    assert "RAJ2000 as hours and DEJ2000 as degrees, minutes and s" in capsys.readouterr().out


def test_one_sexagesimal_column_beside_degrees_is_refused(tmp_path):
    write(tmp_path / "t.csv", "ra,dec\n11:29:53.88,-0.07\n")
    with pytest.raises(Problem, match=r"ra in row 1 is 11:29:53\.88: degrees from -360 to 360"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("ra", "dec", "doubt"),
    [
        (np.linspace(0, 6.2, 30), np.linspace(-1.5, 1.5, 30), "rad"),
        (np.linspace(0, 23.9, 30), np.linspace(-30, 80, 30), "hourangle"),
        (np.linspace(0, 359, 30), np.linspace(-30, 80, 30), ""),
        (np.linspace(4, 5, 30), np.linspace(0, 1, 30), ""),  # a field
        (np.linspace(0, 6.2, 5), np.linspace(-1.5, 1.5, 5), ""),
    ],
)
def test_angles_that_do_not_look_like_degrees_are_questioned(tmp_path, ra, dec, doubt, capsys):
    pd.DataFrame({"ra": ra, "dec": dec}).to_csv(tmp_path / "t.csv", index=False)
    found = read_table(tmp_path / "t.csv")
    assert found["ra"].to_numpy() == pytest.approx(ra)
    said = capsys.readouterr().out
    assert ("taken as degrees" in said) == bool(doubt) and said.count("\n") == bool(doubt)
    assert doubt in said


@pytest.mark.parametrize(
    ("ra", "dec"),
    [
        ("RA", "DEC"), ("RAJ2000", "DEJ2000"), ("_RAJ2000", "_DEJ2000"), ("ra_deg", "dec_deg"),
        ("ALPHA_J2000", "DELTA_J2000"), ("s_ra", "s_dec"), ("coord_ra", "coord_dec"),
        ("RA (deg)", "DEC (deg)"), ("RA_ICRS", "DE_ICRS"), ("t.ra", "t.dec"), ("ra_1", "dec_1"),
    ],
)  # fmt: skip
def test_a_position_is_found_by_the_names_that_surveys_give_it(tmp_path, ra, dec, capsys):
    LABELS.rename(columns={"ra": ra, "dec": dec}).to_csv(tmp_path / "t.csv", index=False)
    same(read_table(tmp_path / "t.csv"))
    said = f"{ra} and {dec} are taken as ra and dec" in capsys.readouterr().out
    assert said == (ra != "RA")


def test_two_pairs_are_taken_where_they_agree_and_else_neither(tmp_path, capsys):
    both = LABELS.rename(columns={"ra": "_RAJ2000", "dec": "_DEJ2000"})
    both["RAJ2000"] = ["10:19:05.02", "00:06:00", "23:56:00"]
    both["DEJ2000"] = ["+46:27:13.3", "-02:15:00", "+00:30:00"]
    both.to_csv(tmp_path / "t.csv", index=False)
    same(read_table(tmp_path / "t.csv")[list(LABELS)])
    capsys.readouterr()
    both.assign(DEJ2000="+00:00:00").to_csv(tmp_path / "t.csv", index=False)
    assert "ra" not in read_table(tmp_path / "t.csv")
    assert "are different positions, and none is taken" in capsys.readouterr().out
    LABELS.assign(s_ra=1.0, s_dec=1.0).to_csv(tmp_path / "t.csv", index=False)
    same(read_table(tmp_path / "t.csv")[list(LABELS)])  # ra and dec are the ones


def test_a_mixed_position_of_astropy_is_a_position(tmp_path):
    table = QTable({"file": NAMES, "coord": SkyCoord(LABELS["ra"], LABELS["dec"], unit="deg")})
    for name in ("t.fits", "t.ecsv"):
        table.write(tmp_path / name)
        same(read_table(tmp_path / name), LABELS[["file", "ra", "dec"]])


# Columns by name


@pytest.mark.parametrize(
    "spell",
    [
        str.upper,
        lambda name: name.replace("-", "_"),
        lambda name: name.replace("-", "."),  # R
        lambda name: name.replace("-", "_x002d_"),  # Excel
        lambda name: f" {name} ",
    ],
)
def test_columns_are_found_however_programs_spell_them(tmp_path, spell):
    names = [galaxy_zoo.fraction(q, a) for q, answers in galaxy_zoo.TREE.items() for a in answers]
    made = pd.DataFrame([np.linspace(0, 1, len(names))], columns=[spell(name) for name in names])
    made[spell("iauname")], made["RA"], made["Dec"] = "J1 ", 1.0, 2.0
    made.to_parquet(tmp_path / "t.parquet")
    found = read_table(tmp_path / "t.parquet", ["iauname", "ra", "dec", *names])
    assert list(found) == ["iauname", "ra", "dec", *names] and found["iauname"][0] == "J1"
    assert found[names].iloc[0].to_numpy() == pytest.approx(np.linspace(0, 1, len(names)))
    with pytest.raises(Problem, match=r"t\.parquet has no column redshift"):
        read_table(tmp_path / "t.parquet", ["iauname", "redshift"])


# Rows and files


@pytest.mark.parametrize(
    ("said", "file"),
    [
        ("NGC1.jpg", "NGC1.JPG"), ("ngc1.jpg", "NGC1.jpg"), ("NGC1", "b/ngc1.fits"),
        ("C:\\data\\images\\NGC1.jpg", "NGC1.jpg"), ("images\\NGC1.jpg", "images/NGC1.jpg"),
        ("https://host.org/cutouts/NGC%201.jpg?size=256", "NGC 1.jpg"),
        ("1234.0", "1234.jpg"), (1234, "1234.png"), (1234.0, "b/1234.fits.gz"),
        (unicodedata.normalize("NFD", "é.jpg"), "é.jpg"),
        ("é", unicodedata.normalize("NFD", "é.jpg")),
    ],
)  # fmt: skip
def test_a_row_names_its_file_in_many_ways(said, file):
    assert rows_of_files(["x.jpg", file], pd.DataFrame({"file": ["no.jpg", said]})) == [None, 1]


def test_files_that_differ_in_case_only_keep_apart():
    table = pd.DataFrame({"file": ["a.jpg", "A.jpg"]})
    assert rows_of_files(["A.jpg", "a.jpg"], table) == [1, 0]
    for found in rows_of_files(["A.jpg", "a.jpg"], pd.DataFrame({"file": ["a.JPG"]})):
        assert found.startswith("ambiguous: row 1")


def test_the_column_that_names_files_is_the_one_that_fits():
    table = pd.DataFrame({"name": ["NGC 1"], "GalaxyID": [100008], "label": ["x"]})
    assert rows_of_files(["100008.jpg"], table) == [0]
    with pytest.raises(Problem, match=r"no row of t.csv matches an image: the table says 'NGC 1' "
                       r"\(name\), the folder has 'ngc_1.jpg'"):  # fmt: skip
        rows_of_files(["ngc_1.jpg"], table, "t.csv")


def import_labels(run: Run, table: Path) -> pd.DataFrame:
    for number, name in enumerate(NAMES):
        path = run.folder.parent / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 200, (256, 256, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    config = import_images.Config(run=run.folder, folder=path.parent, table=table, workers=1)
    import_images.main(config)
    return read_parquet(run.labels)


@pytest.mark.parametrize("kind", ["shuffled", "filtered", "concatenated", "named", "categorical"])
def test_labels_reach_the_images_they_are_of(tmp_path, kind):
    run = Run(tmp_path / "run")
    INDICES[kind](LABELS).to_parquet(tmp_path / "t.parquet")
    made = import_labels(run, tmp_path / "t.parquet").set_index("path")
    paths = [f"images/imported/{Path(name).stem}.fits" for name in NAMES]
    assert made.loc[paths, "bulge"].tolist() == ["None", "small", "large"]
    assert made.loc[paths, "ra"].tolist() == LABELS["ra"].tolist()
    answers, found = labels.read_answers(run, ["bulge"], paths)
    assert answers == {"bulge": ["None", "large", "small"]}
    assert found["bulge"].tolist() == ["None", "small", "large"]


def test_a_table_of_other_images_is_one_clear_line(tmp_path, capsys):
    run = Run(tmp_path / "run")
    LABELS.assign(file=["x", "y", "z"]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(Problem, match=r"no row of t\.csv matches an image: .*'x'.*'a\.jpg'"):
        import_labels(run, tmp_path / "t.csv")
    LABELS.iloc[:1].assign(objid=587722981742084097).to_csv(tmp_path / "t.csv", index=False)
    made = import_labels(run, tmp_path / "t.csv")  # one row of three: digits stay
    assert made["objid"].tolist()[0] == "587722981742084097" and made["objid"].isna().sum() == 2
    assert "'None' (1)" in capsys.readouterr().out


# The catalogue through the stages


def dictionary(table: pd.DataFrame, path: Path) -> None:
    """As other programs write it: names as bytes, dictionaries, nullable, decimals, text, lists."""
    made = pa.Table.from_pandas(table, preserve_index=False)
    columns = {name: made[name] for name in made.column_names}
    columns["iauname"] = pa.array([f"{name}   ".encode() for name in table["iauname"]])
    fraction = galaxy_zoo.fraction
    columns[fraction("bar", "no")] = made[fraction("bar", "no")].dictionary_encode()
    columns[fraction("bar", "strong")] = pa.array(
        [f"{value:.6f}" for value in table[fraction("bar", "strong")]]
    )
    exact = [decimal.Decimal(f"{value:.6f}") for value in table[fraction("disk-edge-on", "yes")]]
    columns[fraction("disk-edge-on", "yes")] = pa.array(exact)
    columns["wrong_size_warning"] = pa.array([None, *[False] * (len(table) - 1)])
    columns["bar_no_concentration"] = pa.array([[0.5] * 25] * len(table))
    columns["ra"] = pa.array(np.radians(table["ra"]))
    columns["dec"] = pa.array(np.radians(table["dec"]))
    units_of = {"ra": {"unit": "rad"}, "dec": {"unit": "rad"}}
    fields = [pa.field(n, c.type, metadata=units_of.get(n)) for n, c in columns.items()]
    arrays = [c.combine_chunks() if isinstance(c, pa.ChunkedArray) else c for c in columns.values()]
    pq.write_table(pa.table(arrays, schema=pa.schema(fields)), path)


CATALOGUES = {
    "sorted": lambda t, path: t.sort_values("ra").to_parquet(path),
    "filtered": lambda t, path: t.iloc[::-1].query("dec > -90").to_parquet(path),
    "concatenated": lambda t, path: (
        pd.concat([t[20:].reset_index(drop=True), t[:20]]).to_parquet(path)
    ),
    "named": lambda t, path: t.set_index("iauname").sample(frac=1, random_state=2).to_parquet(path),
    "other types": dictionary,
}  # fmt: skip


def answers_of(run: Run, latents: pd.DataFrame) -> pd.DataFrame:
    """Run the three stages that join the catalogue to the latents; their table by iauname."""
    decals_1.main(decals_1.Config(run=run.folder, drop_wrong_size=True, labels="votes"))
    decals_2_1.main(decals_2_1.Config(run=run.folder))
    write_parquet(run.latents(3), latents)
    decals_2_2.main(decals_2_2.Config(run=run.folder, num_var=3))
    table = read_parquet(run.class_latents(3)).sort_values("iauname").reset_index(drop=True)
    return table.drop(columns=["separation", "image_row"])


@pytest.fixture(scope="module")
def packed_run(tiny_run, tmp_path_factory) -> Run:
    folder = shutil.copytree(tiny_run.folder, tmp_path_factory.mktemp("packed") / "run")
    return Run(folder)


@pytest.fixture(scope="module")
def latents_of_paths(tiny_run) -> pd.DataFrame:
    paths = tiny_run.train_txt.read_text().split()
    means = {f"mu_{i:02d}": np.arange(len(paths), dtype=np.float32) + i for i in range(3)}
    return pd.DataFrame({"path": paths, "survey": "decals", "split": "train", **means})


@pytest.mark.parametrize("kind", CATALOGUES)
def test_a_galaxy_has_its_answers_however_the_catalogue_was_saved(
    packed_run, tiny_run, latents_of_paths, kind
):
    run, catalogue = packed_run, pd.read_parquet(tiny_run.catalogue)
    write_parquet(run.catalogue, catalogue)
    expected = answers_of(run, latents_of_paths)
    assert len(expected) == 48
    CATALOGUES[kind](catalogue, run.catalogue)
    found = answers_of(run, latents_of_paths)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-9, check_column_type=False)
    votes = map_page.votes_of(run, expected["iauname"])
    edge_on = next(vote for vote in votes if vote.question == "disk edge on")
    likely = np.array(edge_on.answers)[edge_on.leads]
    given = expected["edge-on"].notna().to_numpy()
    assert (likely[given] == expected["edge-on"][given]).all()


def test_the_stages_say_what_is_wrong_as_a_user_runs_them(copy_of_tiny_run):
    run = copy_of_tiny_run
    table = pd.read_parquet(run.catalogue).sort_values("dec")
    table.rename(columns=lambda name: name.replace("-", "_").upper()).to_parquet(run.catalogue)
    done = run_script("analysis/decals_1.py", run)
    assert done.returncode == 0 and "kept 48 of 48 galaxies" in done.stdout, done.stderr
    moved = table.assign(ra=(table["ra"] + 90) % 360)
    moved.to_parquet(run.catalogue)
    assert run_script("analysis/decals_1.py", run).returncode == 0
    line = says_one_line(run_script("analysis/decals_2_1.py", run))
    assert " at " in line and "images/decals/" in line and "J" in line


def test_labels_that_answer_are_those_of_the_path(copy_of_tiny_run, latents_of_paths):
    run, paths = copy_of_tiny_run, latents_of_paths["path"].tolist()
    write_parquet(run.latents(3), latents_of_paths)
    kinds = [("None", "NA", "large")[number % 3] for number in range(len(paths))]
    table = pd.DataFrame({"path": paths, "bulge": kinds, "ring": [True, None] * 24})
    asked = run, ("bulge",), latents_of_paths, run.latents(3)
    for made in (
        table, table.sort_values("bulge"), table.set_index("path").iloc[::-1],
        table.astype("category"), pd.concat([table.iloc[9:], table.iloc[:9]]).convert_dtypes(),
        table.assign(path=[path.encode() for path in paths]),
    ):  # fmt: skip
        made.to_parquet(run.labels)
        answers, found, _ = read_questions(*asked)
        assert answers == {"bulge": ["NA", "None", "large"]}
        assert found["bulge"].tolist() == kinds
    table.assign(path="elsewhere/" + table["path"]).to_parquet(run.labels)
    with pytest.raises(Problem, match=rf"it names elsewhere/.* lists {paths[0]}"):
        read_questions(*asked)
