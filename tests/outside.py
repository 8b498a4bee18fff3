"""What a user may write outside the package: an activation, a norm, an optimizer and losses."""

import math
from dataclasses import dataclass

import numpy as np

from arraycnn.layers import Activation, TorchModule
from arraycnn.losses import ClassificationLoss, RegressionLoss, mean_of_each
from arraycnn.ops import array_namespace
from arraycnn.ops.arrays import device
from arraycnn.optimizers import paired, zeros_like
from arraycnn.tree import with_leaves


@dataclass(frozen=True)
class Squareplus(Activation):
    """(x + sqrt(x^2 + b)) / 2: Barron, "Squareplus", 2021."""

    b: float = 4.0

    def function(self, xp, x):
        return 0.5 * (x + xp.sqrt(x * x + self.b))

    def derivative(self, xp, x):
        return 0.5 * (1.0 + x / xp.sqrt(x * x + self.b))

    def torch_module(self, input_shape):
        return TorchModule(f"Squareplus({self.b})", source=SQUAREPLUS)


SQUAREPLUS = '''
class Squareplus(nn.Module):
    """(x + sqrt(x^2 + b)) / 2."""

    def __init__(self, b):
        super().__init__()
        self.b = b

    def forward(self, x):
        return (x + torch.sqrt(x * x + self.b)) / 2
'''


@dataclass(frozen=True)
class RMSNorm:
    """Numbers over the root of the mean of the squares of the last axis: Zhang and Sennrich, 2019."""

    def init(self, rng, input_shape):
        return {"scale": np.ones(input_shape[-1])}, {}, input_shape

    def forward(self, params, state, x, context):
        xp = array_namespace(x)
        root = xp.sqrt(xp.mean(x * x, axis=-1, keepdims=True) + 1e-6)
        normal = x / root
        return normal * params["scale"], state, (normal, root)

    def backward(self, params, residuals, dy, context, need_dx):
        normal, root = residuals
        xp = array_namespace(dy)
        gradients = {"scale": xp.sum(dy * normal, axis=tuple(range(dy.ndim - 1)))}
        if not need_dx:
            return None, gradients
        part = dy * params["scale"]
        along = xp.mean(part * normal, axis=-1, keepdims=True)
        return (part - normal * along) / root, gradients

    def torch_module(self, input_shape):
        return TorchModule(
            f"RMSNorm({input_shape[-1]})", source=RMS_NORM, names={"scale": "weight"}
        )


RMS_NORM = '''
class RMSNorm(nn.Module):
    """Numbers over the root of the mean of the squares of the channels."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        root = torch.sqrt((x * x).mean(dim=1, keepdim=True) + 1e-6)
        return x / root * self.weight.reshape(-1, *(1,) * (x.ndim - 2))
'''


@dataclass(frozen=True)
class Signum:
    """Steps of one size, along the sign of the momentum: Bernstein et al., "signSGD", 2018."""

    learning_rate: float = 0.001

    def init(self, params):
        return {"momentum": zeros_like(params)}

    def update(self, ops, params, gradients, state, learning_rate):
        xp = array_namespace(learning_rate)
        moved, momentum = [], []
        for p, g, m in paired(params, gradients, state["momentum"]):
            momentum.append(0.9 * m + 0.1 * g)
            moved.append(p - learning_rate * xp.sign(momentum[-1]))
        return with_leaves(params, moved), {"momentum": with_leaves(params, momentum)}


@dataclass(frozen=True)
class LogCosh(RegressionLoss):
    """scale log(cosh(e / scale)): e^2 / 2 for small errors, their size for large ones."""

    scale: float = 1.0

    def loss_and_gradient(self, xp, outputs, labels):
        error = (outputs - labels) / self.scale
        size = xp.abs(error)
        losses = self.scale * (size + xp.log1p(xp.exp(-2.0 * size)) - math.log(2.0))
        return mean_of_each(xp, losses), xp.tanh(error) / math.prod(outputs.shape[1:])


@dataclass(frozen=True)
class Focal(ClassificationLoss):
    """-(1 - p)^2 log p of the label's probability: Lin et al., 2017; class numbers only."""

    def loss_and_gradient(self, xp, outputs, labels):
        shifted = outputs - xp.max(outputs, axis=-1, keepdims=True)
        chances = xp.exp(shifted) / xp.sum(xp.exp(shifted), axis=-1, keepdims=True)
        classes = xp.arange(outputs.shape[1], dtype=labels.dtype, device=device(labels))
        is_label = labels[:, None] == classes[None, :]
        p = xp.sum(xp.where(is_label, chances, 0.0), axis=-1, keepdims=True)
        rest = 1.0 - p
        slope = (
            2.0 * rest * xp.log(p) * p - rest * rest
        )  # with regard to the label's logit, over rest
        gradient = slope * (xp.astype(is_label, outputs.dtype) - chances)
        return -xp.sum(rest * rest * xp.log(p), axis=-1), gradient
