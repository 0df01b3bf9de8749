"""Parquet files whose rows hold images, as Multimodal Universe and Hugging Face write them."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from conftest import MORPHOLOGIES, draw_galaxy, load_script, run_script, succeeded
from PIL import Image

from VAE_model.data.cutouts import SIZE, read_cutout
from VAE_model.imports.image_tables import import_group, open_image_table, row_groups
from VAE_model.imports.importing import Job
from VAE_model.imports.resample import Window, regrid
from VAE_model.pipeline.files import read_parquet
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run

import_images = load_script("data/import_images.py")
BANDS = ("des-g", "des-r", "des-i", "des-z")
SCALE = 0.262


def imported(run: Run, folder: Path, **constants) -> pd.DataFrame:
    constants = {"run": run.folder, "folder": folder, "workers": 1, **constants}
    import_images.main(import_images.Config(**constants))
    return read_parquet(run.labels)


def refused(run: Run) -> dict[str, str]:
    table = pd.read_csv(run.import_refused("imported"), dtype=str)
    return dict(zip(table["file"], table["reason"], strict=True))


def flux_of(seed: int, side: int = 160, bands: int = 4) -> np.ndarray:
    """(bands, side, side) of noise, a galaxy in the middle and a star in the north-east."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] - side // 2
    light = np.exp(-0.5 * (x**2 + 2 * y**2) / 9**2) + np.exp(-0.5 * ((x + 40) ** 2 + (y - 50) ** 2))
    noise = rng.normal(0, 0.005, (bands, side, side))
    return (light * np.arange(1, bands + 1)[:, None, None] + noise).astype(np.float32)


def universe_row(number: int, pixels: np.ndarray, bands: tuple[str, ...] = BANDS, **more) -> dict:
    """One row of Multimodal Universe, with nested lists."""
    image = {
        "band": list(bands), "flux": pixels.tolist(), "ivar": np.ones_like(pixels).tolist(),
        "mask": (pixels > 1).tolist(), "psf_fwhm": [1.3] * len(bands),
        "scale": [SCALE] * len(bands),
    }  # fmt: skip
    position = {"ra": 10.0 + number, "dec": -5.0 + 0.1 * number}
    return {"image": image | more, "object_id": f"brick-{number}", "EBV": 0.1 * number} | position


def array(kind: str, bands: int, side: int = 160) -> pa.DataType:
    """The type of flux: lists, lists of fixed size, or the tensors of Arrow."""
    number = pa.float32()
    return {
        "lists": pa.list_(pa.list_(pa.list_(number))),
        "large lists": pa.large_list(pa.large_list(pa.large_list(number))),
        "fixed lists": pa.list_(pa.list_(pa.list_(number, side), side), bands),
    }[kind]


def write_universe(
    path: Path, rows: list[dict], kind: str = "lists", group: int = 2, **meta
) -> None:
    types = {
        "band": pa.list_(pa.string()), "flux": array(kind, 4),
        "ivar": array("lists", 4), "mask": pa.list_(pa.list_(pa.list_(pa.bool_()))),
        "psf_fwhm": pa.list_(pa.float32()), "scale": pa.list_(pa.float32()),
    }  # fmt: skip
    image = pa.field("image", pa.struct(types.items()), metadata=meta or None)
    fields = [image, ("object_id", pa.string()), ("EBV", pa.float64()),
              ("ra", pa.float64()), ("dec", pa.float64())]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(fields)), path, row_group_size=group)


@pytest.mark.parametrize("kind", ["lists", "large lists", "fixed lists"])
def test_images_positions_and_labels_of_multimodal_universe(kind: str, tmp_path: Path, capsys):
    fluxes = [flux_of(seed) for seed in range(5)]
    rows = [universe_row(number, flux) for number, flux in enumerate(fluxes)]
    write_universe(tmp_path / "in" / "healpix=1" / "001.parquet", rows[:3], kind)
    write_universe(tmp_path / "in" / "healpix=2" / "001.parquet", rows[3:], kind)
    run = Run(tmp_path / "run")
    labels = imported(run, tmp_path / "in", unit="nanomaggy")
    assert labels["path"].tolist() == [f"images/imported/brick-{n}.fits" for n in range(5)]
    np.testing.assert_array_equal(labels["ra"], [row["ra"] for row in rows])
    np.testing.assert_array_equal(labels["EBV"], [row["EBV"] for row in rows])
    np.testing.assert_allclose(labels["pixel_scale"], SCALE * 160 / SIZE, rtol=1e-6)
    for flux, path in zip(fluxes, labels["path"], strict=True):
        cutout = read_cutout(run.folder / path)
        right = regrid(flux[[0, 1, 3]], Window(0, 0, 160 / SIZE))  # bands g, r, z, south first
        np.testing.assert_array_equal(cutout.flux, right.astype(np.float32))
    assert cutout.unit == "nanomaggy"
    assert "lost their bands i" in capsys.readouterr().out


def test_extension_types_lists_of_structs_and_tensors_are_read(tmp_path: Path):
    flux = flux_of(1)
    named = zip(("HSC-G", "HSC-R", "HSC-I", "HSC-Z"), flux.tolist(), strict=True)
    planes = [{"flux": plane, "band": band, "scale": SCALE} for band, plane in named]

    class Array2D(pa.ExtensionType):  # as `datasets` stores it; readers do not know the type
        def __init__(self) -> None:
            super().__init__(pa.list_(pa.list_(pa.float32())), "datasets...Array2DExtensionType")

        def __arrow_ext_serialize__(self) -> bytes:
            return b"[[160, 160], float32]"

        @classmethod
        def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> "Array2D":
            return cls()

    folder = tmp_path / "in"
    folder.mkdir()
    inner = pa.array(flux.tolist(), pa.list_(pa.list_(pa.float32())))
    inner = pa.ExtensionArray.from_storage(Array2D(), inner)
    lists = pa.ListArray.from_arrays([0, 4], inner)
    bands = pa.array([["g", "r", "i", "z"]])
    struct = pa.StructArray.from_arrays([lists, bands], ["flux", "band"])
    pq.write_table(pa.table({"image": struct, "object_id": ["extension"]}), folder / "a.parquet")
    table = pa.Table.from_pylist([{"image": planes, "object_id": "structs"}])
    pq.write_table(table, folder / "b.parquet")
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(np.stack([flux[[0, 1, 3]]]))
    pq.write_table(pa.table({"image": tensor, "object_id": ["tensor"]}), folder / "c.parquet")
    run = Run(tmp_path / "run")
    labels = imported(run, folder, unit="nanomaggy")
    assert labels["object_id"].tolist() == ["extension", "structs", "tensor"]
    right = regrid(flux[[0, 1, 3]], Window(0, 0, 160 / SIZE)).astype(np.float32)
    for path in labels["path"]:
        np.testing.assert_array_equal(read_cutout(run.folder / path).flux, right)
    assert labels["ra"].isna().all()


def test_north_is_up_and_the_object_in_the_middle(tmp_path: Path):
    write_universe(tmp_path / "in" / "a.parquet", [universe_row(0, flux_of(0))], unit="nanomaggy")
    run = Run(tmp_path / "run")
    path = run.folder / imported(run, tmp_path / "in")["path"][0]
    header = fits.getheader(path)
    assert header["CRVAL1"] == pytest.approx(10) and header["CRVAL2"] == pytest.approx(-5)
    assert header["CD1_1"] == pytest.approx(-SCALE * 160 / SIZE / 3600, rel=1e-6)
    assert header["CD2_2"] > 0 and header["ORIGSCAL"] == pytest.approx(SCALE)


def test_the_unit_is_read_converted_or_asked_for(tmp_path: Path):
    flux, run = flux_of(2), Run(tmp_path / "run")
    write_universe(tmp_path / "none" / "a.parquet", [universe_row(0, flux)])
    with pytest.raises(Problem, match=r"a\.parquet states no unit of its images: give --unit"):
        imported(run, tmp_path / "none")
    right = regrid(flux[[0, 1, 3]], Window(0, 0, 160 / SIZE))
    for number, (said, constants, factor) in enumerate((
        ({"unit": "nJy"}, {}, 1 / 3631), ({}, {"zero_point": 27.0}, 10 ** (0.4 * (22.5 - 27))),
        ({"unit": "nJy"}, {"unit": "nanomaggy"}, 1),
    )):  # fmt: skip
        folder = tmp_path / str(number)
        write_universe(folder / "a.parquet", [universe_row(0, flux)], **said)
        labels = imported(run, folder, name=str(number), **constants)
        cutout = read_cutout(run.folder / labels["path"].iloc[-1])
        np.testing.assert_allclose(cutout.flux, right * factor, rtol=1e-5, atol=1e-9)
    write_universe(tmp_path / "odd" / "a.parquet", [universe_row(0, flux)], unit="furlong")
    with pytest.raises(Problem, match="none of 1 images could be imported"):
        imported(run, tmp_path / "odd")
    assert "unknown unit: BUNIT is 'furlong'" in refused(run)["a.parquet/brick-0"]


def test_each_bad_row_is_refused_with_its_reason(tmp_path: Path):
    flux = flux_of(3)
    ragged = flux.tolist()
    ragged[1][7] = ragged[1][7][:100]
    nan, small = flux.copy(), flux[:, :20, :20]
    nan[0, 3, 4] = np.nan
    rows = [
        universe_row(0, flux),
        universe_row(1, flux[:3], ("des-g", "des-r", "des-i")),
        universe_row(2, flux, flux=ragged),
        universe_row(3, nan),
        universe_row(4, small),
        universe_row(5, flux, ("des-g", "des-r", "des-z")),
        universe_row(6, flux) | {"image": None},
        universe_row(7, flux, flux=None),
        universe_row(8, flux, scale=[0.262, 0.262, 0.168, 0.262]),
        universe_row(9, flux, ("JWST F115W", "JWST F150W", "JWST F277W", "JWST F444W")),
    ]
    write_universe(tmp_path / "in" / "a.parquet", rows, group=4)
    (tmp_path / "in" / "labels.parquet").write_bytes(
        pd.DataFrame({"a": [1], "b": [[1.0, 2.0]]}).to_parquet()
    )
    run = Run(tmp_path / "run")
    labels = imported(run, tmp_path / "in", unit="nanomaggy")
    assert labels["object_id"].tolist() == ["brick-0"]
    reasons = refused(run)
    for number, reason in {
        1: "wrong bands: 'gri', not 'grz'",
        2: "wrong shape: rows or planes of 160 and 100 values in one image",
        3: "non-finite: 1 pixels are NaN",
        4: "not a cutout: planes of 20 x 20 pixels",
        5: "wrong shape: 4 planes, and 3 names of bands",
        6: "no image: the cell is empty",
        7: "no image: the cell has no flux",
        8: "different grids: the bands have pixels of 0.262, 0.262, 0.168, 0.262 arcsec",
        9: "wrong bands: '????', not 'grz'",
    }.items():
        assert reasons[f"a.parquet/brick-{number}"].startswith(reason), reasons
    assert reasons["labels.parquet"].startswith("not an image") and len(reasons) == 10


def encoded(flux: np.ndarray, kind: str = "PNG") -> bytes:
    stream, grey = io.BytesIO(), np.clip(60 + 60 * flux[[2, 1, 0]], 0, 255).astype(np.uint8)
    Image.fromarray(np.moveaxis(grey, 0, -1)).save(stream, kind)
    return stream.getvalue()


def write_pictures(path: Path, cells: list[dict | None], **columns) -> None:
    """A parquet file as `datasets` writes one with an Image and a ClassLabel."""
    features = {
        "image": {"_type": "Image"}, "label": {"names": ["smooth", "disc"], "_type": "ClassLabel"},
    }  # fmt: skip
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(cells, kind), **columns})
    table = table.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=2)


def test_pictures_of_hugging_face_and_the_names_of_their_classes(tmp_path: Path):
    fluxes = [flux_of(seed, 64, 3) for seed in range(4)]
    cells = [{"bytes": encoded(flux), "path": None} for flux in fluxes]
    cells[1] = {"bytes": encoded(fluxes[1])[:500], "path": None}
    cells[2] = {"bytes": None, "path": "far/away.png"}
    write_pictures(tmp_path / "in" / "train-00000-of-00001.parquet", cells,
                   label=[0, 1, 0, 1], size=[1.5, 2.5, None, 4.5])  # fmt: skip
    run = Run(tmp_path / "run")
    labels = imported(run, tmp_path / "in")
    stem = "train-00000-of-00001"
    assert labels["path"].tolist() == [f"images/imported/{stem}_000000{n}.fits" for n in (0, 3)]
    assert labels["label"].tolist() == ["smooth", "disc"] and labels["size"].tolist() == [1.5, 4.5]
    reasons = refused(run)
    assert reasons[f"{stem}.parquet/{stem}_0000001"].startswith("truncated: ")
    assert "no bytes, only the path far/away.png" in reasons[f"{stem}.parquet/far_away.png"]
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.png").write_bytes(encoded(fluxes[0]))
    alone = imported(run, tmp_path / "one", name="one")["path"].iloc[-1]
    images = [read_cutout(run.folder / path) for path in (labels["path"][0], alone)]
    np.testing.assert_array_equal(images[0].flux, images[1].flux)
    assert all(image.display for image in images)


def test_names_are_plain_and_rows_of_one_name_stay_apart(tmp_path: Path):
    names = ["a/b:1", "../up", "same", "same"]
    cells = [{"bytes": encoded(flux_of(seed, 64, 3)), "path": None} for seed in range(4)]
    write_pictures(tmp_path / "in" / "a.parquet", cells, object_id=names)
    run = Run(tmp_path / "run")
    labels = imported(run, tmp_path / "in")
    assert labels["object_id"].tolist() == names and labels["path"].nunique() == 4
    assert all((run.folder / path).parent == run.images("imported") for path in labels["path"])


def test_a_table_of_labels_besides_and_several_columns_of_images_are_refused(tmp_path: Path):
    cell = {"bytes": encoded(flux_of(0, 64, 3)), "path": None}
    write_pictures(tmp_path / "in" / "a.parquet", [cell])
    (tmp_path / "labels.csv").write_text("file,kind\na,1\n")
    with pytest.raises(Problem, match=r"a\.parquet holds images and their table"):
        imported(Run(tmp_path / "run"), tmp_path / "in", table=tmp_path / "labels.csv")
    pq.write_table(pa.table({"one": pa.array([cell]), "two": pa.array([cell])}),
                   tmp_path / "in" / "a.parquet")  # fmt: skip
    with pytest.raises(Problem, match=r"several columns of images \(one, two\): rename one"):
        imported(Run(tmp_path / "run"), tmp_path / "in")
    (tmp_path / "in" / "a.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(Problem, match=r"a\.parquet is no readable parquet table"):
        imported(Run(tmp_path / "run"), tmp_path / "in")


@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.long)])
def test_images_of_multimodal_universe_are_imported_trained_on_and_mapped(
    count: int, tmp_path: Path
):
    """As a user runs the scripts."""
    rng, inner, rows = np.random.default_rng(5), slice(48, 208), []
    for number in range(count):
        kind = MORPHOLOGIES[number % len(MORPHOLOGIES)]
        flux = draw_galaxy(kind, rng.uniform(0, np.pi), rng)[[0, 1, 1, 2], inner, inner]
        row = universe_row(number, flux)
        rows.append(row | {"ra": 0.7 * number % 360, "dec": 1.1 * (number % 7)})
    write_universe(tmp_path / "in" / "healpix=1" / "001-of-001.parquet", rows, group=50)
    run, number = Run(tmp_path / "run"), ("--num-var", "3")
    for script, *options in (
        ("data/import_images.py", "--folder", str(tmp_path / "in"), "--unit", "nanomaggy"),
        ("make_datatxt.py",),
        ("Galaxy_VAE_n.py", *number, "--epochs", "1"),
        ("analysis/extract_latents.py", *number),
        ("analysis/decals_3.py", *number),
        ("analysis/map.py", *number, "--colour", "EBV"),
    ):
        done = succeeded(run_script(script, run, *options))
        if script == "data/import_images.py":
            assert f"imported {count} of {count} images" in done.stdout
    latents = read_parquet(run.latents(3))
    assert len(latents) == count and np.isfinite(latents["mu_00"]).all()
    assert set(latents["path"]) == {f"images/imported/brick-{n}.fits" for n in range(count)}
    assert "EBV" in run.map_page(3).read_text(encoding="utf-8")


def test_memory_does_not_grow_with_the_rows(tmp_path: Path):
    """A row group of 80 images, 410 KB each (their flux), is read a few rows at a time."""
    rows = [universe_row(number, np.zeros((4, 160, 160), np.float32)) for number in range(8)]
    write_universe(tmp_path / "a.parquet", rows, group=8)
    table = pq.read_table(tmp_path / "a.parquet")
    pq.write_table(pa.concat_tables([table] * 10), tmp_path / "a.parquet", compression="none",
                   use_dictionary=False)  # fmt: skip
    opened = open_image_table(tmp_path / "a.parquet", "a.parquet")
    jobs = [Job(Path(name), tmp_path / "out.fits", "resample") for name in opened.names]
    (group,) = row_groups(opened, jobs)
    assert len(group.jobs) == 80
    before = pa.default_memory_pool().max_memory()
    outcomes = import_group(group)
    assert all(one.reason.startswith("band without signal") for one in outcomes)
    assert pa.default_memory_pool().max_memory() - before < 20e6
