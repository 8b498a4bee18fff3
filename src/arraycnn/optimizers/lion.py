"""Lion: the sign of a momentum."""

from dataclasses import dataclass

from arraycnn.ops import Array, Kernels, array_namespace
from arraycnn.optimizers.optimizer import check_betas, paired, zeros_like
from arraycnn.optimizers.schedules import Schedule, check_rate
from arraycnn.setting_checks import check_number
from arraycnn.tree import Tree, with_leaves


@dataclass(frozen=True)
class Lion:
    """Steps of one size, along the sign of an interpolated momentum.

    Chen et al., "Symbolic discovery of optimization algorithms", 2023, program 1: a step is
    rate * (sign(beta1 m + (1 - beta1) g) + decay * p), then m = beta2 m + (1 - beta2) g. Rates that
    serve are 3 to 10 times smaller than AdamW's, weight decays as much larger.

    Parameters
    ----------
    learning_rate : float or Schedule
    betas : (float, float)
        The momentum's share in the direction, and its decay, each in [0, 1).
    weight_decay : float
        Decoupled: times the rate and the parameter, subtracted from the parameter.
    """

    learning_rate: float | Schedule = 0.0001
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_rate("Lion", self.learning_rate)
        check_betas("Lion", self.betas)
        check_number("Lion: weight_decay", self.weight_decay, minimum=0.0)

    def init(self, params: Tree) -> Tree:
        return {"momentum": zeros_like(params)}

    def update(
        self, ops: Kernels, params: Tree, gradients: Tree, state: Tree, learning_rate: Array
    ) -> tuple[Tree, Tree]:
        xp = array_namespace(learning_rate)
        beta1, beta2 = self.betas
        moved, momentum = [], []
        for p, g, m in paired(params, gradients, state["momentum"]):
            direction = xp.sign(beta1 * m + (1.0 - beta1) * g)
            if self.weight_decay:
                direction = direction + self.weight_decay * p
            moved.append(p - learning_rate * direction)
            momentum.append(beta2 * m + (1.0 - beta2) * g)
        return with_leaves(params, moved), {"momentum": with_leaves(params, momentum)}
