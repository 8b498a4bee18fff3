"""`Wrapper`: what an optimizer that changes another one's steps is made with."""

from dataclasses import dataclass
from typing import ClassVar

from arraycnn.errors import InvalidTypeError
from arraycnn.ops import Array, Kernels
from arraycnn.optimizers.optimizer import Optimizer, frozen_paths
from arraycnn.optimizers.schedules import Schedule
from arraycnn.tree import Tree


@dataclass(frozen=True)
class Wrapper:
    """An optimizer around another one, whose learning rate and frozen parameters are its own.

    Its state is the other one's unless it keeps arrays itself.
    """

    optimizer: Optimizer

    outermost: ClassVar[bool] = False
    """Whether nothing may be wrapped around it."""

    def __post_init__(self) -> None:
        kind, inner = type(self).__name__, self.optimizer
        if isinstance(inner, type) or not hasattr(inner, "update"):
            message = f"{kind}: must first be given an optimizer such as AdamW(), got {inner!r}"
            raise InvalidTypeError(message)
        if isinstance(inner, Wrapper) and inner.outermost:
            outer = type(inner).__name__
            message = (
                f"{kind}: cannot be around {outer}, got {inner!r}; "
                f"write {outer}({kind}({inner.optimizer!r}, ...), ...)"
            )
            raise InvalidTypeError(message)

    @property
    def learning_rate(self) -> float | Schedule:
        return self.optimizer.learning_rate

    def frozen_paths(self, params: Tree) -> frozenset[str]:
        return frozen_paths(self.optimizer, params)

    def check_length(self, updates: int) -> None:
        """Refuse a training of so many ``updates`` where it is too short to come to anything."""
        if isinstance(self.optimizer, Wrapper):
            self.optimizer.check_length(updates)

    def init(self, params: Tree) -> Tree:
        return self.optimizer.init(params)

    def update(
        self, ops: Kernels, params: Tree, gradients: Tree, state: Tree, learning_rate: Array
    ) -> tuple[Tree, Tree]:
        return self.optimizer.update(ops, params, gradients, state, learning_rate)
