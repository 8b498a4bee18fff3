"""What recorded training steps read and write: tables of what differs from step to step."""

from dataclasses import dataclass

from arraycnn.ops.arrays import Array


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
    losses : array, (K,), floating; correct_counts : array, (K,), int32
        Each step's mean loss and number of correct images: the results.
    batch : int
    measures : array, (K,), floating, or None
        What else than correct images each step measured, instead of ``correct_counts``.
    """

    order: Array
    rows: Array
    steps: Array
    rates: Array
    cursor: Array
    losses: Array
    correct_counts: Array
    batch: int
    measures: Array | None = None
