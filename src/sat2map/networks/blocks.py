"""The blocks of a network, and what flows from which to which, found by one image going through."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from sat2map.networks import count_parameters

LEVELS = 3
"""A module whose parts give images of so many sizes is drawn by its parts; others are one block."""

Shape = tuple[int, int, int]


@dataclass
class Block:
    """A part of a network that is drawn as one box.

    Args:
        name: Its name in the network.
        kind: Its class.
        shape: Channels, height and width of its output.
        parameters: How many of them are learnt.
        sources: Numbers of the blocks whose output it is given.
        count: How many equal blocks in a row it stands for.
    """

    name: str
    kind: str
    shape: Shape
    parameters: int
    sources: list[int]
    count: int = 1


@dataclass
class _Call:
    """A module at work: what it is given and makes, as shapes and as nodes of the graph of gradients."""

    name: str
    module: nn.Module
    given: list[Any] = field(default_factory=list)
    given_shapes: list[Shape] = field(default_factory=list)
    made: list[Any] = field(default_factory=list)
    made_shapes: list[Shape] = field(default_factory=list)
    parts: list[_Call] = field(default_factory=list)

    @property
    def shape(self) -> Shape:
        """Shape of the last of its outputs: of several levels the deepest."""
        return self.made_shapes[-1] if self.made_shapes else (1, 1, 1)

    @property
    def is_light(self) -> bool:
        """Whether it is a layer that mixes no channels: activation, normalisation, dropout."""
        return not self.parts and all(p.ndim < 2 for p in self.module.parameters())


def trace_blocks(network: nn.Module, bands: int, size: int) -> list[Block]:
    """Return the blocks of a network in the order in which they compute, the first one being the image.

    Equal blocks that follow each other are one, and activations belong to what they follow.

    Args:
        network: It is left as it is.
        bands: Bands of the image.
        size: Side in pixels of the image.
    """
    network = copy.deepcopy(network).eval()
    device = next(network.parameters()).device
    with torch.enable_grad():
        x_NCHW = torch.zeros(1, bands, size, size, device=device, requires_grad=True).clone()
        image = _Call("image", nn.Identity(), made=[x_NCHW.grad_fn], made_shapes=[_shape(x_NCHW)])
        root = _watched(network, x_NCHW)
    blocks: list[Block] = []
    origin: dict[Any, int] = {}  # which block a node of the graph of gradients is the output of
    while len(root.parts) == 1:
        root = root.parts[0]
    for call in (image, *(block for part in root.parts or [root] for block in _drawn(part))):
        sources = sorted(_sources(call.given, origin))
        if not (len(sources) == 1 and _joins(call, blocks[sources[0]], last=sources[0] == len(blocks) - 1)):
            kind = type(call.module).__name__
            name = call.name.removeprefix(f"{root.name}.")
            blocks.append(Block(name, kind, call.shape, count_parameters(call.module), sources))
            sources = [len(blocks) - 1]
        origin |= dict.fromkeys(call.made, sources[0])
    return blocks


def _watched(network: nn.Module, x_NCHW: torch.Tensor) -> _Call:
    """Return the call of a network with all calls inside it; its modules keep their hooks."""
    top = _Call("", nn.Identity())
    stack = [top]

    def enter(module: nn.Module, args: Any, keywords: Any) -> None:
        tensors = list(_tensors((args, keywords)))
        call = _Call(names[module], module, [t.grad_fn for t in tensors], [_shape(t) for t in tensors])
        stack[-1].parts.append(call)
        stack.append(call)

    def leave(_: nn.Module, __: Any, output: Any) -> None:
        call, tensors = stack.pop(), list(_tensors(output))
        call.made, call.made_shapes = [t.grad_fn for t in tensors], [_shape(t) for t in tensors]

    names = {module: name for name, module in network.named_modules()}
    for module in names:
        module.register_forward_pre_hook(enter, with_kwargs=True)
        module.register_forward_hook(leave)
    network(x_NCHW)
    return top.parts[0]


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, (list, tuple, dict)):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _tensors(value)


def _shape(tensor: torch.Tensor) -> Shape:
    """Return channels, height and width, also of the tokens `(N, H * W, C)` of transformers."""
    if tensor.ndim == 4:
        channels, height, width = tensor.shape[1:]
        return channels, height, width
    side = math.isqrt(tensor[0, ..., 0].numel()) if tensor.ndim == 3 else 1
    return tensor.shape[-1] if tensor.ndim else 1, side, side


def _has_levels(call: _Call) -> bool:
    """Tell whether images of several sizes are made inside; blocks that keep the size do not count (attention)."""
    if call.given_shapes == call.made_shapes:
        return False
    sizes = {part.shape[1:] for part in call.parts} - {(1, 1)}
    return len(sizes) >= LEVELS or any(_has_levels(part) for part in call.parts)


def _drawn(call: _Call) -> list[_Call]:
    return [block for part in call.parts for block in _drawn(part)] if _has_levels(call) else [call]


def _sources(nodes: Iterable[Any], origin: dict[Any, int]) -> set[int]:
    """Return the blocks that nodes of the graph of gradients come from, whatever was done in between."""
    found, seen, waiting = set(), set(), list(nodes)
    while waiting:
        node = waiting.pop()
        if node in origin:
            found.add(origin[node])
        elif node is not None and node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
    return found


def _joins(call: _Call, block: Block, *, last: bool) -> bool:
    """Tell whether a call is part of the block it follows, and add it there if so."""
    parameters = count_parameters(call.module)
    repeats = last and block.kind == type(call.module).__name__ and block.parameters == block.count * parameters
    if call.shape != block.shape or not block.sources or not (call.is_light or repeats):
        return False
    block.parameters += parameters
    block.count += repeats
    return True
