"""The figures of the latent space, the map as a table, and the look that figures share."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import draw_galaxy, load_script, run_script, says_one_line
from latents_of_tiny_run import NUM_VAR, with_latents
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread

from VAE_model.data.galaxy_zoo import CLASSES
from VAE_model.pipeline.files import read_parquet, write_parquet
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run
from VAE_model.report import figures

STAGE = "analysis/decals_3.py"
ARGUMENTS = ("--num-var", str(NUM_VAR))
decals_3 = load_script(STAGE)


def test_every_class_has_its_own_look():
    styles = list(figures.CLASS_STYLES.values())
    assert set(figures.CLASS_STYLES) == {*CLASSES, figures.NO_CLASS}
    assert len({style.colour for style in styles}) == len({s.label for s in styles}) == len(styles)


def test_a_galaxy_is_drawn_as_a_merger_before_all_and_else_as_its_first_class():
    table = pd.DataFrame(False, index=range(4), columns=list(CLASSES))
    table.loc[1, ["smoothRounded", "edgeOn"]] = True
    table.loc[2, ["diskNoBar", "merger"]] = True
    table.loc[3, "diskStrongBar"] = True
    shown = figures.shown_class(table).tolist()
    assert shown == ["none", "smoothRounded", "merger", "diskStrongBar"]
    assert figures.shown_class(table[[]]).tolist() == ["none"] * 4


def test_a_thumbnail_stands_upright_and_is_not_mirrored():
    flux = np.zeros((3, 256, 256), np.float32)
    flux[:, 240:, :40] = 1  # high rows are the top of the sky, low columns its left
    for display in (False, True):
        small = figures.thumbnail(flux, 64, display=display)
        assert small.shape == (64, 64, 3) and small.dtype == np.uint8
        assert small[1, 5].min() > 150 and small[-2, 5].max() < 60 and small[1, -5].max() < 60
    assert figures.thumbnail(flux, 64, crop=128).max() < 60


def test_a_display_image_is_shown_as_it_is():
    flux = np.zeros((3, 256, 256), np.float32)
    flux[2] = 0.5  # z is shown as red
    assert np.unique(figures.thumbnail(flux, 32, display=True).reshape(-1, 3), axis=0).tolist() == [
        [128, 0, 0]
    ]


def test_the_same_figure_gives_the_same_bytes_and_leaves_nothing_else(tmp_path):
    for name in ("a.png", "b.png"):
        figure = figures.new_figure(3, 2)
        figure.subplots().plot([0, 1], [0, 1])
        figures.save_figure(figure, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_cell_shows_the_galaxy_nearest_to_its_middle_once():
    places = np.array([[0, 0], [10, 10], [9.6, 9.4], [0, 10], [4.9, 4.9], [2.4, 2.5]])
    chosen, columns, lines = decals_3.nearest_in_cells(places, 2)
    found = dict(zip(zip(columns.tolist(), lines.tolist(), strict=True), chosen, strict=True))
    assert found == {(0, 1): 5, (1, 0): 2, (0, 0): 3}


@pytest.fixture(scope="module")
def whole(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A tiny run with latents, and what the stage makes of it."""
    run = with_latents(tiny_run, tmp_path_factory.mktemp("maps") / "run")
    done = run_script(STAGE, run, *ARGUMENTS)
    assert done.returncode == 0, done.stderr
    return run


@pytest.fixture
def copy(whole: Run, tmp_path: Path) -> Run:
    """The same run before the stage, for a test of its own."""
    place = shutil.copytree(whole.folder, tmp_path / "run",
                            ignore=shutil.ignore_patterns("map_*", "pca_*"))  # fmt: skip
    return Run(place)


def test_the_figures_are_there(whole):
    for name in ("pca_pairs", "map", "map_thumbnails"):
        picture = imread(whole.figure(f"{name}_{NUM_VAR}.png"))
        assert picture.shape[1] > 1000 and picture[..., :3].std() > 0.02


def test_the_map_has_every_galaxy_with_its_class(whole):
    table = read_parquet(whole.map(NUM_VAR))
    source = read_parquet(whole.class_latents(NUM_VAR))
    assert table.columns.tolist() == ["iauname", "path", "x", "y", "class"]
    assert table["path"].tolist() == source["path"].tolist()
    assert np.isfinite(table[["x", "y"]]).all(axis=None)
    assert (table["class"] == figures.shown_class(source)).all()
    assert table["class"].nunique() > 4


def test_a_second_run_does_nothing(whole):
    done = run_script(STAGE, whole, *ARGUMENTS)
    assert done.returncode == 0 and "nothing to do" in done.stdout


def test_of_many_galaxies_a_sample_is_drawn_and_its_number_said(copy, capsys):
    decals_3.main(decals_3.Config(copy.folder, NUM_VAR, most=20))
    assert "20 of 48 galaxies, a random sample" in capsys.readouterr().out
    assert len(read_parquet(copy.map(NUM_VAR))) == 20


def test_missing_class_latents_name_the_command(copy):
    copy.class_latents(NUM_VAR).unlink()
    line = says_one_line(run_script(STAGE, copy, *ARGUMENTS))
    assert "is missing: run python analysis/decals_2_2.py" in line


def test_class_latents_of_another_dimension_are_named(copy):
    table = read_parquet(copy.class_latents(NUM_VAR))
    write_parquet(copy.class_latents(NUM_VAR), table.assign(mu_05=np.float32(0)))
    with pytest.raises(Problem, match="holds 6 latent variables, not 5"):
        decals_3.main(decals_3.Config(copy.folder, NUM_VAR))


def test_an_image_that_is_not_listed_is_named(copy):
    table = read_parquet(copy.class_latents(NUM_VAR))
    table.loc[0, "path"] = "images/decals/gone.fits"
    write_parquet(copy.class_latents(NUM_VAR), table)
    with pytest.raises(Problem, match=r"names images/decals/gone.fits, which is not in"):
        decals_3.main(decals_3.Config(copy.folder, NUM_VAR))


def test_too_few_galaxies_are_said(copy):
    table = read_parquet(copy.class_latents(NUM_VAR))
    write_parquet(copy.class_latents(NUM_VAR), table.head(4))
    with pytest.raises(Problem, match="has 4 galaxies, and a map needs 10"):
        decals_3.main(decals_3.Config(copy.folder, NUM_VAR))


def test_one_latent_variable_makes_a_map(copy):
    table = read_parquet(copy.class_latents(NUM_VAR))
    others = [f"mu_{number:02d}" for number in range(1, NUM_VAR)]
    write_parquet(copy.class_latents(1), table.drop(columns=others))
    decals_3.main(decals_3.Config(copy.folder, 1))
    assert read_parquet(copy.map(1))[["x", "y"]].notna().all(axis=None)


def test_colours_follow_the_flux():
    flux = draw_galaxy("round", 0, np.random.default_rng(0))
    red, blue = flux.copy(), flux.copy()
    red[0] *= 0.1
    blue[2] *= 0.1
    middle = np.s_[28:36, 28:36]
    assert figures.thumbnail(red, 64)[middle][..., 2].mean() < 0.7 * 255
    assert np.subtract(*figures.thumbnail(blue, 64)[middle].mean(axis=(0, 1))[[2, 0]]) > 20


def test_a_logarithmic_axis_has_plain_numbers_where_names_may_hold_a_dollar():
    figure = figures.new_figure(4, 3)
    axes = figure.subplots()
    axes.plot([1, 1000], [0, 1000])
    figures.log_scale(axes.xaxis)
    figures.log_scale(axes.yaxis, linear_to=1)
    axes.set_title("J1234 $x$")
    FigureCanvasAgg(figure).draw()
    for axis in (axes.xaxis, axes.yaxis):
        shown = [label.get_text() for label in axis.get_ticklabels(which="both")]
        assert "1,000" in shown and not any("$" in text for text in shown)
    assert not axes.title.get_parse_math()
