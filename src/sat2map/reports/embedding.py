"""Pictures as `data:` addresses, as large as a page can carry them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sat2map.pictures import shrink, to_data_uri

_FILE = 400_000


@dataclass(frozen=True)
class Embedder:
    """Turns pictures into addresses.

    Args:
        scale: By how much the longest sides allowed are made shorter, 0 to 1.
    """

    scale: float = 1.0

    def __call__(self, picture: Path | np.ndarray, side: int, *, photo: bool = True, wide: bool = False) -> str:
        """Return a picture whose longer side is at most `side * scale` pixels.

        Args:
            picture: Pixels `(H, W, 3)` uint8, or a file, which is kept as it is unless it is large.
            side: In pixels.
            photo: Store pixels as JPEG; else exactly, as class maps.
            wide: The limit is that of the width, however high the picture is.
        """
        if isinstance(picture, Path):
            if picture.suffix.lower() == ".svg" or picture.stat().st_size <= _FILE * self.scale**2:
                return to_data_uri(picture)
            picture = _on_white(picture)
        longest = side * self.scale * (max(1.0, picture.shape[0] / picture.shape[1]) if wide else 1.0)
        return to_data_uri(shrink(picture, max(1, int(longest)), photo=photo), photo=photo)


def _on_white(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        drawn = opened.convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn).convert("RGB"))
