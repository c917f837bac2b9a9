"""A network as a table to read."""

from __future__ import annotations

from torch import nn
from torchinfo import summary


def summary_table(network: nn.Module, bands: int, size: int) -> str:
    """Return the table of `sat2map.networks.network_summary`."""
    columns = ("output_size", "num_params", "kernel_size")
    device = next(network.parameters()).device
    depth = _wrappings(network) + 2  # parts of the network itself, and theirs
    shape = (1, bands, size, size)
    table = summary(network, shape, depth=depth, col_names=columns, verbose=0, mode="eval", device=device)
    return str(table)


def _wrappings(network: nn.Module) -> int:
    """Return how many modules hold but one other each, from the outermost on."""
    children = list(network.children())
    return 1 + _wrappings(children[0]) if len(children) == 1 else 0
