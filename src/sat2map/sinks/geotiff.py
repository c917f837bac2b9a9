"""Class maps as cloud-optimised GeoTIFF with a colour table, overviews and class names."""

from __future__ import annotations

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.windows import Window as GdalWindow

from sat2map.legend import IGNORED
from sat2map.raster import is_georeferenced
from sat2map.sinks.base import Sink, colour_table
from sat2map.sinks.names import category_names, legend_tag
from sat2map.tiling import Window

BLOCK = 512


class GeoTiffSink(Sink):
    """Blocks go to an uncompressed file; closing copies it in order, since arrival shows in the bytes of a GeoTIFF."""

    def _open(self) -> None:
        self._raw = self._part.file("raw.tif")
        affine = self.geobox.affine if is_georeferenced(self.geobox) else None
        height, width = self.shape
        self._file = rasterio.open(
            self._raw, "w", driver="GTiff", dtype="uint8", count=1, height=height, width=width, nodata=IGNORED,
            crs=str(self.geobox.crs) if self.geobox.crs else None, transform=affine,
            tiled=True, blockxsize=BLOCK, blockysize=BLOCK, sparse_ok=True, bigtiff="IF_SAFER",
        )  # fmt: skip
        self._file.write_colormap(1, colour_table(self.legend))
        self._file.update_tags(**{**self.tags, **legend_tag(self.legend)})

    def _write(self, window: Window, values: np.ndarray) -> None:
        self._file.write(values, 1, window=GdalWindow(window.col, window.row, window.width, window.height))

    def _finish(self) -> None:
        self._file.close()
        rasterio.shutil.copy(
            str(self._raw), str(self._part.file()), driver="COG", compress="DEFLATE", blocksize=str(BLOCK),
            overview_resampling="MODE", bigtiff="IF_SAFER", num_threads="ALL_CPUS",
        )  # fmt: skip
        self._raw.unlink()
        self._part.file(f"{self.path.name}.aux.xml").write_text(category_names(self.legend), encoding="utf-8")

    def _abandon(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()
