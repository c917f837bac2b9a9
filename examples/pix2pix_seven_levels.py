"""The variant of pix2pix that is halved seven times, and how like the truth its maps are: SSIM, FID, KID and IS.

    python examples/pix2pix_seven_levels.py SOURCE RUN --split val

The rest is as in `pix2pix_maps.py`. All measures are in RUN_report/report.html. `--split val` is for archives without a
test folder; `--feature-weights FILE` gives the weights of Inception-v3, which are downloaded otherwise.

An SSIM of 0.92 beside an FID of 866 and an Inception Score of exactly 1.00, as published, cannot be taken at face
value: an FID of few samples is far too large, and a score of 1.00 says that Inception-v3 gave all pictures the same
distribution of classes, so that it told none from another. That is why each measure is told here with its samples.
"""

from __future__ import annotations

from pix2pix_maps import RECIPE, command_line

import sat2map
from sat2map.fidelity import Metric

TOLD = ("SSIM", "FID", "KID", "Inception Score", "Inception Score, truth")


def line(metric: Metric) -> str:
    """Return a measure with its samples, and why it is absent or unreliable."""
    value = "absent" if metric.value is None else f"{metric.value:.3f}"
    return f"{metric.name}: {value} ({metric.samples} {metric.of}). {metric.reason}".rstrip()


def main() -> None:
    parser = command_line(__doc__, {**RECIPE, "network": "pix2pix-7"})
    parser.add_argument("--split", default="test")
    parser.add_argument("--feature-weights", action="append", default=[])
    words = vars(parser.parse_args())
    split, weights = words.pop("split"), tuple(words.pop("feature_weights"))
    run, report = sat2map.train(**words), f"{words['run']}_report"
    made = sat2map.evaluate(words["source"], report, model=run, split=split, feature_weights=weights, overwrite=True)
    for metric in made.metrics:
        if metric.name in TOLD:
            print(line(metric))


if __name__ == "__main__":
    main()
