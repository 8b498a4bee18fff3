"""The text of the Python files that `export_torch` writes, and the modules PyTorch lacks."""

FILE = '''\
"""{name}: a network trained with arraycnn {version}, as a PyTorch module.

    from {name} import load

    {outputs} = load()(images)

images: (N, {channels}, {height}, {width}), {pixels}. {results}
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

CLASSES = """logits: {shape}; their softmax is
the probabilities of the classes."""
LABELS = """logits: {shape}; their sigmoid is
the probabilities of the labels."""
OUTPUTS = "outputs: {shape}."

FLATTEN_CHANNELS_LAST = '''
class FlattenChannelsLast(nn.Module):
    """(N, C, H, W) to (N, H * W * C): the order in which the network was trained."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)
'''
