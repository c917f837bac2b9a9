"""The published grid for landslide maps from 14 bands: a plain U-Net with 4, 16 or 32 filters, and learning rates.

    python examples/landslides.py SOURCE RUN --epochs 20

SOURCE is a folder of `image_N.h5` (array `img`) and `mask_N.h5` (array `mask`), or one HDF5 file with both. Afterwards
precision, recall and F1 on pictures the network has not seen are in RUN_report/metrics.json. Which pictures are
neighbours no file says, so these scores may be too good.
"""

from __future__ import annotations

import argparse

import sat2map


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("run")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--widths", default="4,16,32")
    parser.add_argument("--rates", default="1e-2,1e-3,1e-4")
    words = parser.parse_args()
    run = sat2map.train(
        words.source,
        words.run,
        network="small-unet",
        size=128,
        scale=1.0,
        whiten=False,
        batch=16,
        epochs=words.epochs,
        tune=(f"width={words.widths}", f"lr={words.rates}"),
    )
    found = sat2map.evaluate(words.source, f"{words.run}_report", model=run, overwrite=True)
    for c in found.scores.classes if found.scores else ():
        print(c.name, *(f"{name} {getattr(c, name) or 0:.3f}" for name in ("precision", "recall", "f1")))


if __name__ == "__main__":
    main()
