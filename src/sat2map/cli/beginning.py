"""Commands to begin with: download, demo."""

from __future__ import annotations

from pathlib import Path

import sat2map
from sat2map.cli.app import command, say, show
from sat2map.errors import BadOption


@command
def download(name: str | None = None, dest: Path | None = None, /, *, overwrite: bool = False) -> None:
    """Fetch a public archive of imagery and labels, check it and unpack it; or list those there are.

    Interrupted at any moment, the same command goes on where it was.

    Args:
        name: An archive of the list.
        dest: The folder to make.
        overwrite: Replace an archive that was unpacked there.
    """
    from sat2map import tables

    if name is None:
        show(tables.archives())
        return
    if dest is None:
        raise BadOption(f"There is no folder to unpack to. Name one: sat2map download {name} DEST")
    say(f"Unpacked to {sat2map.download(name, dest, overwrite=overwrite)}")


@command
def demo(
    folder: Path = Path("demo"),
    /,
    *,
    source: str | None = None,
    minutes: float = 1.0,
    seed: int = 0,
) -> None:
    """Go through the whole flow: a fabricated scene, or your own data, to a model, a map and a report.

    Args:
        folder: Where everything goes: a new folder, or that of an earlier demo, which is replaced.
        source: Imagery with labels to take in place of the fabricated scene.
        minutes: How long to train.
        seed: Where all random numbers start.
    """
    from sat2map import tables

    made = sat2map.demo(folder, source=source, minutes=minutes, seed=seed)
    show(tables.evaluation(made.evaluation))
    for what, path in (("Map", made.map), ("Polygons", made.polygons), ("Picture", made.picture)):
        if path:
            say(f"{what:9} {path.resolve()}")
    say(f"Report    {made.evaluation.report.resolve()}")
