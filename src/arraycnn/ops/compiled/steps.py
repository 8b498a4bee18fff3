"""Launch code of the first and the last kernel of a recorded training step."""

import numpy as np

from arraycnn.ops.compiled.kernels import steps as kernels
from arraycnn.ops.compiled.launcher import Launcher
from arraycnn.ops.step_tables import StepTables


def begin_step(
    launcher: Launcher, tables: StepTables, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The step's (indices (batch,), rows (batch,), labels (batch,), number (1,), rate ())."""
    indices, rows, batch_labels = (launcher.empty((tables.batch,), "int32") for _ in range(3))
    step = launcher.empty((1,), "int32")
    rate = launcher.empty((), tables.rates.dtype)
    launcher.launch(
        *(kernels.begin_step, 1),
        *(tables.order, tables.rows, labels, tables.steps, tables.rates, tables.cursor),
        *(indices, rows, batch_labels, step, rate, tables.batch),
        like=tables.rates,
    )
    return indices, rows, batch_labels, step, rate


def finish_step(
    launcher: Launcher, tables: StepTables, loss_sum: np.ndarray, correct: np.ndarray
) -> None:
    """Note the step's results, and go on to the next."""
    words = (loss_sum, correct, tables.cursor, tables.losses, tables.correct_counts, tables.batch)
    launcher.launch(kernels.finish_step, 1, *words, like=tables.rates)
