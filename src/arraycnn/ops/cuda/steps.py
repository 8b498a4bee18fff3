"""Launch code of steps.cu, for the plan that records training steps."""

from dataclasses import dataclass

from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.launcher import WARP, Launcher, blocks, c_name

_THREADS = 256


@dataclass(frozen=True)
class StepTables:
    """What K steps of one batch size read and write on the device.

    Attributes
    ----------
    order : array, (K * batch,), int32
        Each step's images, as positions in the data set.
    rows : array, (K * batch,), int32
        Where those images are found: in the data set, or in the part of it that was sent.
    steps : array, (K,), int32
        Each step's number, for the random bits.
    rates : array, (K,), floating
        Learning rates.
    cursor : array, (1,), int32
        Which of the K steps comes next.
    losses : array, (K,), floating; hits : array, (K,), int32
        Each step's mean loss and number of correct images: the results.
    batch : int
    """

    order: Array
    rows: Array
    steps: Array
    rates: Array
    cursor: Array
    losses: Array
    hits: Array
    batch: int


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
        (loss_sum, correct, tables.cursor, tables.losses, tables.hits, tables.batch),
    )
