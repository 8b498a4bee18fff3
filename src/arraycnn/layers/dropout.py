"""Dropout: zero a random part of the numbers while training."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Context, Shape, Tree, check_floating
from arraycnn.ops import Array
from arraycnn.ops.random_bits import layer_key
from arraycnn.setting_checks import check_number


@dataclass(frozen=True)
class Dropout:
    """Each number becomes 0 with probability ``rate``, else is divided by 1 - rate.

    Srivastava et al., "Dropout", 2014, in the inverted form: nothing happens in inference.

    Parameters
    ----------
    rate : float
        The probability of dropping, in [0, 1).
    """

    rate: float

    any_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_rate("Dropout", self.rate)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        return {}, {}, input_shape

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        check_floating("Dropout", x)
        if context.mode == "infer":
            return x, state, ()
        random = context.drawing()
        y, keep = context.ops.dropout(
            context.ops,
            x,
            self.rate,
            random.seed,
            random.step,
            layer_key(context.path),
            random.indices,
        )
        return y, state, (keep,)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        if not need_dx:
            return None, {}
        if context.mode == "infer":
            return dy, {}
        (keep,) = residuals
        return context.ops.dropout_backward(dy, keep, self.rate), {}

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule(f"nn.Dropout({self.rate})")


def check_rate(owner: str, rate: float) -> None:
    """Refuse what is no probability below 1."""
    check_number(f"{owner}: rate", rate)
    if not 0.0 <= rate < 1.0:
        message = f"{owner}: rate, the probability of dropping, must be in [0, 1), got {rate!r}"
        raise InvalidValueError(message)
