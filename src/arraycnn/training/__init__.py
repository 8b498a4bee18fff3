"""Training: one pure step, the loop around it, what it goes through, and what it reports.

What one step is made of is exported; all else has a module of its own.
"""

from arraycnn.training.step import (
    CLASSIFICATION,
    CROSS_ENTROPY,
    Batch,
    Carry,
    Objective,
    counts_correct,
    evaluate_batch,
    has_kernel,
    infer,
    loss_and_gradients,
    loss_of_batch,
    measures_of_batch,
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
