"""The text of the Python files that `export_torch` writes, and the modules PyTorch lacks."""

FILE = '''\
"""{name}: a network trained with arraycnn {version}, as a PyTorch module.

    from {name} import load

    logits = load()(images)

images: (N, {channels}, {height}, {width}), {pixels}. logits: (N, {classes}); their softmax is
the probabilities of the classes.
"""

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load as load_tensors
from torch import nn

CLASS_NAMES = (
{class_names})
WEIGHTS = Path(__file__).with_suffix(".safetensors")
WEIGHTS_SHA256 = "{digest}"

{parts}
def build() -> nn.Module:
    """The network, untrained."""
    network = {expression}
    return network.to(torch.{dtype})


def load() -> nn.Module:
    """The network with its trained weights, in evaluation mode."""
    content = WEIGHTS.read_bytes()
    if hashlib.sha256(content).hexdigest() != WEIGHTS_SHA256:
        raise ValueError(f"{{WEIGHTS}}: is not the file that was written with this one")
    network = build()
    network.load_state_dict(load_tensors(content))
    return network.eval()
'''

CLASSES = {
    "Rescale": '''
class Rescale(nn.Module):
    """Pixels of one byte to (x / 255 - mean) / std; both may be a number for each channel."""

    def __init__(self, mean=0.5, std=1.0):
        super().__init__()
        # No weights; as buffers they follow the module to its device and dtype.
        for name, value in (("largest", 255.0), ("mean", mean), ("std", std)):
            numbers = torch.tensor(value, dtype=torch.float64)
            numbers = numbers[:, None, None] if numbers.ndim else numbers
            self.register_buffer(name, numbers, persistent=False)

    def forward(self, x):
        if x.dtype != torch.uint8:
            raise TypeError(f"images must be uint8, 0 to 255, got {x.dtype}")
        return (x.to(self.largest.dtype) / self.largest - self.mean) / self.std

''',
    "PaddedConv2d": '''
class PaddedConv2d(nn.Conv2d):
    """A convolution with its own padding on each side: (left, right, top, bottom)."""

    def __init__(self, *args, sides, **kwargs):
        super().__init__(*args, **kwargs)
        self.sides = sides

    def forward(self, x):
        return super().forward(nn.functional.pad(x, self.sides))

''',
    "GlobalAvgPool2d": '''
class GlobalAvgPool2d(nn.Module):
    """The mean over all pixels: (N, C, H, W) to (N, C)."""

    def forward(self, x):
        return x.mean(dim=(2, 3))

''',
    "FlattenChannelsLast": '''
class FlattenChannelsLast(nn.Module):
    """(N, C, H, W) to (N, H * W * C): the order in which the network was trained."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)

''',
    "Residual": '''
class Residual(nn.Module):
    """body(x) + shortcut(x), the shortcut being x itself unless given."""

    def __init__(self, body, shortcut=None):
        super().__init__()
        self.body = body
        self.shortcut = nn.Identity() if shortcut is None else shortcut

    def forward(self, x):
        return self.body(x) + self.shortcut(x)

''',
}
