"""Concatenate: the channels of all branches, one after the other."""

from dataclasses import dataclass
from itertools import accumulate

from arraycnn.errors import InvalidValueError
from arraycnn.layers.branches import NumberedBranches
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Shape, with_n
from arraycnn.ops import Array, array_namespace

_TORCH = '''
class Concatenate(nn.ModuleList):
    """The channels of what the branches make of one input, one after the other."""

    def __init__(self, *branches):
        super().__init__(branches)

    def forward(self, x):
        return torch.cat([branch(x) for branch in self], dim=1)
'''


@dataclass(frozen=True, init=False, repr=False)
class Concatenate(NumberedBranches):
    """What ``layers`` make of the same input, side by side in the last axis.

    ``Concatenate(Identity(), Conv2d(8, 3, padding="same"))`` adds 8 channels to the input's, as
    DenseNet does; several convolutions make an Inception block; and a `Sequential` that halves the
    image and ends with an `Upsample2d` or a `ConvTranspose2d` is one level of a U-Net. The keys of
    parameters and state are the branches' positions.

    Raises
    ------
    InvalidValueError
        The branches give shapes that differ in another axis than the last.
    """

    def joined_shape(self, shapes: list[Shape]) -> Shape:
        if len({shape[:-1] for shape in shapes}) > 1 or not shapes[0]:
            message = (
                "Concatenate: the branches must give shapes that are equal but for the last axis, "
                f'got {", ".join(map(with_n, shapes))}; use padding="same" and one stride in all'
            )
            raise InvalidValueError(message)
        return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))

    def join(self, outputs: list[Array]) -> Array:
        return array_namespace(*outputs).concat(outputs, axis=-1)

    def split(self, dy: Array, outputs: list[Array]) -> list[Array]:
        ends = list(accumulate(output.shape[-1] for output in outputs))
        return [dy[..., start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule("Concatenate", source=_TORCH)
