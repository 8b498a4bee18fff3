"""SGD, with and without momentum."""

from dataclasses import dataclass

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops import Array, Kernels
from arraycnn.optimizers.optimizer import check_share, leaves_as, zeros_like
from arraycnn.optimizers.schedules import Schedule, check_rate
from arraycnn.setting_checks import check_number
from arraycnn.tree import Tree, leaves, with_leaves


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent, with PyTorch's definition of momentum.

    Parameters
    ----------
    learning_rate : float or Schedule
    momentum : float
        In [0, 1); 0 keeps no velocity.
    nesterov : bool
        Look ahead along the velocity (Sutskever et al., 2013); needs momentum.
    weight_decay : float
        Times the parameter, added to its gradient.
    """

    learning_rate: float | Schedule = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_rate("SGD", self.learning_rate)
        check_share("SGD", "momentum", self.momentum)
        check_number("SGD: weight_decay", self.weight_decay, minimum=0.0)
        if not isinstance(self.nesterov, bool):
            message = f"SGD: nesterov must be a bool, got {self.nesterov!r}"
            raise InvalidTypeError(message)
        if self.nesterov and not self.momentum:
            message = "SGD: nesterov needs momentum above 0, got 0; set momentum=0.9"
            raise InvalidValueError(message)

    def init(self, params: Tree) -> Tree:
        return {"velocity": zeros_like(params)} if self.momentum else {}

    def update(
        self, ops: Kernels, params: Tree, gradients: Tree, state: Tree, learning_rate: Array
    ) -> tuple[Tree, Tree]:
        moved, velocities = ops.sgd_update(
            leaves(params),
            leaves_as(params, gradients),
            leaves_as(params, state["velocity"]) if self.momentum else [],
            learning_rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )
        new_state = {"velocity": with_leaves(params, velocities)} if self.momentum else {}
        return with_leaves(params, moved), new_state
