"""Training: one pure step, the loop around it, what it goes through, and what it reports.

What one step is made of is exported; all else has a module of its own.
"""

from arraycnn.training.batch_loss import (
    counts_correct,
    has_kernel,
    loss_of_batch,
    measures_of_batch,
)
from arraycnn.training.step import (
    CLASSIFICATION,
    CROSS_ENTROPY,
    Batch,
    Carry,
    Objective,
    evaluate_batch,
    infer,
    loss_and_gradients,
    train_step,
)

__all__ = [
    "CLASSIFICATION",
    "CROSS_ENTROPY",
    "Batch",
    "Carry",
    "Objective",
    "counts_correct",
    "evaluate_batch",
    "has_kernel",
    "infer",
    "loss_and_gradients",
    "loss_of_batch",
    "measures_of_batch",
    "train_step",
]
