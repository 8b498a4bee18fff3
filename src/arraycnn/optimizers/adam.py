"""Adam, and AdamW with its weight decay apart."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from arraycnn.ops import Array, Kernels
from arraycnn.optimizers.optimizer import check_betas, leaves_as, zeros_like
from arraycnn.optimizers.schedules import Schedule, check_rate
from arraycnn.setting_checks import check_number
from arraycnn.tree import Tree, leaves, with_leaves


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, 2015): steps scaled by running moments of the gradient.

    Parameters
    ----------
    learning_rate : float or Schedule
    betas : (float, float)
        Decay of the first and the second moment, each in [0, 1).
    epsilon : float
        Added to the root of the second moment.
    weight_decay : float
        Times the parameter, added to its gradient (see `AdamW` for the decoupled form).
    """

    learning_rate: float | Schedule = 0.001
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    decoupled: ClassVar[bool] = False

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_rate(name, self.learning_rate)
        check_betas(name, self.betas)
        check_number(f"{name}: epsilon", self.epsilon, minimum=0.0)
        check_number(f"{name}: weight_decay", self.weight_decay, minimum=0.0)

    def init(self, params: Tree) -> Tree:
        return {
            "first_moment": zeros_like(params),
            "second_moment": zeros_like(params),
            "decays": {"first": np.ones(()), "second": np.ones(())},
        }

    def update(
        self, ops: Kernels, params: Tree, gradients: Tree, state: Tree, learning_rate: Array
    ) -> tuple[Tree, Tree]:
        moved, first, second, decays = ops.adam_update(
            leaves(params),
            leaves_as(params, gradients),
            leaves_as(params, state["first_moment"]),
            leaves_as(params, state["second_moment"]),
            (state["decays"]["first"], state["decays"]["second"]),
            learning_rate,
            betas=self.betas,
            epsilon=self.epsilon,
            weight_decay=self.weight_decay,
            decoupled=self.decoupled,
        )
        return with_leaves(params, moved), {
            "first_moment": with_leaves(params, first),
            "second_moment": with_leaves(params, second),
            "decays": {"first": decays[0], "second": decays[1]},
        }


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019): p -= rate * decay * p."""

    weight_decay: float = 0.01

    decoupled: ClassVar[bool] = True
