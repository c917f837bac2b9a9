"""The widely published recipe for land cover from aerial imagery: U-Net on ResNet34, non-overlapping patches of 256.

    python examples/published_recipe.py SOURCE RUN --minutes 6 --test "Tile 8"

The recipe: 0.34 cross-entropy + 0.33 Dice + 0.33 Jaccard, Adam 1e-3, the rate to a tenth when more than 5
epochs bring no gain, stop after 10, rotation up to 45 degrees, shifts and zoom up to 0.2, flips, batches of 16.
"""

from __future__ import annotations

import argparse
from typing import Any

import sat2map

RECIPE = {
    "network": "unet",
    "encoder": "resnet34",
    "loss": "0.34*cross_entropy + 0.33*dice + 0.33*jaccard",
    "patches": "grid",
    "size": 256,
    "scale": 1.0,
    "whiten": False,
    "batch": 16,
    "optimizer": "adam",
    "lr": 1e-3,
    "schedule": "plateau",
    "patience": 10,
    "average": False,
    "rotate": 45.0,
    "rotate90": False,
    "shift": 0.2,
    "zoom": 0.2,
    "flip": True,
    "brightness": 0.0,
    "contrast": 0.0,
    "warp": 1.0,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("run")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test", action="append", default=[])
    parser.add_argument("--val", action="append", default=[])
    told = vars(parser.parse_args())
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in told.items() if v}
    words: dict[str, Any] = {**RECIPE, **given}
    run = sat2map.train(words.pop("source"), words.pop("run"), **words)
    print(f"Trained in {run}")


if __name__ == "__main__":
    main()
