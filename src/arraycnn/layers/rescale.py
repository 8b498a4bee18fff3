"""Rescale: pixels of one byte become numbers around zero."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Context, Shape, Tree, with_n
from arraycnn.ops import Array, array_namespace
from arraycnn.setting_checks import check_number

_TORCH = '''
class Rescale(nn.Module):
    """Pixels of one byte to (x / 255 - mean) / std, each of these a number or one for each channel."""

    def __init__(self, mean=0.5, std=1.0):
        super().__init__()
        # No weights, but buffers follow the module to its device and dtype.
        for name, value in (("largest", 255.0), ("mean", mean), ("std", std)):
            numbers = torch.tensor(value, dtype=torch.float64)
            numbers = numbers[:, None, None] if numbers.ndim else numbers
            self.register_buffer(name, numbers, persistent=False)

    def forward(self, x):
        if x.dtype != torch.uint8:
            raise TypeError(f"images must be uint8, 0 to 255, got {x.dtype}")
        return (x.to(self.largest.dtype) / self.largest - self.mean) / self.std
'''


@dataclass(frozen=True)
class Rescale:
    """uint8 to (x / 255 - mean) / std, so that preprocessing travels with the model.

    Takes uint8 only; anything else raises InvalidTypeError. The defaults give x / 255 - 0.5; those of
    torchvision's ``ToTensor`` and ``Normalize(mean, std)`` are the same numbers here.

    Parameters
    ----------
    mean, std : float, or a tuple with one number for each channel
        Of pixels from 0 to 1; std above 0.
    """

    mean: float | tuple[float, ...] = 0.5
    std: float | tuple[float, ...] = 1.0

    any_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            value = getattr(self, name)
            several = isinstance(value, tuple | list) and len(value) > 0
            for number in value if several else (value,):
                check_number(f"Rescale: {name}", number)
                if not math.isfinite(number) or (name == "std" and number <= 0):
                    rule = "finite and above 0" if name == "std" else "finite"
                    message = f"Rescale: {name} must be {rule}, got {number!r}"
                    raise InvalidValueError(message)
            if several:
                object.__setattr__(self, name, tuple(value))

    @property
    def is_plain(self) -> bool:
        """Whether it is x / 255 - 0.5, which there are kernels for."""
        return self.mean == 0.5 and self.std == 1.0

    def __repr__(self) -> str:
        return "Rescale()" if self.is_plain else f"Rescale(mean={self.mean}, std={self.std})"

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        for name in ("mean", "std"):
            value = getattr(self, name)
            if isinstance(value, tuple) and (len(input_shape) != 3 or len(value) != input_shape[2]):
                message = (
                    f"Rescale: {name} must be one number, or one for each channel of images, "
                    f"got {len(value)} for input {with_n(input_shape)}"
                )
                raise InvalidValueError(message)
        return {}, {}, input_shape

    def by_channel(self, channels: int) -> list[tuple[float, float]]:
        """(mean, std) of each channel."""
        mean, std = (
            value if isinstance(value, tuple) else (value,) * channels
            for value in (self.mean, self.std)
        )
        return list(zip(mean, std, strict=True))

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        xp = array_namespace(x)
        if x.dtype != xp.uint8:
            message = (
                f"Rescale: input must be uint8 (0 to 255), got {x.dtype}; "
                "pass the images as uint8, or leave Rescale out and scale them yourself"
            )
            raise InvalidTypeError(message)
        if self.is_plain:
            return context.ops.rescale(x, context.dtype), state, ()
        y = xp.astype(x, getattr(xp, context.dtype)) / 255.0
        return self._for_each_channel(y, lambda part, mean, std: (part - mean) / std), state, ()

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        if not need_dx:
            return None, {}
        return self._for_each_channel(dy / 255.0, lambda part, mean, std: part / std), {}

    def _for_each_channel(
        self, x: Array, function: Callable[[Array, float, float], Array]
    ) -> Array:
        """``function(part, mean, std)``, of all channels at once where they are treated alike."""
        if not isinstance(self.mean, tuple) and not isinstance(self.std, tuple):
            return function(x, self.mean, self.std)
        parts = [
            function(x[..., channel], mean, std)
            for channel, (mean, std) in enumerate(self.by_channel(x.shape[-1]))
        ]
        return array_namespace(x).stack(parts, axis=-1)

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule(repr(self), source=_TORCH)
