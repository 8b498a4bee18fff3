"""What is traced as one node for ONNX: the kernels that ONNX has as one operation.

A layer asks for kernels by `Context.ops`. The record here notes them as they are called, where those
that the plans trace with know only what has kernels of its own (`arraycnn.program.heads`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from arraycnn.ops import Kernels, Window, generic
from arraycnn.ops import batch_norm as batch_norms
from arraycnn.ops.conv2d import grouped
from arraycnn.program.heads import HEADS
from arraycnn.program.trace import Traced, recorder


def _noted(op: str, given: list[Traced | None], attrs: tuple, shape: tuple[int, ...]) -> Traced:
    nodes = [array.node for array in given if array is not None]
    return recorder().note(op, tuple(nodes), attrs, shape, nodes[0].dtype)


def _is_plain(*given: Traced | None) -> bool:
    """Whether all are of one floating dtype, which ONNX's operations ask for."""
    kinds = {array.dtype for array in given if array is not None}
    return len(kinds) == 1 and kinds.pop().kind == "f"


def _pooled(x: Traced, window: Window) -> tuple[int, ...]:
    return (x.shape[0], *window.output_shape(x.shape[1], x.shape[2]), x.shape[3])


def _has_pool(x: Traced, window: Window) -> bool:
    return _is_plain(x) and window.dilation == (1, 1) and not any(window.padding)


def _max_pool2d(x: Traced, window: Window, ties: str) -> tuple[Traced, Any]:
    # The winners are traced as they are written: nobody reads them in inference, and they are dead.
    y, winners = generic.max_pool2d(x, window, ties)
    if not _has_pool(x, window):
        return y, winners
    head = _noted("max_pool2d", [x], (window, ties), _pooled(x, window))
    return recorder().note("part", (head.node,), (0,), head.shape, head.dtype), winners


def _avg_pool2d(x: Traced, window: Window) -> Traced:
    if not _has_pool(x, window):
        return generic.avg_pool2d(x, window)
    return _noted("avg_pool2d", [x], (window,), _pooled(x, window))


def _grouped_conv2d(
    ops: Kernels, x: Traced, weight: Traced, bias: Traced | None, window: Window
) -> Traced:
    if not _is_plain(x, weight, bias):
        return grouped.grouped_conv2d(HEADS, x, weight, bias, window)
    shape = (*_pooled(x, window)[:3], weight.shape[3])
    return _noted("grouped_conv2d", [x, weight, bias], (window,), shape)


def _batch_norm(
    x: Traced,
    weight: Traced,
    bias: Traced,
    running: tuple[Traced, Traced],
    momentum: float,
    epsilon: float,
    trains: bool,
) -> tuple[Traced, Any, Any]:
    given = (x, weight, bias, running, momentum, epsilon, trains)
    y, new, residuals = batch_norms.batch_norm(*given)
    if trains or not _is_plain(x, weight, bias, *running):
        return y, new, residuals
    return _noted("batch_norm", [x, weight, bias, *running], (epsilon,), x.shape), new, residuals


def _softmax(x: Traced) -> Traced:
    return _noted("softmax", [x], (), x.shape) if _is_plain(x) else generic.softmax(x)


def _col2im(columns: Traced, input_shape: tuple[int, ...], window: Window) -> Traced:
    if not _is_plain(columns):
        return generic.col2im(columns, input_shape, window)
    return _noted("col2im", [columns], (window,), tuple(input_shape))


ONNX_HEADS = replace(
    HEADS,
    max_pool2d=_max_pool2d,
    avg_pool2d=_avg_pool2d,
    grouped_conv2d=_grouped_conv2d,
    batch_norm=_batch_norm,
    softmax=_softmax,
    col2im=_col2im,
)
"""What is traced as a head for ONNX; all else is traced as it is written."""
