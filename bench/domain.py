"""Does a scene belong to the model? Strange windows, false alarms and histogram matching on real imagery.

python bench/domain.py RUN --data ../shared/data --json domain.json

RUN was trained on `dubai-aerial`, Tiles held out for validation and test. `strange` is the share of pixels beyond
the threshold, as `predict` maps them; `told` are the sentences of the comparison; `accuracy` is with and without
--match-histogram.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from sat2map.domain import compare, fit_domain, glimpse, quantiles, sample
from sat2map.legend import CERTAIN, IGNORED
from sat2map.mapmodel import MapModel, load_model
from sat2map.options import RuntimeOptions
from sat2map.predictor import LIMIT, Predictor, Strip, predictors
from sat2map.runs import environment
from sat2map.scenes import Scene, array_scene, open_scene, select
from sat2map.scenes.matched import match
from sat2map.sources import Pair, open_source
from sat2map.splits import read_split
from sat2map.tiling import whole

Change = Callable[[np.ndarray], np.ndarray]


def curve(function: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda p: np.clip(np.rint(function(p.astype(np.float32))), 0, 255).astype(np.uint8)


def each_band(function: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda p: np.stack([function(band) for band in p])


def enlarged(pixels: np.ndarray) -> np.ndarray:
    """Show a third of each side, three times as large."""
    height, width = pixels.shape[1:]
    part = pixels[:, : height // 3, : width // 3]
    return each_band(lambda b: cv2.resize(b, (width, height), interpolation=cv2.INTER_CUBIC))(part)


GAINS = np.array([1.25, 1.0, 0.7], np.float32)[:, None, None]
CHANGES: dict[str, Change] = {
    "as it is": lambda p: p,
    "half as bright": curve(lambda p: 0.5 * p),
    "gamma 0.6": curve(lambda p: 255 * (p / 255) ** 0.6),
    "brighter by 80": curve(lambda p: p + 80),
    "red x 1.25, blue x 0.7": curve(lambda p: GAINS * p),
    "bands in another order": lambda p: p[[1, 2, 0]],
    "inverted": lambda p: 255 - p,
    "blurred, 1.5 pixels": each_band(lambda b: cv2.GaussianBlur(b, (0, 0), 1.5)),
    "blurred, 3 pixels": each_band(lambda b: cv2.GaussianBlur(b, (0, 0), 3)),
    "enlarged 3 times": enlarged,
    "noise alone": lambda p: np.random.default_rng(0).integers(0, 256, p.shape, np.uint8),
}
MATCHED = ("as it is", "half as bright", "gamma 0.6", "brighter by 80", "red x 1.25, blue x 0.7", "inverted")


def changed(scene: Scene, change: Change) -> Scene:
    raster = scene.read()
    return replace(array_scene(change(raster.pixels), raster.valid, raster.geobox, scene.name), bands=scene.bands)


@dataclass(frozen=True)
class Bench:
    model: MapModel

    @cached_property
    def opened(self) -> Callable[[Scene], Predictor]:
        return predictors(self.model, RuntimeOptions(), keep=("novelty",))

    def mapped(self, scene: Scene) -> Strip:
        chosen = replace(select(scene, self.model.inputs.choose(scene)), bands=self.model.inputs.bands)
        return self.opened(chosen).block(chosen, whole(chosen.shape))

    def strange(self, scenes: Sequence[Scene]) -> dict[str, object]:
        """Return the share of the valid pixels that `predict` would warn of, and the largest novelty."""
        novelty = np.concatenate([self.mapped(scene).layers["novelty"].ravel() for scene in scenes])
        known = novelty[novelty < IGNORED] / CERTAIN
        return {"scenes": len(scenes), "strange": float((known > LIMIT).mean()), "largest": float(known.max())}

    def told(self, scenes: Sequence[Scene]) -> dict[str, object]:
        told = [compare(self.model.domain, self.model.inputs, scene) for scene in scenes]
        kinds = sorted({d.kind for ds in told for d in ds})
        return {
            "scenes": len(scenes),
            "warned": float(np.mean([any(d.level == "warning" for d in ds) for ds in told])),
            "told": {kind: sum(any(d.kind == kind for d in ds) for ds in told) for kind in kinds},
            "example": [d.text for d in told[0]],
        }

    def matched(self, scene: Scene) -> Scene:
        domain, inputs = self.model.domain, self.model.inputs
        assert domain is not None
        chosen = replace(select(scene, inputs.choose(scene)), bands=inputs.bands)
        return match(chosen, quantiles(sample(chosen)), domain.quantiles, inputs.dtype)

    def accuracy(self, pairs: Sequence[tuple[Pair, Scene]]) -> float:
        right = total = 0
        for pair, scene in pairs:
            ids, truth = self.mapped(scene).pixels, pair.target.read().pixels[0]
            known = (truth != IGNORED) & (ids != IGNORED)
            right, total = right + int((ids == truth)[known].sum()), total + int(known.sum())
        return right / total


def alarms(pairs: Sequence[Pair], model: MapModel) -> dict[str, object]:
    """Leave one Tile out at a time: how many of its pictures are warned of, by what the others are like."""
    groups = sorted({pair.group for pair in pairs})
    seen = {pair.name: [glimpse(raster) for raster in sample(pair.image)] for pair in pairs}
    warned = {}
    for group in groups:
        domain = fit_domain([one for pair in pairs if pair.group != group for one in seen[pair.name]])
        out = [pair for pair in pairs if pair.group == group]
        warned[group] = [pair.name for pair in out if compare(domain, model.inputs, pair.image)]
    return {"pictures": len(pairs), "warned": sum(map(len, warned.values())), "by group": warned}


def foreign(data: Path, bands: int) -> Iterator[tuple[str, list[Scene]]]:
    for zoom in (19, 20, 21):
        files = sorted((data / "kampala-buildings" / "images" / f"z{zoom}").glob("*.tif"))
        yield f"Kampala, zoom {zoom}", [select(open_scene(f), range(bands)) for f in files[::3]]
    atlanta = open_scene(data / "atlanta-buildings" / "sample_geotiff.tif")
    yield "Atlanta, its band repeated", [select(atlanta, [0] * bands)]
    landsat = open_scene(data / "landsat7-landcover" / "LE70220491999322EDC01_stack.gtif")
    yield "Landsat 7, bands 3 2 1", [select(landsat, [2, 1, 0][:bands])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--pictures", type=int, default=3, help="of the test part, changed in all ways")
    parser.add_argument("--every", type=int, default=1, help="of so many scenes, one is shown to the network")
    parser.add_argument("--json", type=Path, required=True)
    words = parser.parse_args()
    bench, source = Bench(load_model(words.run)), open_source(words.data / "dubai-aerial")
    split, pairs = read_split(words.run / "split.json"), {pair.name: pair for pair in source.pairs}
    val, test = ([pairs[name] for name in sorted({a.pair for a in split.part(p)})] for p in ("val", "test"))
    some = test[:: -(-len(test) // words.pictures)]
    result: dict[str, object] = {"environment": environment()}

    def note(name: str, value: object) -> None:
        result[name] = value
        print(name, json.dumps(value), flush=True)
        words.json.write_text(json.dumps(result, indent=1))

    shown = {
        "validation": [pair.image for pair in val],
        "test": [pair.image for pair in test],
        **dict(foreign(words.data, len(bench.model.inputs.bands))),
        **{f"test, {name}": [changed(pair.image, change) for pair in some] for name, change in CHANGES.items()},
    }
    note("false alarms, one Tile left out", alarms(source.pairs, bench.model))
    for name, scenes in shown.items():
        note(f"told: {name}", bench.told(scenes))
    for name, scenes in shown.items():
        note(f"strange: {name}", bench.strange(scenes[:: words.every]))
    for name in MATCHED:
        pictures = list(zip(some, shown[f"test, {name}"], strict=True))
        plain, matched = bench.accuracy(pictures), bench.accuracy([(p, bench.matched(s)) for p, s in pictures])
        note(f"accuracy: {name}", {"plain": plain, "matched": matched})


if __name__ == "__main__":
    main()
