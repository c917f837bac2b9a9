"""The published pix2pix (Isola et al. 2017) on pictures that hold an aerial photograph and its map side by side.

    python examples/pix2pix_maps.py SOURCE RUN

The recipe: 100*L1 + critic of 70 pixels, Adam 2e-4 with betas of 0.5 and 0.999, the rate down to 0 in the second half,
one picture a step, enlarged to 286 and cut to 256 pixels, mirrored. 10 epochs, and the weights of every second one are
kept in RUN/checkpoints. There, pictures are mirrored left to right only; here upside down as well.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import sat2map

RECIPE = {
    "output": "picture",
    "network": "pix2pix",
    "loss": "100*l1",
    "adversarial": 1.0,
    "criterion": "bce",
    "optimizer": "gan-adam",
    "lr": 2e-4,
    "schedule": "linear",
    "average": False,
    "batch": 1,
    "epochs": 10,
    "save_every": 2,
    "patches": "picture",
    "resize": 286,
    "size": 256,
    "flip": True,
    "rotate90": False,
    "zoom": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
}


def command_line(about: str | None, recipe: Mapping[str, object]) -> argparse.ArgumentParser:
    """Return a parser of SOURCE, RUN and words of `train`, of which `recipe` holds the defaults."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter, argument_default=argparse.SUPPRESS
    )
    parser.set_defaults(**recipe)
    parser.add_argument("source")
    parser.add_argument("run")
    parser.add_argument("--network")
    parser.add_argument("--minutes", type=float)
    for word in ("epochs", "seed", "width", "size", "resize"):
        parser.add_argument(f"--{word}", type=int)
    return parser


def main() -> None:
    run = sat2map.train(**vars(command_line(__doc__, RECIPE).parse_args()))
    print(f"Trained in {run}")


if __name__ == "__main__":
    main()
