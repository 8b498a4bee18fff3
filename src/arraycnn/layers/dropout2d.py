"""Dropout2d: zero whole channels while training."""

from dataclasses import dataclass

from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Shape, check_image_shape
from arraycnn.layers.whole_dropout import WholeDropout


@dataclass(frozen=True)
class Dropout2d(WholeDropout):
    """Each channel of each image becomes 0 with probability ``rate``, else is divided by 1 - rate.

    Tompson et al., "Efficient object localization using convolutional networks", 2015: neighbouring
    pixels tell of each other, so dropping single ones hides little. Nothing happens in inference.

    Parameters
    ----------
    rate : float
        The probability of dropping, in [0, 1).
    """

    def drawn(self, input_shape: Shape) -> Shape:
        _, _, channels = check_image_shape("Dropout2d", input_shape)
        return 1, 1, channels

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule(f"nn.Dropout2d({self.rate})")
