"""All that is needed to turn pixels into a map, in memory and on disk.

A model is a folder: `model.json` (bands, scaling, grid, legend, tiling, network, provenance), `weights.safetensors`,
and `graph.xml` + `graph.bin`, the exported network. All of it is data: loading a model executes no code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sat2map.errors import ModelError
from sat2map.files import write_json
from sat2map.inputs import Inputs
from sat2map.outputs import Classes
from sat2map.tiling import Tiling

FORMAT = 1
"""Raised when a model of this version could not be read by an older package."""


@dataclass(frozen=True)
class Architecture:
    """The words from which `networks.build_network` makes the network again.

    Args:
        network: A name of `NETWORKS`, or `custom` for a network that was passed as an object.
        encoder: Name of the encoder.
        width: Channels of the first level, for networks without an encoder.
        scale: By how much pixels are averaged down before the network, and its scores scaled up after it.
    """

    network: str
    encoder: str = "resnet34"
    width: int | None = None
    scale: float = 1.0


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
    """

    inputs: Inputs
    output: Classes
    architecture: Architecture
    tiling: Tiling
    provenance: Mapping[str, Any] = field(default_factory=dict, repr=False)
    folder: Path = Path()

    @property
    def weights(self) -> Path:
        """The file of the weights."""
        return self.folder / "weights.safetensors"

    @property
    def graph(self) -> Path:
        """The file of the exported network."""
        return self.folder / "graph.xml"

    def save(self) -> None:
        """Write `model.json` into the model's folder."""
        facts = {
            "format": FORMAT,
            "inputs": self.inputs.to_json(),
            "output": self.output.to_json(),
            "architecture": asdict(self.architecture),
            "tiling": asdict(self.tiling),
            "provenance": dict(self.provenance),
        }
        write_json(self.folder / "model.json", facts)


def load_model(path: Path | str) -> MapModel:
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
        return MapModel(
            inputs=Inputs.from_json(facts["inputs"]),
            output=Classes.from_json(facts["output"]),
            architecture=Architecture(**facts["architecture"]),
            tiling=Tiling(**facts["tiling"]),
            provenance=facts["provenance"],
            folder=folder,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"{folder / 'model.json'} is damaged ({error!r}). Train again, or copy the model anew."
        ) from None


def _why(path: Path) -> str:
    if not path.exists():
        return "no such folder. Name a run of `sat2map train`, or its model folder."
    if (path / "checkpoints").is_dir():
        return "the run is not finished. Go on with `sat2map train SOURCE RUN --resume`."
    return "no model.json. Name a run of `sat2map train`, or its model folder."
