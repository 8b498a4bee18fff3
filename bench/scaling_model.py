"""How long a step takes on many GPUs, by bytes, bandwidth and latency: predicted, not measured.

A step computes for as long as one GPU needs for its share, which does not change (weak scaling: the
batch grows with the GPUs). Beside that:

- Gradients go through a ring within a node, and between nodes, in buckets. They overlap the backward
  pass, two thirds of a step, but for the last bucket, which is ready when that ends.
- Each sum of batch norm is waited for: three a layer, of a few numbers, through a tree.
"""

import math
from dataclasses import dataclass

from arraycnn.program.collectives import BUCKET

NODE = 8
"""GPUs of a node."""
WITHIN, BETWEEN = 360e9, 45e9
"""Bytes a second and GPU: NVLink of an H200 node, of whose 450 GB/s each way collectives reach four
fifths; a network card of 400 Gb/s a GPU, of which they reach nine tenths."""
START, HOP, HOP_BETWEEN = 8e-6, 1.5e-6, 5e-6
"""Seconds: to begin a collective between two graphs, and a hop within a node and between two."""
BACKWARD = 2 / 3
"""Of a step, as a convolution has two gradients."""


@dataclass(frozen=True)
class Network:
    """A network's step on one GPU: seconds, bytes of its gradients, layers of batch norm."""

    name: str
    seconds: float
    bytes: float
    norms: int
    source: str


def products(multiply_adds: float) -> float:
    """Seconds of a step of 128 images with so many each forward, three times that with both
    gradients, at 35 % of the 989e12 operations a second of an H200's tensor cores in bf16."""
    return 3 * multiply_adds * 128 / (0.35 * 989e12 / 2)


NETWORKS = (
    Network("ResNet-20", 405e-6, 4 * 272_474, 19, "bench/roofline.py, bf16"),
    Network("VGG-11, 32x32", products(0.153e9), 4 * 9_225_610, 0, "its products"),
    Network("VGG-11, 224x224", products(7.6e9), 4 * 132_863_336, 0, "its products"),
)
GPUS = (1, 8, 16, 32, 64, 128, 256, 512, 1024)


def small_sum(gpus: int) -> float:
    """Seconds of a sum of few numbers: up a tree and down again."""
    if gpus == 1:
        return 0.0
    nodes = max(1, gpus // NODE)
    hops = math.log2(min(gpus, NODE)) * HOP + math.log2(nodes) * HOP_BETWEEN
    return START + 2 * hops


def bucket_sum(gpus: int, count: float) -> float:
    """Seconds of a sum of ``count`` bytes: reduced within nodes, then between them, then handed out."""
    if gpus == 1:
        return 0.0
    here, nodes = min(gpus, NODE), max(1, gpus // NODE)
    within = 2 * (here - 1) / here * count / WITHIN
    between = 2 * (nodes - 1) / nodes * count / here / BETWEEN
    return small_sum(gpus) + within + between


def step(network: Network, gpus: int) -> tuple[float, float]:
    """(seconds of a step, of which not computing)."""
    buckets = max(1, math.ceil(network.bytes / BUCKET))
    each = bucket_sum(gpus, network.bytes / buckets)
    hidden = min((buckets - 1) * each, BACKWARD * network.seconds)
    exposed = buckets * each - hidden + 3 * network.norms * small_sum(gpus)
    return network.seconds + exposed, exposed


def bend(network: Network) -> str:
    """The fewest GPUs on which less than nine tenths of a step compute."""
    found = [n for n in GPUS if network.seconds / step(network, n)[0] < 0.9]
    return f"from {found[0]:,} GPUs on" if found else "not up to 1,024 GPUs"


def table() -> str:
    """Predicted efficiency: the share of a step in which a GPU computes."""
    lines = ["| predicted efficiency | " + " | ".join(f"{n:,}" for n in GPUS) + " | below 90 % |"]
    lines.append("|" + " --- |" * (len(GPUS) + 2))
    for network in NETWORKS:
        cells = [f"{network.seconds / step(network, n)[0]:.0%}" for n in GPUS]
        lines.append(f"| {network.name} | {' | '.join(cells)} | {bend(network)} |")
    return "\n".join(lines)
