"""The networks that the benchmarks train, their data, and the least that a step of each must take."""

from dataclasses import dataclass
from functools import cache

import numpy as np

SEED = 0
LEARNING_RATE = 0.01


@dataclass(frozen=True)
class Net:
    """A network as every library builds it.

    Attributes
    ----------
    layers : tuples
        ("conv", filters, "valid" or "same", has a bias), all 3x3; ("relu",); ("pool",), 2x2;
        ("flatten",), in the order H, W, C; ("dense", outputs).
    training_flop : float
        For one image: forward, both gradients of each layer but the first's for its image.
    image_bytes, step_bytes : float
        The least traffic with device memory in float32: for an image, and for a step besides.
    kernels : int
        The fewest kernels that a step can well be.
    """

    title: str
    image_shape: tuple[int, int, int]
    layers: tuple[tuple, ...]
    training_flop: float
    image_bytes: float
    step_bytes: float
    kernels: int


NETS = {
    "a": Net(
        "tutorial's network",
        (28, 28, 1),
        (("conv", 8, "valid", False), ("pool",), ("flatten",), ("dense", 10)),
        *(0.276e6, 785, 0, 2),
    ),
    "b": Net(
        "PyTorch's basic MNIST network, without dropout",
        (28, 28, 1),
        (
            *(("conv", 32, "valid", True), ("relu",)),
            *(("conv", 64, "valid", True), ("relu",), ("pool",)),
            *(("flatten",), ("dense", 128), ("relu",), ("dense", 10)),
        ),
        *(71.57e6, 0.24e6, 24e6, 9),
    ),
    "cifar": Net(
        "three convolutions, 64-128-256, on CIFAR's size",
        (32, 32, 3),
        (
            *(("conv", 64, "same", True), ("relu",), ("pool",)),
            *(("conv", 128, "same", True), ("relu",), ("pool",)),
            *(("conv", 256, "same", True), ("relu",), ("pool",)),
            *(("flatten",), ("dense", 10)),
        ),
        # 1.77, 18.87 and 18.87 million products and 0.04; twice as many in backward, but for the first
        *(2 * (2 * 1.77e6 + 3 * (18.87e6 + 18.87e6 + 0.04e6)), 0.75e6, 10e6, 11),
    ),
}

# Dense peaks of an H200 SXM, FLOP/s and bytes/s, from its data sheet.
H200 = {"fp32": 67e12, "tf32": 494.7e12, "bf16": 989e12, "copy": 4.8e12}
SECONDS_A_KERNEL = 1.2e-6
"""From one kernel of a CUDA graph to the next, at the least."""


def floor_seconds(net, batch, precision, rates):
    """The least a training step can take: the slower of arithmetic and memory, then the kernels."""
    spec, size = NETS[net], 0.5 if precision == "bf16" else 1.0
    arithmetic = spec.training_flop * batch / rates[precision]
    memory = (spec.image_bytes * size * batch + spec.step_bytes) / rates["copy"]
    return max(arithmetic, memory) + spec.kernels * SECONDS_A_KERNEL


def columns_bytes(net, batch):
    """What the columns of the largest convolution would take in float32: 9 numbers for each."""
    height, width, channels = NETS[net].image_shape
    largest = 0
    for kind, *settings in NETS[net].layers:
        if kind == "conv":
            filters, padding, _ = settings
            height, width = (height, width) if padding == "same" else (height - 2, width - 2)
            largest = max(largest, 4 * batch * height * width * 9 * channels)
            channels = filters
        elif kind == "pool":
            height, width = height // 2, width // 2
    return largest


@cache
def dataset(net, count):
    """``count`` images, (N, H, W, C) uint8, and labels, int32: real digits, enlarged and mixed up.

    Where the network takes colours, its channels are three different digits, the first of which is
    the label's.
    """
    from arraycnn.data import load_dataset

    digits = load_dataset("digits")
    height, width, channels = NETS[net].image_shape
    large = np.repeat(np.repeat(digits.train_images[..., 0], 3, axis=1), 3, axis=2)
    room = (height - large.shape[1], width - large.shape[2])
    large = np.pad(large, ((0, 0), *((r // 2, r - r // 2) for r in room)))
    rng = np.random.default_rng(SEED)
    chosen = rng.integers(0, len(large), (count, channels))
    images = np.stack([large[chosen[:, c]] for c in range(channels)], axis=3)
    noise = rng.integers(0, 24, images.shape, dtype=np.uint8)
    return np.maximum(images, noise), digits.train_labels[chosen[:, 0]].astype(np.int32)


def batches(images, batch, epoch):
    """The images of each step of ``epoch``, (steps, batch) int32: `Model.fit`'s own order."""
    order = np.random.default_rng([SEED, epoch]).permutation(images).astype(np.int32)
    return order.reshape(-1, batch)


def network(net):
    """The network in this library."""
    import arraycnn as cnn

    made = {
        "conv": lambda filters, padding, bias: cnn.Conv2d(filters, 3, padding=padding, bias=bias),
        "relu": cnn.ReLU,
        "pool": lambda: cnn.MaxPool2d(2),
        "flatten": cnn.Flatten,
        "dense": cnn.Dense,
    }
    layers = [made[kind](*settings) for kind, *settings in NETS[net].layers]
    return cnn.Sequential(cnn.Rescale(), *layers)


def initial_parameters(net):
    """The parameters that every contender begins with: for each layer with any, [weight, bias]."""
    import arraycnn as cnn

    # Nothing is computed: a peer's process need not load compiled kernels of ours.
    plain = cnn.NumPy(fast=False)
    model = cnn.Model(network(net), NETS[net].image_shape, backend=plain, seed=SEED)
    found = model.parameters
    places = sorted({int(path.split(".")[0]) for path in found})
    kinds = [(f"{place}.weight", f"{place}.bias") for place in places]
    return [[found[path] for path in pair if path in found] for pair in kinds]
