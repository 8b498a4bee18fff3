"""The first and the last call of a recorded training step."""

from __future__ import annotations

import numpy as np

from arraycnn.ops.numpy.launcher import Launcher
from arraycnn.ops.step_tables import StepTables


def begin_step(
    launcher: Launcher, tables: StepTables, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The step's (indices (batch,), rows (batch,), labels (batch,), number (1,), rate ())."""
    indices, batch_labels = (launcher.empty((tables.batch,), "int32") for _ in range(2))
    rows = launcher.empty((tables.batch,), np.intp)  # what NumPy makes of others each time
    step, rate = launcher.empty((1,), "int32"), launcher.empty((), tables.rates.dtype)
    launcher.call(_begin, tables, indices, rows, step, rate)
    launcher.call(labels.take, indices, out=batch_labels, mode="clip")
    return indices, rows, batch_labels, step, rate


def _begin(
    tables: StepTables, indices: np.ndarray, rows: np.ndarray, step: np.ndarray, rate: np.ndarray
) -> None:
    place = tables.cursor.item()
    part = slice(place * tables.batch, (place + 1) * tables.batch)
    indices[:] = tables.order[part]
    rows[:] = tables.rows[part]
    step[0] = tables.steps[place]
    rate[()] = tables.rates[place]


def finish_step(
    launcher: Launcher, tables: StepTables, loss_sum: np.ndarray, correct: np.ndarray
) -> None:
    """Note the step's results, and go on to the next."""
    launcher.call(_finish, tables, loss_sum, correct)


def _finish(tables: StepTables, loss_sum: np.ndarray, correct: np.ndarray) -> None:
    place = tables.cursor.item()
    tables.losses[place] = loss_sum.item() / tables.batch
    tables.correct_counts[place] = correct.item()
    tables.cursor[0] = place + 1
