"""A conditional GAN that maps classes, learnt from GeoTIFF tiles of 256 x 256 pixels, and the map of a scene.

    python examples/conditional_gan.py SOURCE RUN SCENE MAP.tif

SOURCE holds `images/*.tif` and `masks/*.tif`, class maps of the same names. The recipe: a network for segmentation
against a critic that sees image and class map together, 100*cross-entropy + critic (lambda is 100), both by Adam 2e-4
with betas of 0.5 and 0.999. A tile is a patch, seen at its own pixel size.
"""

from __future__ import annotations

import argparse

import sat2map

RECIPE = {
    "output": "classes",
    "network": "unet",
    "loss": "100*cross_entropy",
    "adversarial": 1.0,
    "optimizer": "gan-adam",
    "lr": 2e-4,
    "critic_lr": 2e-4,
    "schedule": "linear",
    "average": False,
    "patches": "grid",
    "size": 256,
    "scale": 1.0,
    "whiten": False,
    "zoom": 0.0,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, argument_default=argparse.SUPPRESS
    )
    parser.set_defaults(**RECIPE)
    for word in ("source", "run", "scene", "map"):
        parser.add_argument(word)
    parser.add_argument("--network")
    parser.add_argument("--minutes", type=float)
    for word in ("epochs", "seed", "width", "size"):
        parser.add_argument(f"--{word}", type=int)
    words = vars(parser.parse_args())
    scene, drawn = words.pop("scene"), words.pop("map")
    run = sat2map.train(**words)
    print(sat2map.predict(scene, drawn, model=run).summary())


if __name__ == "__main__":
    main()
