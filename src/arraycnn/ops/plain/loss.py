"""Softmax and its cross-entropy."""

from __future__ import annotations

import numpy as np

from arraycnn.ops import generic
from arraycnn.ops.host_launcher import check_arrays
from arraycnn.ops.plain.launcher import Launcher


def softmax(launcher: Launcher, x: np.ndarray) -> np.ndarray:
    """See `arraycnn.ops.generic.softmax`."""
    check_arrays("softmax", x)
    y = launcher.empty(x.shape, x.dtype)
    launcher.call(_softmax, x, y)
    return y


def _softmax(x: np.ndarray, y: np.ndarray) -> None:
    y[...] = generic.softmax(x)


def softmax_cross_entropy(
    launcher: Launcher, logits: np.ndarray, labels: np.ndarray, batch_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See `arraycnn.ops.generic.softmax_cross_entropy`."""
    check_arrays("softmax_cross_entropy", logits, labels)
    call, empty, dtype = launcher.call, launcher.empty, logits.dtype
    logits = launcher.contiguous(logits)
    rows, classes = logits.shape
    loss_sum, correct = empty((), dtype), empty((), np.int32)
    shifted, dlogits = empty(logits.shape, dtype), empty(logits.shape, dtype)
    largest, total, at_label = (empty((rows, 1), dtype) for _ in range(3))
    # Where the labels' numbers are in an array without rows.
    places, starts = empty((rows,), np.intp), np.arange(rows) * classes
    predicted, hits = empty((rows,), np.intp), empty((rows,), np.bool_)
    call(np.add, labels, starts, out=places)

    call(np.maximum.reduce, logits, axis=1, keepdims=True, out=largest)
    call(np.subtract, logits, largest, out=shifted)
    call(np.exp, shifted, out=dlogits)
    call(np.add.reduce, dlogits, axis=1, keepdims=True, out=total)
    call(np.divide, dlogits, total, out=dlogits)
    call(np.log, total, out=total)
    call(shifted.take, places[:, None], out=at_label, mode="clip")
    call(np.subtract, total, at_label, out=at_label)
    call(np.add.reduce, at_label, axis=(0, 1), out=loss_sum)

    call(dlogits.take, places[:, None], out=at_label, mode="clip")
    call(np.subtract, at_label, 1.0, out=at_label)
    call(dlogits.put, places[:, None], at_label, mode="clip")
    call(np.divide, dlogits, float(batch_size), out=dlogits)

    call(logits.argmax, axis=1, out=predicted)
    call(np.equal, predicted, labels, out=hits)
    call(np.add.reduce, hits, dtype=np.int32, out=correct)
    return loss_sum, dlogits, correct
