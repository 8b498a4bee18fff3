"""The first and the last launch of a recorded training step: what differs from step to step is read
from tables, at a cursor that the last launch moves on."""

from __future__ import annotations

from arraycnn.ops.compiled.kernels.pointers import integers, numbers
from arraycnn.ops.compiled.translation.functions import compiled


@compiled
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


@compiled
def finish_step(block, words, scratch):  # type: ignore[no-untyped-def]
    """Note the step's results, and go on to the next."""
    cursor = integers(words, 2)
    place, batch = cursor[0], scratch.dtype.type(words[5])
    numbers(words, 3, scratch)[place] = numbers(words, 0, scratch)[0] / batch
    integers(words, 4)[place] = integers(words, 1)[0]
    cursor[0] = place + 1
