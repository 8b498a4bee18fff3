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
    launch = kernels.BeginStep(
        order=tables.order, all_rows=tables.rows, all_labels=labels, steps=tables.steps,
        rates=tables.rates, cursor=tables.cursor, indices=indices, rows=rows, labels=batch_labels,
        step=step, rate=rate, batch=tables.batch,
    )  # fmt: skip
    launcher.launch(kernels.begin_step, 1, launch, like=tables.rates)
    return indices, rows, batch_labels, step, rate


def finish_step(
    launcher: Launcher, tables: StepTables, loss_sum: np.ndarray, correct: np.ndarray
) -> None:
    """Note the step's results, and go on to the next."""
    launch = kernels.FinishStep(
        loss_sum=loss_sum, correct=correct, cursor=tables.cursor, losses=tables.losses,
        correct_counts=tables.correct_counts, batch=tables.batch,
    )  # fmt: skip
    launcher.launch(kernels.finish_step, 1, launch, like=tables.rates)
