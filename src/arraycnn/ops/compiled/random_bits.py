"""Launch code of dropout."""

from __future__ import annotations

import numpy as np

from arraycnn.ops.compiled.kernels import random_bits as kernels
from arraycnn.ops.compiled.launcher import ELEMENTS, Launcher, check_integers
from arraycnn.ops.generic import dropout_threshold
from arraycnn.ops.kernels import Kernels


def dropout(
    launcher: Launcher, ops: Kernels, x: np.ndarray, rate: float, seed: np.ndarray,
    step: np.ndarray, layer: int, indices: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    (x,) = launcher.floating("dropout", x)
    check_integers("dropout", seed, step, indices)
    y, keep = launcher.empty(x.shape, x.dtype), launcher.empty(x.shape, "bool")
    images = x.shape[0]
    count = x.size // max(images, 1)
    words = (x, y, keep, seed, step, indices, count, layer, dropout_threshold(rate))
    launcher.launch(kernels.dropout, images, *words, 1.0 - rate, like=x)
    return y, keep


def dropout_backward(
    launcher: Launcher, dy: np.ndarray, keep: np.ndarray, rate: float
) -> np.ndarray:
    (dy,) = launcher.floating("dropout_backward", dy)
    keep = launcher.contiguous(keep)
    dx = launcher.empty(dy.shape, dy.dtype)
    words = (dy, keep, dx, dy.size, ELEMENTS, 1.0 - rate)
    launcher.launch(kernels.dropout_backward, -(-dy.size // ELEMENTS), *words, like=dy)
    return dx
