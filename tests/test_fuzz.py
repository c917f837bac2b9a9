"""Files of random, torn and flipped bytes: a sentence comes out, or pixels, and never a crash.

The inputs of each test are few here; SAT2MAP_FUZZ=5000 asks for more.
"""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import synthetic
from models import colour_model
from sat2map.errors import UserError
from sat2map.mapmodel import load_model
from sat2map.scenes import open_scene, tolerant
from sat2map.tiling import Window

IDS = synthetic.landscape(3, 40)
TILES = {"tiled": True, "blockxsize": 16, "blockysize": 16}

many = settings(
    max_examples=int(os.environ.get("SAT2MAP_FUZZ", "40")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def hdf5(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("image", data=np.moveaxis(synthetic.seen(IDS), 0, -1), chunks=(20, 20, 3), compression=4)
    return path


SEEDS = {
    "plain.tif": lambda path: synthetic.geotiff(path, IDS),
    "deflate.tif": lambda path: synthetic.geotiff(path, IDS, compress="deflate", predictor=2, **TILES),
    "lzw.tif": lambda path: synthetic.geotiff(path, IDS, dtype="float32", compress="lzw", nodata=0, blockysize=3),
    "jpeg.tif": lambda path: synthetic.geotiff(path, IDS, compress="jpeg", **TILES),
    "image.png": lambda path: synthetic.save(path, synthetic.seen(IDS)),
    "palette.png": lambda path: synthetic.write_mask(path, IDS, "palette"),
    "image.jpg": lambda path: synthetic.save(path, synthetic.seen(IDS)),
    "image.h5": hdf5,
}


pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # rasterio's log of bytes


@pytest.fixture(scope="module", params=SEEDS)
def seed(request, tmp_path_factory):
    return SEEDS[request.param](tmp_path_factory.mktemp("seed") / request.param)


_numbers = itertools.count()


# Places are from the beginning, or before the end: most of what a file says of itself stands there.
places = st.integers(0, 4000) | st.integers(0, 400) | st.integers(-400, -1)
blocks = st.binary(min_size=1, max_size=1) | st.binary(min_size=1, max_size=12)
changes = st.lists(st.tuples(places, blocks), max_size=6)
cuts = st.none() | st.none() | st.integers(0, 4000)


def torn(content: bytes, changed: list[tuple[int, bytes]], cut: int | None) -> bytes:
    """Return a file with some bytes changed, and then perhaps cut."""
    data = bytearray(content)
    for place, block in changed:
        start = place % len(content)
        data[start : start + len(block)] = block
    return bytes(data[:cut])


def is_sentence(error: UserError) -> bool:
    text = str(error)
    return "\n" not in text and text.endswith((".", "?", ".tif", "sat2map"))


def try_scene(path: Path) -> None:
    """Open and read a file in all ways; what is read is of the shape that was promised."""
    try:
        scene = open_scene(path)
        height, width = scene.shape
        for view in (tolerant(scene), scene):
            for window in (Window(0, 0, min(height, 64), min(width, 64)), Window(height // 2, width // 2, 9, 9)):
                read = view.read(window, [0, len(scene.bands) - 1])
                assert read.pixels.shape == (2, *window.shape) and read.pixels.dtype == scene.dtype
    except UserError as error:
        assert is_sentence(error)
    finally:
        path.unlink()


@many
@given(changed=changes, cut=cuts)
def test_torn_files(seed, changed, cut):
    path = seed.with_name(f"{next(_numbers)}-{seed.name}")
    path.write_bytes(torn(seed.read_bytes(), changed, cut))
    try_scene(path)


BEGINNINGS = (
    b"",
    b"II*\0",
    b"MM\0*",
    b"II+\0\x08\0\0\0",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"\x89HDF\r\n\x1a\n",
    b"<VRTDataset rasterXSize='9' rasterYSize='9'>",
    b'{"assets": {"a": {"href": "',
)
SUFFIXES = (".tif", ".png", ".h5", ".json", ".vrt", "")


@many
@given(head=st.sampled_from(BEGINNINGS), tail=st.binary(max_size=300), suffix=st.sampled_from(SUFFIXES))
def test_random_bytes(tmp_path, head, tail, suffix):
    path = tmp_path / f"{next(_numbers)}{suffix}"
    path.write_bytes(head + tail)
    try_scene(path)


# Models


leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.sampled_from([-1, 0, 10**30, "uint8"])
)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return colour_model(tmp_path_factory.mktemp("model"), provenance={"epoch": 3})


def try_model(folder: Path) -> None:
    """Load a model; one that loads can be used and saved."""
    try:
        loaded = load_model(folder)
        loaded.check()
    except UserError as error:
        assert is_sentence(error)
        return
    bands = len(loaded.inputs.bands)
    assert np.isfinite(loaded.inputs.scale(np.ones((bands, 2, 3), np.uint8), np.ones((2, 3), bool))).all()
    scores = np.ones((loaded.output.channels, 2, 3), np.float32)
    assert loaded.output.legend.values(loaded.output.decode(scores, np.ones((2, 3), bool))).shape == (2, 3)
    loaded.tiling.axis(1000)


def places_in(value, path=()):
    """Yield the way to each part of a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places_in(inner, (*path, key))


@many
@given(data=st.data())
def test_models_of_other_facts(model, data):
    file = model.folder / "model.json"
    original = file.read_text()
    facts = {"": json.loads(original)}
    for _ in range(data.draw(st.integers(1, 3))):
        way = data.draw(st.sampled_from(list(places_in(facts[""], ("",)))))
        inner = facts
        for key in way[:-1]:
            inner = inner[key]
        if data.draw(st.integers(0, 3)) or len(way) == 1:
            inner[way[-1]] = data.draw(values)
        else:
            del inner[way[-1]]
    try:
        file.write_text(json.dumps(facts[""]))
        try_model(model.folder)
    finally:
        file.write_text(original)


@many
@given(changed=changes, cut=cuts)
def test_models_of_torn_bytes(model, changed, cut):
    file = model.folder / "model.json"
    original = file.read_bytes()
    try:
        file.write_bytes(torn(original, changed, cut))
        try_model(model.folder)
    finally:
        file.write_bytes(original)


@many
@given(content=st.binary(max_size=300) | st.just(b"[" * 100_000) | st.just(b'{"format": ' + b"9" * 5000 + b"}"))
def test_models_of_any_bytes(model, content):
    file = model.folder / "model.json"
    original = file.read_bytes()
    try:
        file.write_bytes(content)
        try_model(model.folder)
    finally:
        file.write_bytes(original)
