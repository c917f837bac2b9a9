"""A network as a table to read."""

from __future__ import annotations

from torch import nn
from torchinfo import summary


def summary_table(network: nn.Module, bands: int, size: int) -> str:
    """Return the table of `sat2map.networks.network_summary`."""
    columns = ("output_size", "num_params", "kernel_size")
    device = next(network.parameters()).device
    table = summary(network, (1, bands, size, size), depth=3, col_names=columns, verbose=0, mode="eval", device=device)
    return str(table)
