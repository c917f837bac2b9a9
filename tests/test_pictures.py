import base64
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.figure import Figure
from odc.geo.geobox import GeoBox
from PIL import Image

from sat2map import pictures
from sat2map.legend import IGNORED, Legend, MapClass, legend_of
from sat2map.pictures import (
    HATCH,
    NO_DATA,
    _loss_lines,
    class_picture,
    confusion_picture,
    curves,
    map_colours,
    map_picture,
    new_figure,
    sample_sheet,
    share_text,
    short_count,
    shrink,
    to_data_uri,
    to_rgb,
)
from sat2map.raster import Raster

LEGEND = Legend((MapClass("water", (0, 0, 250), 0), MapClass("white & bright", (255, 255, 255), 1)))


def raster(pixels: np.ndarray, valid: np.ndarray | None = None) -> Raster:
    shape = pixels.shape[1:]
    return Raster(pixels, np.ones(shape, bool) if valid is None else valid, GeoBox(shape, Affine.identity(), None))


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def has_colour(picture: np.ndarray, colour: tuple[int, int, int], least: int = 50) -> bool:
    return int((picture == colour).all(axis=-1).sum()) >= least


def test_bytes_of_three_bands_are_shown_as_they_are() -> None:
    pixels = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    assert np.array_equal(to_rgb(raster(pixels), ("a", "b", "c")), np.moveaxis(pixels, 0, -1))
    turned = to_rgb(raster(pixels), ("Blue", "Green", "Red"))
    assert np.array_equal(turned, np.moveaxis(pixels[::-1], 0, -1))


def test_bands_are_found_by_name_and_stretched_over_valid_pixels_only() -> None:
    ramp = np.linspace(1000, 3000, 100).reshape(10, 10)
    pixels = np.stack([np.zeros((10, 10)), ramp, ramp.T, 4000 - ramp]).astype(np.uint16)
    pixels[:, 0, 0] = 65535
    valid = np.ones((10, 10), bool)
    valid[0, 0] = False
    rgb = to_rgb(raster(pixels, valid), ("nir", "blue", "green", "red"))
    assert tuple(rgb[0, 0]) == NO_DATA
    assert tuple(rgb[-1, -1]) == (0, 255, 255)  # red falls along the ramp; green and blue end at its top
    assert rgb[5, 5, 2] == pytest.approx(255 * (ramp[5, 5] - ramp[0, 2]) / (ramp[-1, -3] - ramp[0, 2]), abs=4)


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from([np.uint8, np.int16, np.uint16, np.float32, np.float64, np.complex64, np.bool_]),
    st.integers(1, 9),
    st.data(),
)
def test_any_type_and_number_of_bands_is_shown(dtype: type, bands: int, data: st.DataObject) -> None:
    pixels = data.draw(hnp.arrays(dtype, (bands, 3, 4)))
    finite = np.where(np.isfinite(pixels), pixels, 0) if pixels.dtype.kind in "fc" else pixels
    bounded = finite.clip(-1e30, 1e30) if pixels.dtype.kind == "f" else finite
    if pixels.dtype.kind == "c":
        bounded = np.where(np.abs(finite).astype(np.float64) < 1e30, finite, 0)
    valid = data.draw(hnp.arrays(bool, (3, 4)))
    rgb = to_rgb(raster(bounded.astype(dtype), valid), [f"band {i}" for i in range(bands)])
    assert rgb.shape == (3, 4, 3)
    assert rgb.dtype == np.uint8
    assert (rgb[~valid] == NO_DATA).all()
    if bands < 3:
        assert (rgb[..., 0] == rgb[..., 1]).all()


def test_nan_is_hidden_where_it_is_not_valid() -> None:
    pixels = np.array([[[np.nan, 0.0, 1.0]]], np.float32)
    assert to_rgb(raster(pixels, ~np.isnan(pixels[0])), ("grey",))[0].tolist() == [[222] * 3, [0] * 3, [255] * 3]


def test_classes_have_their_colours_and_no_label_is_striped() -> None:
    ids = np.full((16, 16), IGNORED, np.uint8)
    ids[:, 8:] = 1
    ids[:, 12:] = 0
    picture = class_picture(ids, LEGEND)
    assert (picture[:, 8:12] == 255).all()
    assert (picture[:, 12:] == (0, 0, 250)).all()
    assert {tuple(c) for c in picture[:, :8].reshape(-1, 3).tolist()} == set(HATCH)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(8, 40), st.booleans())
def test_shrunk_pictures_fit_and_keep_their_classes(height: int, width: int, side: int, photo: bool) -> None:
    picture = np.arange(height * width * 3, dtype=np.uint32).astype(np.uint8).reshape(height, width, 3)
    small = shrink(picture, side, photo=photo)
    assert max(small.shape[:2]) <= side or max(small.shape[:2]) == max(height, width) <= side
    assert small.shape[2] == 3
    if not photo:
        assert set(map(tuple, small.reshape(-1, 3).tolist())) <= set(map(tuple, picture.reshape(-1, 3).tolist()))


def test_data_uris_hold_the_picture(tmp_path: Path) -> None:
    picture = class_picture(np.zeros((20, 30), np.uint8), LEGEND)
    exact, photo = to_data_uri(picture), to_data_uri(picture, photo=True)
    head, data = exact.split(",")
    assert head == "data:image/png;base64"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), picture)
    assert photo.startswith("data:image/jpeg;base64,/9j/")
    file = tmp_path / "a.PNG"
    file.write_bytes(base64.b64decode(data))
    assert to_data_uri(file) == exact


def test_a_sheet_shows_image_truth_prediction_and_legend(tmp_path: Path) -> None:
    image = np.full((60, 80, 3), (10, 120, 60), np.uint8)
    truth = class_picture(np.zeros((60, 80), np.uint8), LEGEND)
    blank = class_picture(np.full((60, 80), IGNORED, np.uint8), LEGEND)
    path = tmp_path / "new" / "sheet.png"
    sample_sheet([(image, truth, truth), (image[:30], blank[:30], truth[:30])], LEGEND, path, captions=["a $1", "b"])
    drawn = pixels_of(path)
    assert all(has_colour(drawn, colour, 1000) for colour in ((10, 120, 60), (0, 0, 250), HATCH[0]))
    third = drawn.shape[1] // 3
    assert has_colour(drawn[:, :third], (10, 120, 60), 1000)
    assert not has_colour(drawn[:, 2 * third :], (10, 120, 60), 1)
    assert [p.name for p in path.parent.iterdir()] == ["sheet.png"]


def test_a_sheet_of_map_pictures_has_their_colours_and_no_legend(tmp_path: Path) -> None:
    drawn = np.full((4, 60, 80), 255, np.uint8)
    drawn[:3] = np.array([0, 200, 100])[:, None, None]
    drawn[:, :30] = 0
    seen = map_colours(drawn)
    assert (seen[30:] == (0, 200, 100)).all()
    assert {tuple(colour) for colour in np.unique(seen[:30].reshape(-1, 3), axis=0).tolist()} == set(HATCH)
    assert drawn[:3, 0].max() == 0  # what was passed is as it was
    sample_sheet([(seen, seen, seen)], None, tmp_path / "without.png")
    sample_sheet([(seen, seen, seen)], LEGEND, tmp_path / "with.png")
    without, legend = pixels_of(tmp_path / "without.png"), pixels_of(tmp_path / "with.png")
    assert has_colour(without, (0, 200, 100), 1000)
    assert has_colour(legend, (0, 0, 250), 50)
    assert not has_colour(without, (0, 0, 250), 1)


@pytest.mark.parametrize("count", [1, 2, 12])
def test_confusion_is_drawn_for_few_and_many_classes(tmp_path: Path, count: int) -> None:
    matrix = np.eye(count, dtype=np.int64) * 1000
    matrix[-1] = 0  # a class that is not in the truth
    confusion_picture(matrix, [f"a long name of a class {i}" for i in range(count)], tmp_path / "c.png")
    drawn = pixels_of(tmp_path / "c.png")
    assert max(drawn.shape) > 400
    assert has_colour(drawn, (8, 48, 107), 500) == (count > 1)  # the darkest blue: all of a row is right


def test_shares_and_counts_are_short_and_do_not_lie() -> None:
    texts = [share_text(s) for s in (0, 0.001, 0.005, 0.5, 0.994, 0.999, 1)]
    assert texts == ["0 %", "<1 %", "<1 %", "50 %", "99 %", ">99 %", "100 %"]
    assert [short_count(n) for n in (0, 999, 1000, 12_345, 99_960, 7_000_000)] == [
        "0", "999", "1.0k", "12.3k", "100k", "7.0M",
    ]  # fmt: skip


@given(st.integers(0, 10**14))
def test_counts_have_at_most_five_signs(count: int) -> None:
    assert len(short_count(count)) <= 5


def test_curves_are_drawn_in_the_colours_of_the_classes(tmp_path: Path) -> None:
    rows = [
        {"epoch": e, "train_loss": 1 / e, "val_loss": None, "val_mean_iou": 0.5, "val_iou/water": 0.1 * e, "lr": 1 / e}
        for e in range(1, 8)
    ]
    curves(rows, tmp_path / "with.png", legend=LEGEND)
    curves([{k: v for k, v in row.items() if "/" not in k} for row in rows], tmp_path / "without.png", legend=LEGEND)
    assert has_colour(pixels_of(tmp_path / "with.png"), (0, 0, 250), 20)
    assert not has_colour(pixels_of(tmp_path / "without.png"), (0, 0, 250), 1)


@pytest.mark.parametrize(("first", "scale"), [(2.0, "linear"), (1447.0, "log"), (-2.0, "linear"), (None, "linear")])
def test_one_absurd_loss_does_not_flatten_the_others(first: float | None, scale: str) -> None:
    ax = new_figure(4, 4).subplots()
    rows = [{"epoch": e, "train_loss": 2 / e, "val_loss": first if e == 1 else 1.0} for e in range(1, 6)]
    _loss_lines(ax, rows, None)
    assert ax.get_yscale() == scale


def test_curves_show_the_critic_where_there_is_one(tmp_path: Path) -> None:
    rows = [{"epoch": e, "train_loss": 1.0, "val_l1": 30 / e, "lr": 1e-3} for e in (1, 2, 3)]
    curves(rows, tmp_path / "alone.png")
    curves([{**row, "train_adversarial": 1.0, "train_critic": 0.5} for row in rows], tmp_path / "against.png")
    assert pixels_of(tmp_path / "against.png").shape[1] > 1.2 * pixels_of(tmp_path / "alone.png").shape[1]


@pytest.mark.parametrize(
    "rows",
    [[], [{"lr": 0.0}], [{"step": 3, "val_loss": float("nan")}], [{"epoch": 1, "lr": 1e-3}, {"step": 9, "lr": 1e-4}]],
)
def test_curves_of_incomplete_rows_are_drawn(tmp_path: Path, rows: list[dict[str, float | None]]) -> None:
    curves(rows, tmp_path / "curves.png")
    assert pixels_of(tmp_path / "curves.png").shape[1] > 1000


@pytest.mark.parametrize("shape", [(900, 2500), (2500, 900), (40, 40)])
@pytest.mark.parametrize("beside", [True, False])
def test_a_map_fits_its_side_and_shows_image_map_and_outline(
    tmp_path: Path, shape: tuple[int, int], beside: bool
) -> None:
    image = np.full((*shape, 3), (10, 120, 60), np.uint8)
    ring = shapely.box(10, 10, 30, 30).difference(shapely.box(15, 15, 20, 20))
    map_picture(
        np.zeros(shape, np.uint8), LEGEND, tmp_path / "m.png", rgb=image if beside else None, polygons=[ring], side=700
    )
    drawn = pixels_of(tmp_path / "m.png")
    assert max(drawn.shape) <= 700
    assert has_colour(drawn, (0, 0, 250), 1000)
    assert has_colour(drawn, (10, 120, 60), 1000) == beside
    pink = (drawn[..., 0] > 120) & (drawn[..., 1] < 90) & (drawn[..., 2] < 180)
    assert pink.any()


@pytest.mark.parametrize("hidden", [True, False])
def test_stripes_mean_no_label_in_a_sheet_and_no_data_in_a_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hidden: bool
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(pictures, "save_figure", lambda figure, _: figures.append(figure))
    ids = np.zeros((60, 80), np.uint8)
    ids[:30] = IGNORED if hidden else 1
    truth = class_picture(ids, LEGEND)
    sample_sheet([(truth, truth, truth)], LEGEND, tmp_path / "sheet.png")
    map_picture(ids, LEGEND, tmp_path / "map.png")
    words = [[text.get_text() for text in figure.legends[0].get_texts()] for figure in figures]
    names = list(LEGEND.names)
    assert words == ([[*names, "no label"], [*names, "no data"]] if hidden else [names, names])


def test_names_are_no_formulas_and_no_secrets(tmp_path: Path) -> None:
    legend = legend_of(("_hidden", "$frac{$"))
    rows = [{"epoch": e, **{f"val_iou/{name}": 0.5 for name in legend.names}} for e in (1, 2, 3)]
    confusion_picture(np.eye(2, dtype=np.int64), legend.names, tmp_path / "c.png")
    curves(rows, tmp_path / "l.png", legend=legend)
    map_picture(np.ones((30, 30), np.uint8), legend, tmp_path / "m.png")
    for name in ("l.png", "m.png"):  # the first class is seen in the legend only: the second lies over its line
        assert has_colour(pixels_of(tmp_path / name), legend.classes[0].colour, 4)


def test_many_long_class_names_stay_within_the_map(tmp_path: Path) -> None:
    legend = legend_of(f"a rather long name of a class {i}" for i in range(20))
    map_picture(np.zeros((300, 300), np.uint8), legend, tmp_path / "m.png", side=900)
    assert pixels_of(tmp_path / "m.png").shape[1] <= 900


def test_neither_pyplot_nor_torch_is_imported() -> None:
    code = (
        "import sys, pathlib, tempfile, numpy as np\n"
        "from sat2map import metrics, pictures\n"
        "assert 'matplotlib' not in sys.modules\n"
        "folder = tempfile.TemporaryDirectory()\n"
        "pictures.confusion_picture(np.eye(2, dtype=int), ['a', 'b'], pathlib.Path(folder.name, 'c.png'))\n"
        "assert not {'matplotlib.pyplot', 'torch'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
