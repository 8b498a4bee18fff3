"""ClipNorm: gradients whose norm is bounded."""

from dataclasses import dataclass

from arraycnn.errors import InvalidValueError
from arraycnn.ops import Array, Kernels, array_namespace
from arraycnn.optimizers.optimizer import frozen_paths
from arraycnn.optimizers.wrapper import Wrapper
from arraycnn.setting_checks import check_number
from arraycnn.tree import Tree, flatten, map_paths

_EPSILON = 1e-6


@dataclass(frozen=True)
class ClipNorm(Wrapper):
    """Any optimizer, on gradients scaled down to a norm: ``ClipNorm(AdamW(), 1.0)``.

    Pascanu, Mikolov and Bengio, 2013, as `torch.nn.utils.clip_grad_norm_`: the norm is that of all
    gradients together, as one vector; where it is above ``max_norm``, each is multiplied by
    max_norm / (norm + 1e-6). What `ParameterGroups` freezes is no part of it.

    Parameters
    ----------
    optimizer : Optimizer
    max_norm : float
        Above 0.
    """

    max_norm: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("ClipNorm: max_norm", self.max_norm, minimum=0.0)
        if not self.max_norm:
            message = "ClipNorm: max_norm must be above 0, got 0"
            raise InvalidValueError(message)

    def update(
        self, ops: Kernels, params: Tree, gradients: Tree, state: Tree, learning_rate: Array
    ) -> tuple[Tree, Tree]:
        xp, frozen = array_namespace(learning_rate), frozen_paths(self.optimizer, params)
        trained = {path: g for path, g in flatten(gradients).items() if path not in frozen}
        # By name: a compiled step may hand dicts back in another order, and sums would round so.
        squares = [xp.sum(trained[path] * trained[path]) for path in sorted(trained)]
        norm = xp.sqrt(sum(squares[1:], start=squares[0]))
        scale = self.max_norm / (norm + _EPSILON)
        scale = xp.where(scale < 1.0, scale, xp.ones_like(scale))
        clipped = map_paths(
            lambda path, g: g * scale if path in trained else g,
            gradients,
        )
        return self.optimizer.update(ops, params, clipped, state, learning_rate)
