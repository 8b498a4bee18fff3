"""Add: the sum of branches."""

from dataclasses import dataclass
from typing import ClassVar

from arraycnn.errors import InvalidValueError
from arraycnn.layers.branches import NumberedBranches
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Shape, with_n
from arraycnn.ops import Array

_TORCH = '''
class Add(nn.ModuleList):
    """The sum of what the branches make of one input."""

    def __init__(self, *branches):
        super().__init__(branches)

    def forward(self, x):
        return sum(branch(x) for branch in self)
'''


@dataclass(frozen=True, init=False, repr=False)
class Add(NumberedBranches):
    """The sum of what ``layers`` make of the same input: ``Add(Conv2d(8, 3), Conv2d(8, 3))``.

    `Identity` is the input itself. The keys of parameters and state are the branches' positions.

    Raises
    ------
    InvalidValueError
        The branches give different shapes.
    """

    any_order: ClassVar[bool] = True

    def joined_shape(self, shapes: list[Shape]) -> Shape:
        if len(set(shapes)) > 1:
            message = (
                f"Add: the branches must give one shape, got {', '.join(map(with_n, shapes))}; "
                "give each the same filters, strides and padding, or join them with Concatenate"
            )
            raise InvalidValueError(message)
        return shapes[0]

    def join(self, outputs: list[Array]) -> Array:
        total = outputs[0]
        for output in outputs[1:]:
            total = total + output
        return total

    def split(self, dy: Array, outputs: list[Array]) -> list[Array]:
        return [dy] * len(outputs)

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule("Add", source=_TORCH)
