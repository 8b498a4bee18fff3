"""BatchNorm: each channel gets mean 0 and variance 1, then a learned scale and shift."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import (
    Context,
    Shape,
    Tree,
    check_images,
    with_n,
)
from arraycnn.ops import Array, array_namespace, batch_norm
from arraycnn.setting_checks import check_number


@dataclass(frozen=True)
class BatchNorm:
    """Normalise each channel over images and their pixels: (N, H, W, C) or (N, C), the same shape.

    Ioffe and Szegedy, "Batch normalization", 2015. While training, the batch's own mean and
    variance are used; their running averages, kept in the state, serve in inference, and in training
    where weight and bias are frozen (`Group`), which then leaves them as they are. On several
    processes mean and variance are those of the whole batch.

    Parameters
    ----------
    momentum : float
        The share of the new batch in the running averages, in (0, 1], as in PyTorch.
    epsilon : float
        Added to the variance before the square root, above 0.

    The parameters are ``weight`` (scale, one at first) and ``bias`` (shift, zero), both (C,); the
    state is ``mean`` and ``variance`` (unbiased), both (C,).
    """

    momentum: float = 0.1
    epsilon: float = 1e-5

    over_batch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_number("BatchNorm: momentum", self.momentum)
        check_number("BatchNorm: epsilon", self.epsilon)
        if not 0.0 < self.momentum <= 1.0:
            message = f"BatchNorm: momentum must be in (0, 1], got {self.momentum!r}"
            raise InvalidValueError(message)
        if not 0.0 < self.epsilon < float("inf"):
            message = f"BatchNorm: epsilon must be above 0 and finite, got {self.epsilon!r}"
            raise InvalidValueError(message)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        if len(input_shape) not in (1, 3):
            message = (
                f"BatchNorm: input must be images, (N, H, W, C), or rows, (N, C), "
                f"got {with_n(input_shape)}; put Flatten() before it"
            )
            raise InvalidValueError(message)
        channels = input_shape[-1]
        params = {"weight": np.ones(channels), "bias": np.zeros(channels)}
        state = {"mean": np.zeros(channels), "variance": np.ones(channels)}
        return params, state, input_shape

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        shape = x.shape
        x = _as_images(x)
        check_images("BatchNorm", x, channels=params["weight"].shape[0])
        running, trains = (state["mean"], state["variance"]), _uses_batch(params, context)
        y, running, residuals = _forward(context)(
            x, params["weight"], params["bias"], running, self.momentum, self.epsilon, trains
        )
        if trains:
            state = dict(zip(("mean", "variance"), running, strict=True))
        return array_namespace(y).reshape(y, shape), state, residuals

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        dx, dweight, dbias = _backward(context)(
            _as_images(dy), params["weight"], residuals, _uses_batch(params, context), need_dx
        )
        if dx is not None:
            dx = array_namespace(dx).reshape(dx, dy.shape)
        return dx, {"weight": dweight, "bias": dbias}

    def torch_module(self, input_shape: Shape) -> TorchModule:
        settings = f"{input_shape[-1]}, eps={self.epsilon}, momentum={self.momentum}"
        names = {"mean": "running_mean", "variance": "running_var"}
        kind = "BatchNorm2d" if len(input_shape) == 3 else "BatchNorm1d"
        return TorchModule(f"nn.{kind}({settings})", names=names)


BatchNorm2d = BatchNorm
"""The name it had while it took images only."""


def _forward(context: Context) -> Callable:
    if context.whole is None:
        return context.ops.batch_norm
    return partial(batch_norm.shared_batch_norm, whole=context.whole)


def _backward(context: Context) -> Callable:
    if context.whole is None:
        return context.ops.batch_norm_backward
    return partial(batch_norm.shared_batch_norm_backward, whole=context.whole)


def _uses_batch(params: Tree, context: Context) -> bool:
    """Whether mean and variance are the batch's, as in training unless the layer is frozen."""
    return context.mode == "train" and context.trains(params)


def _as_images(x: Array) -> Array:
    """Rows, (N, C), as images of one pixel: what the kernels take."""
    if len(x.shape) != 2:
        return x
    return array_namespace(x).reshape(x, (x.shape[0], 1, 1, x.shape[1]))
