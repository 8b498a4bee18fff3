"""The operations with kernels of their own, as a layer calls them while it is traced."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from arraycnn.ops import GENERIC, Kernels, Window, generic
from arraycnn.ops.max_pool2d import has_kernel
from arraycnn.program.nodes import Node
from arraycnn.program.trace import Traced, recorder


def _parts(head: Traced, *results: Traced | Node | None) -> tuple[Traced | None, ...]:
    """The results of a head, with the shapes and dtypes of other arrays; None where there is none."""
    return tuple(
        None
        if like is None
        else recorder().note("part", (head.node,), (number,), like.shape, like.dtype)
        for number, like in enumerate(results)
    )


def _nodes(*arrays: Traced | None) -> tuple[Node, ...]:
    return tuple(array.node for array in arrays if array is not None)


def _dense(ops: Kernels, x: Traced, weight: Traced, bias: Traced | None) -> Traced:
    shape = (x.shape[0], weight.shape[1])
    return recorder().note("dense", _nodes(x, weight, bias), (), shape, x.dtype)


def _dense_backward(
    ops: Kernels, x: Traced, weight: Traced, dy: Traced, need_dx: bool
) -> tuple[Traced | None, ...]:
    head = recorder().note("dense_backward", _nodes(x, weight, dy), (need_dx,), x.shape, x.dtype)
    dbias = _like((weight.shape[1],), x)
    return _parts(head, x if need_dx else None, weight, dbias)


def _conv2d(ops: Kernels, x: Traced, weight: Traced, bias: Traced | None, window: Window) -> Traced:
    shape = (x.shape[0], *window.output_shape(x.shape[1], x.shape[2]), weight.shape[3])
    return recorder().note("conv2d", _nodes(x, weight, bias), (window,), shape, x.dtype)


def _conv2d_backward(
    ops: Kernels, x: Traced, weight: Traced, dy: Traced, window: Window, need_dx: bool
) -> tuple[Traced | None, ...]:
    attrs = (window, need_dx)
    head = recorder().note("conv2d_backward", _nodes(x, weight, dy), attrs, x.shape, x.dtype)
    return _parts(head, x if need_dx else None, weight, _like((weight.shape[3],), x))


def _max_pool2d(x: Traced, window: Window, ties: str) -> tuple[Traced | None, ...]:
    if not has_kernel(window, ties):
        return generic.max_pool2d(x, window, ties)
    shape = (x.shape[0], *window.output_shape(x.shape[1], x.shape[2]), x.shape[3])
    head = recorder().note("max_pool2d", (x.node,), (window, ties), shape, x.dtype)
    return _parts(head, head, Node("full", (), (0,), shape, np.dtype(np.uint8)))


def _max_pool2d_backward(
    dy: Traced, winners: Traced, input_shape: tuple[int, ...], window: Window, ties: str
) -> Traced:
    if not has_kernel(window, ties):
        return generic.max_pool2d_backward(dy, winners, input_shape, window, ties)
    attrs = (tuple(input_shape), window, ties)
    nodes = _nodes(dy, winners)
    return recorder().note("max_pool2d_backward", nodes, attrs, tuple(input_shape), dy.dtype)


def _like(shape: tuple[int, ...], x: Traced) -> Node:
    return Node("full", (), (0,), shape, x.dtype)


HEADS = replace(
    GENERIC,
    dense=_dense,
    dense_backward=_dense_backward,
    conv2d=_conv2d,
    conv2d_backward=_conv2d_backward,
    max_pool2d=_max_pool2d,
    max_pool2d_backward=_max_pool2d_backward,
)
"""What is traced as a head; all else is traced through the generic kernels."""
