"""A row for each layer that came after the table was made, and for a user's own.

From a row follow: the forward pass against its plain loops; finite differences; PyTorch's autograd of
the module that the layer names, JAX's of the layer; every array library; tracing
(`layers/test_layers.py`, `program/`); ONNX and PyTorch files (`test_export_*.py`); training on
every backend, files, resuming, the summary, fused loops (`test_extending.py`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import arraycnn as cnn
import outside
from arraycnn.layers import LAYERS


@dataclass(frozen=True)
class Row:
    """A layer that takes images of 4 channels.

    Attributes
    ----------
    layer : Layer
    by_loops : callable
        Its output from (layer, params, x), float64: plain loops over its definition.
    """

    layer: cnn.Layer
    by_loops: Callable


def each(function):
    """``function(layer, number)`` of each number."""
    return lambda layer, params, x: np.array([function(layer, v) for v in x.ravel()]).reshape(
        x.shape
    )


def rms_norm(layer, params, x):
    y = np.zeros_like(x)
    for place in np.ndindex(x.shape[:-1]):
        root = math.sqrt(math.fsum(v * v for v in x[place]) / x.shape[-1] + 1e-6)
        y[place] = [v / root * s for v, s in zip(x[place], params["scale"], strict=True)]
    return y


def gelu_tanh(layer, v):
    return v / 2 * (1 + math.tanh((v + 0.044715 * v**3) * (2 / math.pi) ** 0.5))


def group_norm(layer, params, x):
    y, size = np.zeros_like(x), x.shape[3] // layer.groups
    for n, g in np.ndindex(x.shape[0], layer.groups):
        part = (n, slice(None), slice(None), slice(g * size, (g + 1) * size))
        normal = (x[part] - np.mean(x[part])) / math.sqrt(np.var(x[part]) + layer.epsilon)
        y[part] = normal * params["weight"][part[3]] + params["bias"][part[3]]
    return y


ROWS = [
    Row(cnn.LeakyReLU(0.2), each(lambda layer, v: v if v > 0 else layer.slope * v)),
    Row(cnn.GELUTanh(), each(gelu_tanh)),
    Row(cnn.SiLU(), each(lambda layer, v: v / (1 + math.exp(-v)))),
    Row(cnn.ELU(0.7), each(lambda layer, v: v if v > 0 else layer.alpha * (math.exp(v) - 1))),
    Row(cnn.Hardswish(), each(lambda layer, v: v * min(max(v + 3, 0), 6) / 6)),
    Row(cnn.Tanh(), each(lambda layer, v: math.tanh(v))),
    Row(cnn.Sigmoid(), each(lambda layer, v: 1 / (1 + math.exp(-v)))),
    Row(cnn.GroupNorm(2), group_norm),
    Row(outside.Squareplus(2.0), each(lambda layer, v: (v + math.hypot(v, layer.b**0.5)) / 2)),
    Row(outside.RMSNorm(), rms_norm),
]
ROW_OF = {type(row.layer): row for row in ROWS}
USERS = [type(row.layer) for row in ROWS if type(row.layer) not in LAYERS.values()]
