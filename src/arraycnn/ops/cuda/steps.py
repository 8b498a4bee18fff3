"""Launch code of steps.cu, for the plan that records training steps."""

from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.launcher import WARP, Launcher, blocks, c_name
from arraycnn.ops.step_tables import StepTables

_THREADS = 256


def begin_step(
    launcher: Launcher, tables: StepTables, labels: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """The step's (indices (batch,), rows (batch,), labels (batch,), number (1,), rate ())."""
    indices, rows, batch_labels = (launcher.empty((tables.batch,), "int32") for _ in range(3))
    step = launcher.empty((1,), "int32")
    rate = launcher.empty((), tables.rates.dtype)
    launcher.launch(
        "steps",
        f"begin_step<{c_name(rate)}>",
        (blocks(tables.batch, _THREADS),),
        (_THREADS,),
        (
            *(tables.order, tables.rows, labels, tables.steps, tables.rates, tables.cursor),
            *(indices, rows, batch_labels, step, rate, tables.batch),
        ),
    )
    return indices, rows, batch_labels, step, rate


def finish_step(launcher: Launcher, tables: StepTables, loss_sum: Array, correct: Array) -> None:
    """Note the step's results, and go on to the next."""
    launcher.launch(
        "steps",
        f"finish_step<{c_name(loss_sum)}>",
        (1,),
        (WARP,),
        (loss_sum, correct, tables.cursor, tables.losses, tables.correct_counts, tables.batch),
    )
