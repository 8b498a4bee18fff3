"""Dropout: zero a random part of the numbers while training."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.layers.layer import Context, Shape, Tree, check_floating
from arraycnn.ops import Array, array_namespace
from arraycnn.settings import check_number


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

    def __post_init__(self) -> None:
        check_number("Dropout: rate", self.rate)
        if not 0.0 <= self.rate < 1.0:
            message = (
                f"Dropout: rate, the probability of dropping, must be in [0, 1), got {self.rate!r}"
            )
            raise InvalidValueError(message)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        return {}, {}, input_shape

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        check_floating("Dropout", x)
        if context.mode == "infer":
            return x, state, ()
        xp = array_namespace(x)
        bits = xp.reshape(context.random_bits(math.prod(x.shape[1:])), x.shape)
        # The words are uniform over all int32, so this keeps exactly the share 1 - rate of them.
        # Rates closest to 1 round to a threshold above every int32, which some libraries wrap.
        keep = bits >= min(round(self.rate * 2**32) - 2**31, 2**31 - 1)
        return xp.where(keep, x / (1.0 - self.rate), 0.0), state, (keep,)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        if not need_dx:
            return None, {}
        if context.mode == "infer":
            return dy, {}
        (keep,) = residuals
        return array_namespace(dy).where(keep, dy / (1.0 - self.rate), 0.0), {}
