"""StochasticDepth: leave a branch out for some images while training."""

from dataclasses import dataclass

from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Shape
from arraycnn.layers.whole_dropout import WholeDropout

_TORCH = '''
class StochasticDepth(nn.Module):
    """All numbers of an image become 0 with probability p, else are divided by 1 - p."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        if not self.training:
            return x
        kept = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) >= self.p
        return torch.where(kept, x / (1 - self.p), 0)
'''


@dataclass(frozen=True)
class StochasticDepth(WholeDropout):
    """All numbers of an image become 0 with probability ``rate``, else are divided by 1 - rate.

    Huang et al., "Deep networks with stochastic depth", 2016: at the end of a `Residual`'s body it
    leaves the body out for some images. Nothing happens in inference.

    Parameters
    ----------
    rate : float
        The probability of dropping, in [0, 1).
    """

    def drawn(self, input_shape: Shape) -> Shape:
        return (1,) * len(input_shape)

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule(f"StochasticDepth({self.rate})", source=_TORCH)
