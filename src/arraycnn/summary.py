"""The table of a network: its layers, their output shapes, their parameters."""

from dataclasses import dataclass

import numpy as np

from arraycnn.layers import Sequential
from arraycnn.layers.layer import Layer, Shape, with_n
from arraycnn.tree import leaves


@dataclass(frozen=True)
class Row:
    """A layer: its path such as "3.0", how it was written, its output without N, its size."""

    path: str
    layer: str
    output_shape: Shape
    parameters: int


def rows(network: Layer, input_shape: Shape, prefix: str = "") -> list[Row]:
    """The layers of ``network`` in order; a Sequential inside is laid open."""
    if not isinstance(network, Sequential):
        params, _, shape = network.init(np.random.default_rng(0), input_shape)
        count = sum(leaf.size for leaf in leaves(params))
        return [Row(prefix or "0", repr(network), shape, count)]
    result: list[Row] = []
    shape = input_shape
    for position, layer in enumerate(network.layers):
        path = f"{prefix}.{position}" if prefix else str(position)
        result += rows(layer, shape, path)
        shape = result[-1].output_shape
    return result


def table(network: Layer, input_shape: Shape) -> str:
    """`rows` as text, with the total number of parameters below."""
    entries = rows(network, input_shape)
    cells = [("", "layer", "output", "parameters"), ("", "input", with_n(input_shape), "")]
    cells += [(r.path, r.layer, with_n(r.output_shape), f"{r.parameters:,}") for r in entries]
    total = sum(r.parameters for r in entries)
    cells.append(("", "total", "", f"{total:,}"))
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    return "\n".join(
        f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}".rstrip()
        for a, b, c, d in cells
    )
