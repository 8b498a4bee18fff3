"""Launch code of softmax and its cross-entropy."""

from __future__ import annotations

import numpy as np

from arraycnn.ops import generic
from arraycnn.ops.compiled.kernels import loss as kernels
from arraycnn.ops.compiled.launcher import ELEMENTS, Launcher, check_integers


def softmax(launcher: Launcher, x: np.ndarray) -> np.ndarray:
    (x,) = launcher.floating("softmax", x)
    if x.ndim != 2:
        return generic.softmax(x)
    y, per = launcher.empty(x.shape, x.dtype), _rows_a_block(x)
    launcher.launch(kernels.softmax, -(-x.shape[0] // per), x, y, *x.shape, per, like=x)
    return y


def softmax_cross_entropy(
    launcher: Launcher, logits: np.ndarray, labels: np.ndarray, batch_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    (logits,) = launcher.floating("softmax_cross_entropy", logits)
    check_integers("softmax_cross_entropy", labels)
    labels = launcher.contiguous(labels)
    per = _rows_a_block(logits)
    blocks = -(-logits.shape[0] // per)
    dlogits = launcher.empty(logits.shape, logits.dtype)
    losses, hits = launcher.empty((blocks,), "float64"), launcher.empty((blocks,), "int32")
    loss_sum, correct = launcher.empty((), logits.dtype), launcher.empty((), "int32")
    words = (logits, labels, dlogits, losses, hits, *logits.shape, per, batch_size)
    launcher.launch(kernels.softmax_cross_entropy, blocks, *words, like=logits)
    launcher.launch(kernels.sum_losses, 1, losses, hits, loss_sum, correct, blocks, like=logits)
    return loss_sum, dlogits, correct


def _rows_a_block(logits: np.ndarray) -> int:
    return max(1, ELEMENTS // 16 // max(1, logits.shape[1]))
