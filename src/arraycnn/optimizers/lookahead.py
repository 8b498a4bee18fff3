"""Lookahead: slow weights that follow the fast ones of another optimizer."""

from dataclasses import dataclass

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.ops import Array, Kernels, array_namespace
from arraycnn.optimizers.evaluated import EVALUATED
from arraycnn.optimizers.optimizer import paired, trained_part
from arraycnn.optimizers.wrapper import Wrapper
from arraycnn.setting_checks import check_count, check_number
from arraycnn.tree import Tree, leaves, replaced, with_leaves


@dataclass(frozen=True)
class Lookahead(Wrapper):
    """Any optimizer, whose weights are drawn back every few steps: ``Lookahead(SGD(0.1), steps=5)``.

    Zhang, Lucas, Hinton and Ba, "Lookahead optimizer", 2019, algorithm 1: after each ``steps``
    updates, slow += share (fast - slow), and the fast weights begin there again. The optimizer keeps
    its moments meanwhile. As in the paper, the slow weights are those that are evaluated: the model,
    as `EMA` says it of its average; between two of its steps they stay. So a training must have
    ``steps`` updates at least: a shorter one would leave the model as it was.

    Parameters
    ----------
    optimizer : Optimizer
    steps : int
        Updates between two steps of the slow weights (k in the paper).
    share : float
        Of the way that the slow weights go, in (0, 1] (alpha in the paper).
    """

    steps: int = 5
    share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("Lookahead: steps", self.steps)
        check_number("Lookahead: share", self.share)
        if not 0.0 < self.share <= 1.0:
            message = f"Lookahead: share must be above 0 and at most 1, got {self.share!r}"
            raise InvalidValueError(message)

    def check_length(self, updates: int) -> None:
        if updates < self.steps:
            message = (
                f"Lookahead: steps must be at most the updates of the training, {updates}, got "
                f"{self.steps}: the slow weights, which are the model, would stay as they are; "
                f"have {updates} or fewer, or more epochs or smaller batches"
            )
            raise InvalidValueError(message)
        super().check_length(updates)

    def init(self, params: Tree) -> Tree:
        return {
            "optimizer": self.optimizer.init(params),
            EVALUATED: trained_part(self.optimizer, params),
            "updates": np.zeros(()),
        }

    def update(
        self, ops: Kernels, params: Tree, gradients: Tree, state: Tree, learning_rate: Array
    ) -> tuple[Tree, Tree]:
        xp = array_namespace(learning_rate)
        moved, inner = self.optimizer.update(
            ops, params, gradients, state["optimizer"], learning_rate
        )
        updates = state["updates"] + 1.0  # since the slow weights' last step
        due = updates >= float(self.steps)  # above them where a resume has lowered them
        fast = trained_part(self.optimizer, moved)
        slow = [
            xp.where(due, s + self.share * (f - s), s) for f, s in paired(fast, state[EVALUATED])
        ]
        begun = [xp.where(due, s, f) for f, s in zip(leaves(fast), slow, strict=True)]
        return replaced(moved, with_leaves(fast, begun)), {
            "optimizer": inner,
            EVALUATED: with_leaves(fast, slow),
            "updates": xp.where(due, xp.zeros_like(updates), updates),
        }
