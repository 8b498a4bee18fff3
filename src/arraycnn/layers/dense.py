"""Dense: every output is a weighted sum of every input."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.initial_values import Initial, check_initial, initial_values
from arraycnn.layers.layer import (
    Context,
    Shape,
    Tree,
    check_floating,
    with_n,
    written_in_short,
)
from arraycnn.ops import Array
from arraycnn.setting_checks import check_count


@dataclass(frozen=True)
class Dense:
    """x @ weight + bias: (N, inputs) to (N, outputs).

    Parameters
    ----------
    outputs : int
    bias : bool
        Whether a learned number is added to each output.
    initial : str
        What ``weight`` is at first, as in `Conv2d`.

    The parameters are ``weight``, (inputs, outputs), and ``bias``, (outputs,), zero at first.
    """

    outputs: int
    bias: bool = True
    initial: Initial = "glorot_uniform"

    def __post_init__(self) -> None:
        check_count("Dense: outputs", self.outputs)
        check_initial("Dense", self.initial)

    def __repr__(self) -> str:
        return written_in_short(self, ("initial",))

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        if len(input_shape) != 1:
            message = (
                f"Dense: input must have 2 axes (N, inputs), got {with_n(input_shape)}; "
                "put Flatten() or GlobalAvgPool2d() before it"
            )
            raise InvalidValueError(message)
        (inputs,) = input_shape
        shape = inputs, self.outputs
        params = {"weight": initial_values(self.initial, rng, shape, *shape)}
        if self.bias:
            params["bias"] = np.zeros(self.outputs)
        return params, {}, (self.outputs,)

    def check(self, params: Tree, x: Array) -> None:
        """Refuse an ``x`` that is not (N, inputs) of a floating dtype."""
        weight = params["weight"]
        if len(x.shape) != 2 or x.shape[1] != weight.shape[0]:
            message = (
                f"Dense: input must be (N, {weight.shape[0]}), got shape {tuple(x.shape)}; "
                "the images must have the size that the network was made for"
            )
            raise InvalidValueError(message)
        check_floating("Dense", x)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        self.check(params, x)
        y = context.ops.dense(context.ops, x, params["weight"], params.get("bias"))
        return y, state, (x,)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        (x,) = residuals
        dx, dweight, dbias = context.ops.dense_backward(
            context.ops, x, params["weight"], dy, need_dx
        )
        return dx, {"weight": dweight, "bias": dbias} if self.bias else {"weight": dweight}

    def torch_module(self, input_shape: Shape) -> TorchModule:
        bias = "" if self.bias else ", bias=False"
        return TorchModule(
            f"nn.Linear({input_shape[0]}, {self.outputs}{bias})", axes={"weight": (1, 0)}
        )
