"""Softmax and its cross-entropy."""

from __future__ import annotations

import numpy as np
from numba import carray, njit

from arraycnn.ops.compiled.kernels.pointers import integers, numbers, pointer, real


@njit(error_model="numpy")
def _largest(row):  # type: ignore[no-untyped-def]
    """The first of the largest, as argmax has it, and its place; a NaN is larger than all."""
    largest, place = row[0], 0
    for k in range(1, row.shape[0]):
        if row[k] > largest or (row[k] != row[k] and largest == largest):
            largest, place = row[k], k
    return largest, place


@njit(error_model="numpy")
def softmax(block, words, scratch):  # type: ignore[no-untyped-def]
    """Probabilities of ``per`` rows a block."""
    rows, classes, per = words[2], words[3], words[4]
    x = carray(real(words, 0, scratch), (rows, classes))
    y = carray(real(words, 1, scratch), (rows, classes))
    for n in range(block * per, min(rows, (block + 1) * per)):
        largest, _ = _largest(x[n])
        total = scratch.dtype.type(0)
        for k in range(classes):
            y[n, k] = np.exp(x[n, k] - largest)
            total += y[n, k]
        for k in range(classes):
            y[n, k] /= total


@njit(error_model="numpy")
def softmax_cross_entropy(block, words, scratch):  # type: ignore[no-untyped-def]
    """dlogits of ``per`` rows a block, and the block's part of the loss and of the hits."""
    rows, classes, per, batch_size = words[5], words[6], words[7], words[8]
    logits = carray(real(words, 0, scratch), (rows, classes))
    labels = integers(words, 1)
    dlogits = carray(real(words, 2, scratch), (rows, classes))
    kind = scratch.dtype.type
    loss, correct = 0.0, 0
    for n in range(block * per, min(rows, (block + 1) * per)):
        row, out, label = logits[n], dlogits[n], labels[n]
        largest, place = _largest(row)
        total = kind(0)
        for k in range(classes):
            out[k] = np.exp(row[k] - largest)
            total += out[k]
        for k in range(classes):
            hit = kind(1) if k == label else kind(0)
            out[k] = (out[k] / total - hit) / kind(batch_size)
        loss -= row[label] - largest - np.log(total)
        correct += place == label
    carray(pointer(words[3], np.float64), block + 1)[block] = loss
    integers(words, 4)[block] = correct


@njit(error_model="numpy")
def sum_losses(block, words, scratch):  # type: ignore[no-untyped-def]
    """The sums of all blocks of `softmax_cross_entropy`."""
    count = words[4]
    losses, hits = carray(pointer(words[0], np.float64), count), integers(words, 1)
    loss, correct = 0.0, 0
    for number in range(count):
        loss += losses[number]
        correct += hits[number]
    numbers(words, 2, scratch)[0] = loss
    integers(words, 3)[0] = correct
