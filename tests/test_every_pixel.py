"""Each valid pixel of a file gets the class it has, at its place, and no other pixel gets one: from file to file."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import openvino
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino import opset13 as ops
from rasterio.enums import ColorInterp

import synthetic
from models import PLAIN
from sat2map.legend import IGNORED
from sat2map.mapmodel import Architecture, MapModel
from sat2map.outputs import Classes
from sat2map.prediction import predict
from sat2map.tiling import Tiling

CASES = int(os.environ.get("SAT2MAP_CASES", "60"))

NODATA = {"uint8": 9, "uint16": 60_000, "int16": -32_768, "float32": -9999.0}

PLACES = {
    "north up": Affine(0.5, 0, 500_000, 0, -0.5, 40_000),
    "south up": Affine(0.5, 0, 500_000, 0, 0.5, 40_000),
    "turned": Affine(0.4, 0.3, 500_000, 0.3, -0.4, 40_000),
    "nowhere": Affine.identity(),
}


@dataclass(frozen=True)
class Case:
    """A scene, and how it is mapped."""

    shape: tuple[int, int]
    dtype: str
    bands: int
    hides: str
    place: str
    overlap: int
    block: int | None
    seed: int


cases = st.builds(
    Case,
    shape=st.one_of(
        st.tuples(st.integers(1, 60), st.integers(1, 60)),
        st.sampled_from([(1, 1), (1, 131), (127, 1), (16, 16), (97, 53), (5, 200)]),
    ),
    dtype=st.sampled_from(sorted(NODATA)),
    bands=st.integers(1, 14),
    hides=st.sampled_from(["nothing", "nodata", "mask", "alpha", "nan", "everything"]),
    place=st.sampled_from(sorted(PLACES)),
    overlap=st.integers(0, 8),
    block=st.one_of(st.none(), st.integers(8, 150)),
    seed=st.integers(0, 99),
)


def exact_model(folder: Path, bands: int, dtype: str) -> MapModel:
    """Write a model for which a pixel's last band is its class, and the others count for nothing."""
    x_NCHW = ops.parameter([-1, bands, -1, -1], np.float32)
    last = ops.gather(x_NCHW, np.array([bands - 1]), np.int64(1))
    ids = np.arange(3, dtype=np.float32).reshape(1, 3, 1, 1)
    scores = ops.softmax(ops.multiply(ops.squared_difference(last, ids), np.float32(-20)), axis=1)
    inputs = replace(
        PLAIN,
        bands=tuple(f"band {i + 1}" for i in range(bands)),
        indexes=tuple(range(bands)),
        of=bands,
        mean=(0.0,) * bands,
        std=(1.0,) * bands,
        dtype=dtype,
    )
    folder.mkdir()
    model = MapModel(inputs, Classes(synthetic.LEGEND), Architecture("custom"), Tiling(16, 4), {}, folder)
    openvino.save_model(openvino.Model([scores], [x_NCHW], "exact"), model.graph, compress_to_fp16=False)
    model.save()
    return model


def fabricate(path: Path, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Write a scene whose last band holds classes; return them and where they count."""
    rng = np.random.default_rng(case.seed)
    ids = rng.integers(0, 3, case.shape)
    pixels = rng.integers(0, 5, (case.bands, *case.shape)).astype(case.dtype)
    pixels[-1] = ids
    hides = "nodata" if case.hides == "nan" and case.dtype != "float32" else case.hides
    hidden = rng.random(case.shape) < {"nothing": 0.0, "everything": 1.0}.get(hides, 0.4)
    extra = {"nodata": NODATA[case.dtype]} if hides in ("nodata", "everything") else {}
    if hides in ("nodata", "everything"):
        pixels[:, hidden] = NODATA[case.dtype]
    if hides == "nan":
        pixels[rng.integers(0, case.bands), hidden] = np.nan
    if hides == "alpha":
        opaque = np.iinfo(case.dtype).max if case.dtype != "float32" else 255
        pixels = np.concatenate([pixels, np.where(hidden, 0, opaque)[None].astype(case.dtype)])
    height, width = case.shape
    crs = None if case.place == "nowhere" else synthetic.UTM
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(
        path, "w", driver="GTiff", count=len(pixels), height=height, width=width, dtype=case.dtype, crs=crs,
        transform=PLACES[case.place], photometric="minisblack", **extra,
    ) as file:  # fmt: skip
        if hides == "alpha":
            rest = [ColorInterp.undefined] * (case.bands - 1)
            file.colorinterp = [ColorInterp.gray, *rest, ColorInterp.alpha]
        file.write(pixels)
        if hides == "mask":
            file.write_mask(~hidden)
    return ids, ~hidden


@settings(max_examples=CASES)
@given(case=cases)
def test_each_valid_pixel_has_its_class_and_no_other_has_one(case):
    with TemporaryDirectory() as name:
        folder = Path(name)
        model = exact_model(folder / "model", case.bands, case.dtype)
        ids, valid = fabricate(folder / "scene.tif", case)
        words = {"overlap": case.overlap, "block": case.block, "precision": "fp32"}
        made = predict(folder / "scene.tif", folder / "map.tif", model=model.folder, **words)
        with rasterio.open(made.map) as file, rasterio.open(folder / "scene.tif") as scene:
            np.testing.assert_array_equal(file.read(1), np.where(valid, ids, IGNORED))
            assert (file.transform, file.crs, file.shape) == (scene.transform, scene.crs, scene.shape)
        assert (made.pixels, made.invalid) == (valid.size, int((~valid).sum()))
