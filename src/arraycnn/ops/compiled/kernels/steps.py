"""The first and the last launch of a recorded training step: what differs from step to step is read
from tables, at a cursor that the last launch moves on."""

from __future__ import annotations

import numpy as np
from numba import carray, njit

from arraycnn.ops.compiled.kernels.pointers import integers, numbers, pointer, real


@njit(error_model="numpy")
def begin_step(block, words, scratch):  # type: ignore[no-untyped-def]
    """Indices, rows and labels of the batch, the step's number and its learning rate."""
    order, all_rows, all_labels = integers(words, 0), integers(words, 1), integers(words, 2)
    place, batch = integers(words, 5)[0], words[11]
    indices, rows, labels = integers(words, 6), integers(words, 7), integers(words, 8)
    for n in range(batch):
        index = order[place * batch + n]
        indices[n], rows[n], labels[n] = index, all_rows[place * batch + n], all_labels[index]
    integers(words, 9)[0] = integers(words, 3)[place]
    numbers(words, 10, scratch)[0] = numbers(words, 4, scratch)[place]


@njit(error_model="numpy")
def finish_step(block, words, scratch):  # type: ignore[no-untyped-def]
    """Note the step's results, and go on to the next."""
    cursor = integers(words, 2)
    place, batch = cursor[0], scratch.dtype.type(words[5])
    numbers(words, 3, scratch)[place] = numbers(words, 0, scratch)[0] / batch
    integers(words, 4)[place] = integers(words, 1)[0]
    cursor[0] = place + 1


@njit(error_model="numpy")
def gather_rescale(block, words, scratch):  # type: ignore[no-untyped-def]
    """Rows of a uint8 set as x / 255 - 0.5; ``per`` images a block, all in order where no rows."""
    size, images, per, sets = words[3], words[4], words[5], words[6]
    source = carray(pointer(words[0], np.uint8), (sets, size))
    target = carray(real(words, 2, scratch), (images, size))
    kind = scratch.dtype.type
    for n in range(block * per, min(images, (block + 1) * per)):
        row = np.int64(n)
        if words[1] != 0:
            row = np.int64(integers(words, 1)[n])
        pixels, rescaled = source[row], target[n]
        for i in range(size):
            rescaled[i] = kind(pixels[i]) / kind(255.0) - kind(0.5)


@njit(error_model="numpy")
def gather(block, words, scratch):  # type: ignore[no-untyped-def]
    """Rows of a set of numbers."""
    size, images, per, sets = words[3], words[4], words[5], words[6]
    source = carray(real(words, 0, scratch), (sets, size))
    rows = integers(words, 1)
    target = carray(real(words, 2, scratch), (images, size))
    for n in range(block * per, min(images, (block + 1) * per)):
        target[n] = source[rows[n]]
