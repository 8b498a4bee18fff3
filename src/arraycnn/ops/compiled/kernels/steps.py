"""The first and the last launch of a recorded training step: what differs from step to step is read
from tables, at a cursor that the last launch moves on."""

from __future__ import annotations

from arraycnn.ops.compiled.kernels.pointers import numbers
from arraycnn.ops.compiled.launch_struct import Int32s, LaunchStruct, Reals
from arraycnn.ops.compiled.translation.functions import compiled


class BeginStep(LaunchStruct):
    """The tables of a training and all labels; then what of them is this step's."""

    order: Int32s
    all_rows: Int32s
    all_labels: Int32s
    steps: Int32s
    rates: Reals
    cursor: Int32s
    indices: Int32s
    rows: Int32s
    labels: Int32s
    step: Int32s
    rate: Reals
    batch: int


@compiled
def begin_step(block, launch: BeginStep, scratch):  # type: ignore[no-untyped-def]
    """Indices, rows and labels of the batch, the step's number and its learning rate."""
    order, all_rows = numbers(launch.order), numbers(launch.all_rows)
    all_labels = numbers(launch.all_labels)
    place, batch = numbers(launch.cursor)[0], launch.batch
    indices, rows, labels = numbers(launch.indices), numbers(launch.rows), numbers(launch.labels)
    for n in range(batch):
        index = order[place * batch + n]
        indices[n], rows[n], labels[n] = index, all_rows[place * batch + n], all_labels[index]
    numbers(launch.step)[0] = numbers(launch.steps)[place]
    numbers(launch.rate)[0] = numbers(launch.rates)[place]


class FinishStep(LaunchStruct):
    """The step's results, and the tables of a training that take them."""

    loss_sum: Reals
    correct: Int32s
    cursor: Int32s
    losses: Reals
    correct_counts: Int32s
    batch: int


@compiled
def finish_step(block, launch: FinishStep, scratch):  # type: ignore[no-untyped-def]
    """Note the step's results, and go on to the next."""
    cursor = numbers(launch.cursor)
    place, batch = cursor[0], scratch.dtype.type(launch.batch)
    numbers(launch.losses)[place] = numbers(launch.loss_sum)[0] / batch
    numbers(launch.correct_counts)[place] = numbers(launch.correct)[0]
    cursor[0] = place + 1
