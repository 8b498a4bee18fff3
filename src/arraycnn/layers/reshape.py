"""Reshape: the same numbers in other axes."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Context, Shape, Tree, with_n
from arraycnn.ops import Array, array_namespace

_TORCH = '''
class Reshape(nn.Module):
    """Numbers in the order channels last, in another shape: channels first again where it is images."""

    def __init__(self, *shape):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        x = x.permute(0, 2, 3, 1) if x.ndim == 4 else x
        x = x.reshape(len(x), *self.shape)
        return x.permute(0, 3, 1, 2) if x.ndim == 4 else x
'''


@dataclass(frozen=True)
class Reshape:
    """The numbers of each image in another shape, in row-major order, channels last.

    ``Reshape((7, 7, 32))`` makes images of rows of 1,568 numbers, as a decoder does.

    Parameters
    ----------
    shape : tuple of int
        Without N; one of them may be -1, as many as are left.
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        is_ints = isinstance(self.shape, tuple | list) and all(
            isinstance(size, int) and not isinstance(size, bool) for size in self.shape
        )
        if not is_ints or not self.shape:
            message = f"Reshape: shape must be a tuple of ints, without N, got {self.shape!r}"
            raise InvalidTypeError(message)
        object.__setattr__(self, "shape", tuple(self.shape))
        if any(size < 1 and size != -1 for size in self.shape) or self.shape.count(-1) > 1:
            message = (
                f"Reshape: shape must be of sizes of at least 1, one of them -1 at most, "
                f"got {self.shape!r}"
            )
            raise InvalidValueError(message)

    def of(self, input_shape: Shape) -> Shape:
        """The output's shape, or InvalidValueError where the numbers do not fill it."""
        count = math.prod(input_shape)
        known = math.prod(size for size in self.shape if size != -1)
        if count % known or (count != known and -1 not in self.shape):
            message = (
                f"Reshape: the {count} numbers of an image {with_n(input_shape)} must fill "
                f"{with_n(self.shape)}; give sizes whose product is {count}, or one of them as -1"
            )
            raise InvalidValueError(message)
        return tuple(count // known if size == -1 else size for size in self.shape)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        return {}, {}, self.of(input_shape)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        # x is kept for its shape alone, as in `Flatten`.
        y = array_namespace(x).reshape(x, (x.shape[0], *self.of(tuple(x.shape[1:]))))
        return y, state, (x,)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        if not need_dx:
            return None, {}
        (x,) = residuals
        return array_namespace(dy).reshape(dy, x.shape), {}

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule(f"Reshape{tuple(self.of(input_shape))}", source=_TORCH)
