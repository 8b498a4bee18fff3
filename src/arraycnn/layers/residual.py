"""Residual: a layer and a way around it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from arraycnn.errors import InvalidValueError
from arraycnn.layers.branches import Branches
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Layer, Shape, check_layer
from arraycnn.ops import Array

_TORCH = '''
class Residual(nn.Module):
    """body(x) + shortcut(x), the shortcut being x itself unless given."""

    def __init__(self, body, shortcut=None):
        super().__init__()
        self.body = body
        self.shortcut = nn.Identity() if shortcut is None else shortcut

    def forward(self, x):
        return self.body(x) + self.shortcut(x)
'''


@dataclass(frozen=True)
class Residual(Branches):
    """body(x) + shortcut(x), the shortcut being x itself unless given.

    He et al., "Deep residual learning for image recognition", 2016.

    Parameters
    ----------
    body : Layer
    shortcut : Layer or None
        Needed where the body changes the shape, for example ``Conv2d(32, 1, stride=2)``.

    Raises
    ------
    InvalidValueError
        Body and shortcut give different shapes.
    """

    body: Layer
    shortcut: Layer | None = None

    any_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_layer("Residual", "body", self.body)
        if self.shortcut is not None:
            check_layer("Residual", "shortcut", self.shortcut)

    def named_branches(self) -> list[tuple[str, Layer | None]]:
        return [("body", self.body), ("shortcut", self.shortcut)]

    def with_layers(self, layers: Sequence[Layer]) -> Self:
        return replace(self, **dict(zip(("body", "shortcut"), layers, strict=False)))

    def joined_shape(self, shapes: list[Shape]) -> Shape:
        body, around = shapes
        if body != around:
            message = (
                f"Residual: body and shortcut must give one shape, got {body} and {around}; "
                'use padding="same" in the body, or a shortcut such as Conv2d(filters, 1, stride)'
            )
            raise InvalidValueError(message)
        return body

    def join(self, outputs: list[Array]) -> Array:
        body, around = outputs
        return body + around

    def split(self, dy: Array, outputs: list[Array]) -> list[Array]:
        return [dy, dy]

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule("Residual", source=_TORCH)
