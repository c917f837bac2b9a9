"""All that is needed to turn pixels into a map, in memory and on disk.

A model is a folder: `model.json` (bands, scaling, grid, legend, tiling, network, provenance), `weights.safetensors`,
`graph.xml` + `graph.bin`, the exported network, and `domain.safetensors`, what it saw of its training windows. All of
it is data: loading a model executes no code.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from sat2map.calibration import Calibration
from sat2map.domain import Domain, load_familiar
from sat2map.errors import ModelError
from sat2map.files import write_json
from sat2map.inputs import Inputs
from sat2map.legend import IGNORED
from sat2map.networks import NETWORKS
from sat2map.outputs import Output, Picture, output_from_json
from sat2map.tiling import Tiling

FORMAT = 1
"""Raised when a model of this version could not be read by an older package."""

INNER = "domain.safetensors"
"""Name of the file of inner features."""

LARGEST = 1 << 20
"""No window or layer is so large; what a damaged file claims can be."""


@dataclass(frozen=True)
class Architecture:
    """The words from which `networks.build_network` makes the network again.

    Args:
        network: A name of `NETWORKS`, or `custom` for a network that was passed as an object.
        encoder: Name of the encoder.
        width: Channels of the first level, for networks without an encoder.
        scale: By how much pixels are averaged down before the network, and its scores scaled up after it.
        members: How many such networks decide together.
    """

    network: str
    encoder: str = "resnet34"
    width: int | None = None
    scale: float = 1.0
    members: int = 1

    @property
    def title(self) -> str:
        """The network, and its encoder if it has one, for people."""
        built_on = self.network in NETWORKS and NETWORKS[self.network].encoder
        one = f"{self.network}, encoder {self.encoder}" if built_on else self.network
        return one if self.members == 1 else f"{self.members} x {one}"


@dataclass(frozen=True)
class MapModel:
    """A trained network with the meaning of its inputs and outputs.

    Args:
        inputs: What the network is shown.
        output: What its channels mean.
        architecture: How the network is built.
        tiling: The windows it sees, and how they overlap.
        provenance: How it was trained: the call, the environment, the scores on validation.
        folder: Where weights and graph lie.
        unit: The graph takes windows whose sides are multiples of this; None: only those of the tiling.
        int8_agreement: Share of validation pixels to which the graph in int8, if there is one, gives float32's class.
        calibration: Corrects the probabilities of classes; None if that was not fitted.
        domain: What its training pixels were like; None of older models.
    """

    inputs: Inputs
    output: Output
    architecture: Architecture
    tiling: Tiling
    provenance: Mapping[str, Any] = field(default_factory=dict, repr=False)
    folder: Path = Path()
    unit: int | None = None
    int8_agreement: float | None = None
    calibration: Calibration | None = None
    domain: Domain | None = None

    def __fspath__(self) -> str:
        """The folder: whoever takes the path of a model takes a loaded one."""
        return str(self.folder)

    @property
    def weights(self) -> Path:
        """The file of the weights."""
        return self.folder / "weights.safetensors"

    @property
    def graph(self) -> Path:
        """The file of the exported network."""
        return self.folder / "graph.xml"

    @property
    def int8_graph(self) -> Path:
        """The file of the exported network in whole numbers of 8 bits."""
        return self.folder / "graph_int8.xml"

    @property
    def inner(self) -> Path:
        """The file of what the network saw of its training windows."""
        return self.folder / INNER

    @cached_property
    def id(self) -> str:
        """Twelve characters by which this model is known: they change with each byte of it."""
        return hashlib.sha256((self.folder / "model.json").read_bytes()).hexdigest()[:12]

    def check(self) -> None:
        """Make sure that weights and graph are those the model was saved with.

        Raises:
            ModelError: A file was changed or damaged since.
        """
        stored = json.loads((self.folder / "model.json").read_text()).get("sha256", {})
        found = self._digests()
        for name in sorted(stored.keys() & found.keys()):
            if stored[name] != found[name]:
                raise ModelError(
                    f"{self.folder / name} was changed or damaged since the model was saved. Copy the model anew."
                )

    def _digests(self) -> dict[str, str]:
        graphs = (self.graph, self.int8_graph)
        files = (self.weights, self.inner, *graphs, *(graph.with_suffix(".bin") for graph in graphs))
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.exists()}

    def save(self) -> None:
        """Write `model.json` into the model's folder; weights, graph and inner features have to be there already."""
        facts = {
            "format": FORMAT,
            "inputs": self.inputs.to_json(),
            "output": self.output.to_json(),
            "architecture": asdict(self.architecture),
            "tiling": asdict(self.tiling),
            "unit": self.unit,
            "int8_agreement": self.int8_agreement,
            "calibration": self.calibration and self.calibration.to_json(),
            "domain": self.domain.to_json() if self.domain else None,
            "provenance": dict(self.provenance),
            "sha256": self._digests(),
        }
        write_json(self.folder / "model.json", facts)


def load_model(path: PathLike[str] | str) -> MapModel:
    """Load a model from its folder, or from the folder of the run that trained it.

    Raises:
        ModelError: There is no model, it is damaged, or it was made by a newer version.
    """
    folder = next((f for f in (Path(path) / "model", Path(path)) if (f / "model.json").is_file()), None)
    if folder is None:
        raise ModelError(f"There is no model in {path}: {_why(Path(path))}")
    try:
        facts = json.loads((folder / "model.json").read_text())
        if facts["format"] > FORMAT:
            raise ModelError(f"The model in {folder} was made by a newer sat2map. Update with: pip install -U sat2map")
        model = MapModel(
            inputs=Inputs.from_json(facts["inputs"]),
            output=output_from_json(facts["output"]),
            architecture=Architecture(**facts["architecture"]),
            tiling=Tiling(**facts["tiling"]),
            provenance=facts["provenance"],
            folder=folder,
            unit=facts.get("unit"),
            int8_agreement=facts.get("int8_agreement"),
            domain=_domain(facts.get("domain"), folder / INNER),
            calibration=Calibration.from_json(facts["calibration"]) if facts.get("calibration") else None,
        )
        _check_facts(model, facts)
    except ModelError:
        raise
    except (ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError) as error:
        raise ModelError(
            f"{folder / 'model.json'} is damaged ({_short(error)}). Train again, or copy the model anew."
        ) from None
    return model


def _domain(facts: Mapping[str, Any] | None, inner: Path) -> Domain | None:
    if facts is None:
        return None
    return Domain.from_json(facts, load_familiar(inner) if facts["familiar"] else None)


def _check_facts(model: MapModel, facts: Mapping[str, Any]) -> None:
    """Refuse what would fail at the first window only.

    Raises:
        ValueError: With the name of the fact that cannot be.
    """
    inputs, made, tiling = model.inputs, model.architecture, model.tiling
    bands, classes = len(inputs.bands), model.output.legend.classes
    sound = {
        "bands": bands > 0 and all(isinstance(name, str) for name in inputs.bands),
        "indexes": len(inputs.indexes) == bands and all(_is_count(i, 0, inputs.of) for i in inputs.indexes),
        "mean": len(inputs.mean) == bands and bool(np.isfinite(np.array(inputs.mean, np.float32)).all()),
        "std": len(inputs.std) == bands and all(1e-30 < std < 1e30 for std in inputs.std),
        "dtype": isinstance(inputs.dtype, str) and np.dtype(inputs.dtype).kind in "buif",
        "resolution": inputs.resolution is None or 0 < inputs.resolution < math.inf,
        "resize": inputs.resize is None or _is_count(inputs.resize),
        "ground": inputs.ground is None or 0 < inputs.ground < math.inf,
        "legend": (bool(classes) or isinstance(model.output, Picture))
        and all(_is_count(c.value, 0, IGNORED) for c in classes),
        "network": isinstance(made.network, str) and isinstance(made.encoder, str),
        "width": made.width is None or _is_count(made.width),
        "scale": 0 < made.scale < math.inf,
        "members": _is_count(made.members),
        "tiling": _is_count(tiling.size) and _is_count(tiling.overlap, 0) and _is_count(tiling.unit),
        "unit": model.unit is None or _is_count(model.unit),
        "int8_agreement": model.int8_agreement is None or 0 <= model.int8_agreement <= 1,
        "calibration": model.calibration is None or len(model.calibration.scale) == len(classes),
        "domain": model.domain is None or len(model.domain.quantiles) == bands,
        "provenance": isinstance(model.provenance, Mapping),
        "sha256": isinstance(facts.get("sha256", {}), Mapping),
    }
    wrong = [name for name, holds in sound.items() if not holds]
    if wrong:
        raise ValueError(f"{wrong[0]} cannot be as it says")


def _is_count(value: object, least: int = 1, end: int = LARGEST) -> bool:
    return isinstance(value, int) and least <= value < end


def _short(error: Exception) -> str:
    text = repr(error)
    return text if len(text) < 200 else f"{text[:200]} ..."


def _why(path: Path) -> str:
    if not path.exists():
        return "no such folder. Name a run of `sat2map train`, or its model folder."
    if (path / "checkpoints").is_dir():
        return "the run is not finished. Go on with `sat2map train SOURCE RUN --resume`."
    return "no model.json. Name a run of `sat2map train`, or its model folder."
