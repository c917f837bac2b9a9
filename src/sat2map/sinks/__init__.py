"""Everything a map can be written to, behind one noun: `Sink`.

A new kind of file is a module here and a row in `SINKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from odc.geo.geobox import GeoBox

from sat2map.errors import OutputError
from sat2map.legend import IGNORED, Legend
from sat2map.sinks.base import Sink
from sat2map.sinks.files import Part, check_destination
from sat2map.sinks.geotiff import GeoTiffSink
from sat2map.sinks.names import read_map_legend
from sat2map.sinks.png import PngSink

__all__ = ["SINKS", "Part", "Sink", "check_destination", "open_sink", "read_map_legend"]

SINKS: dict[str, Callable[[Path, GeoBox, Legend, Mapping[str, str]], Sink]] = {
    ".tif": GeoTiffSink,
    ".tiff": GeoTiffSink,
    ".png": PngSink,
}
"""How a map whose name has this suffix is written."""


def open_sink(path: Path | str, geobox: GeoBox, legend: Legend, *, tags: Mapping[str, str] | None = None) -> Sink:
    """Open a class map for writing; a file that is there is replaced when the sink is closed.

    Args:
        path: The destination; its suffix says which kind of file.
        geobox: The map's place; without CRS and with the identity if it has none.
        legend: The classes; their numbers are 0 to 254 (255 is nodata).
        tags: What else to note in the file, such as the model's name.

    Raises:
        OutputError: The path cannot be written, or the map does not go into this kind of file.
    """
    path = check_destination(path, SINKS, overwrite=True)
    for c in legend.classes:
        if not 0 <= c.value < IGNORED:
            raise OutputError(
                f"The class {c.name} has the number {c.value}, but a map holds 0 to {IGNORED - 1} "
                f"({IGNORED} is nodata). Give it another value in the legend file."
            )
    return SINKS[path.suffix.lower()](path, geobox, legend, tags or {})
