"""WholeDropout: what layers that drop several numbers at once have in common."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from arraycnn.layers.dropout import check_rate
from arraycnn.layers.layer import Context, Shape, Tree, check_floating
from arraycnn.ops import Array, array_namespace
from arraycnn.ops.generic import dropout_threshold


@dataclass(frozen=True)
class WholeDropout(ABC):
    """Numbers that share one random word are kept or dropped together."""

    rate: float

    any_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_rate(type(self).__name__, self.rate)

    @abstractmethod
    def drawn(self, input_shape: Shape) -> Shape:
        """``input_shape`` with 1 for each axis along which numbers share their word."""

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        self.drawn(input_shape)
        return {}, {}, input_shape

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        check_floating(type(self).__name__, x)
        shape = self.drawn(tuple(x.shape[1:]))
        if context.mode == "infer":
            return x, state, ()
        bits = context.random_bits(math.prod(shape))
        bits = array_namespace(bits).reshape(bits, (x.shape[0], *shape))
        keep = bits >= dropout_threshold(self.rate)
        return self._dropped(x, keep), state, (keep,)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        if not need_dx:
            return None, {}
        if context.mode == "infer":
            return dy, {}
        (keep,) = residuals
        return self._dropped(dy, keep), {}

    def _dropped(self, x: Array, keep: Array) -> Array:
        return array_namespace(x).where(keep, x / (1.0 - self.rate), 0.0)
