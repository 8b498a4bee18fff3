"""The networks that the benchmarks train, their data, and the least that a step of each must take."""

from dataclasses import dataclass
from functools import cache

import numpy as np

SEED = 0
LEARNING_RATE = 0.01
MOMENTUM = 0.9


@dataclass(frozen=True)
class Net:
    """A network as every library builds it.

    Attributes
    ----------
    layers : tuples
        ("conv", and the settings of `Convolution`); ("relu",); ("swish",), x * sigmoid(x), which a
        user wrote; ("pool",) and ("average",), 2x2, and ("pool", size, stride, padding); ("norm",), of
        a batch; ("means",) of all pixels; ("residual", layers, layers around them, none for x itself);
        ("beside", layers): x, and behind its channels what they give; ("enlarge", filters), a
        transposed convolution, 2x2 with a stride of 2; ("flatten",), in the order H, W, C; ("dense",
        outputs).
    training_flop : float
        For one image: forward, both gradients of each layer but the first's for its image. This and
        what follows is 0 where no bound is computed of it.
    image_bytes, step_bytes : float
        The least traffic with device memory in float32: for an image, and for a step besides.
    kernels : int
        The fewest kernels that a step can well be.
    optimizer : str
        "sgd", "momentum" (SGD with 0.9) or "adam", all at ``rate``.
    batches : tuple of int
        The batch sizes in which it is trained where no other is asked for.
    of_pixels : bool
        Whether it gives each pixel a class, one or none of an image, and so are its labels.
    """

    title: str
    image_shape: tuple[int, int, int]
    layers: tuple[tuple, ...]
    training_flop: float = 0.0
    image_bytes: float = 0.0
    step_bytes: float = 0.0
    kernels: int = 0
    optimizer: str = "sgd"
    rate: float = LEARNING_RATE
    batches: tuple[int, ...] = (64,)
    of_pixels: bool = False


@dataclass(frozen=True)
class Convolution:
    """The settings of a convolution, in the order in which `Net.layers` has them.

    ``padding`` is "valid", "same" or a number of pixels on each side.
    """

    filters: int
    padding: str | int
    bias: bool
    kernel: int = 3
    stride: int = 1
    groups: int = 1

    def output_shape(self, shape):
        """(height, width, filters) from images of ``shape``."""
        sides = {"valid": 0, "same": self.kernel - 1}.get(self.padding)
        around = 2 * self.padding if sides is None else sides
        return (*((n + around - self.kernel) // self.stride + 1 for n in shape[:2]), self.filters)


SMALL, COLOURS = (28, 28, 1), (32, 32, 3)


def _basic(*, norm=False, activation="relu", pool="pool"):
    """PyTorch's basic MNIST network without dropout, and what is trained in its place today."""
    after = (("norm",), (activation,)) if norm else ((activation,),)
    return (
        *(("conv", 32, "valid", not norm), *after),
        *(("conv", 64, "valid", not norm), *after, (pool,)),
        *(("flatten",), ("dense", 128), (activation,), ("dense", 10)),
    )


def _resnet(blocks):
    """He et al., "Deep residual learning", for CIFAR's size: three stages of so many blocks."""

    def normed(filters, kernel=3, stride=1):
        return ("conv", filters, kernel // 2, False, kernel, stride), ("norm",)

    layers = [*normed(16), ("relu",)]
    for filters, first in ((16, 1), (32, 2), (64, 2)):
        for stride in (first, *(1,) * (blocks - 1)):
            body = (*normed(filters, stride=stride), ("relu",), *normed(filters))
            around = normed(filters, 1, stride) if stride > 1 else ()
            layers += [("residual", body, around), ("relu",)]
    return (*layers, ("means",), ("dense", 10))


def _resnet18():
    """The same for large images, with two blocks in each of four stages."""

    def normed(filters, kernel=3, stride=1):
        return ("conv", filters, kernel // 2, False, kernel, stride), ("norm",)

    layers = [*normed(64, 7, 2), ("relu",), ("pool", 3, 2, 1)]
    for filters, first in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first, 1):
            body = (*normed(filters, 3, stride), ("relu",), *normed(filters))
            around = normed(filters, 1, stride) if stride > 1 else ()
            layers += [("residual", body, around), ("relu",)]
    return (*layers, ("means",), ("dense", 10))


def _mobilenet():
    """Howard et al., "MobileNets", of a quarter of the width, for images of 32x32 pixels."""

    def normed(filters, kernel, stride=1, groups=1):
        conv = ("conv", filters, kernel // 2, False, kernel, stride, groups)
        return conv, ("norm",), ("relu",)

    layers, channels = [*normed(8, 3)], 8
    pairs = [
        (16, 1),
        (32, 2),
        (32, 1),
        (64, 2),
        (64, 1),
        (128, 2),
        *[(128, 1)] * 5,
        (256, 2),
        (256, 1),
    ]
    for filters, stride in pairs:
        layers += [*normed(channels, 3, stride, channels), *normed(filters, 1)]
        channels = filters
    return (*layers, ("means",), ("dense", 10))


def _unet(filters=16, below=2):
    """Ronneberger et al., "U-Net", of three levels, 16, 32 and 64 channels."""

    def twice(filters):
        return (("conv", filters, "same", False), ("norm",), ("relu",)) * 2

    if below == 0:
        return twice(filters)
    inner = ("pool",), *_unet(2 * filters, below - 1), ("enlarge", filters)
    return *twice(filters), ("beside", inner), *twice(filters)


def _lenet():
    """LeNet-5 of valid convolutions, as the MNIST example of SimpleChains.jl has it."""
    conv = [(("conv", filters, "valid", True, 5), ("relu",), ("pool",)) for filters in (6, 16)]
    dense = (("dense", 120), ("relu",), ("dense", 84), ("relu",), ("dense", 10))
    return (*conv[0], *conv[1], ("flatten",), *dense)


NETS = {
    "a": Net(
        "tutorial's network",
        SMALL,
        (("conv", 8, "valid", False), ("pool",), ("flatten",), ("dense", 10)),
        *(0.276e6, 785, 0, 2),
        batches=(1, 64, 256, 1024),
    ),
    "b": Net(
        "PyTorch's basic MNIST network, without dropout",
        SMALL,
        _basic(),
        *(71.57e6, 0.24e6, 24e6, 9),
        batches=(1, 64, 256, 1024),
    ),
    "cifar": Net(
        "three convolutions, 64-128-256, on CIFAR's size",
        COLOURS,
        (
            *(("conv", 64, "same", True), ("relu",), ("pool",)),
            *(("conv", 128, "same", True), ("relu",), ("pool",)),
            *(("conv", 256, "same", True), ("relu",), ("pool",)),
            *(("flatten",), ("dense", 10)),
        ),
        # 1.77, 18.87 and 18.87 million products and 0.04; twice as many in backward, but for the first
        *(2 * (2 * 1.77e6 + 3 * (18.87e6 + 18.87e6 + 0.04e6)), 0.75e6, 10e6, 11),
    ),
    "lenet": Net(
        *("LeNet of valid convolutions, Adam", SMALL, _lenet()),
        optimizer="adam",
        rate=3e-4,
        batches=(64, 256, 1024),
    ),
    "relu": Net(
        *("the basic network", SMALL, _basic()),
    ),
    "norm": Net(
        *("the basic network with batch norm", SMALL, _basic(norm=True)),
        # Neither can what the second convolution gives be pooled before its statistics are there.
        *(71.57e6, 0.54e6, 34e6, 13),
        optimizer="momentum",
        rate=1e-3,
    ),
    "average": Net(
        *("the basic network with an average pool", SMALL, _basic(pool="average")),
    ),
    "swish": Net(
        *("the basic network with a user's activation", SMALL, _basic(activation="swish")),
    ),
    "resnet8": Net(
        *("ResNet-8", COLOURS, _resnet(1)),
        optimizer="momentum",
    ),
    "resnet20": Net(
        *("ResNet-20", COLOURS, _resnet(3)),
        # 40.8 million products, and all but the first convolution's twice again. What convolutions
        # give, 200,704 numbers, is written once and read once. A kernel for each forward and for each
        # of its two gradients, with all that norms and sums do in them.
        *(2 * (3 * 40.8e6 - 0.44e6), 1.6e6, 7.6e6, 64),
        optimizer="momentum",
        batches=(128,),
    ),
    "mobilenet": Net(
        *("MobileNet of a quarter of the width", COLOURS, _mobilenet()),
        optimizer="momentum",
        rate=1e-3,
    ),
    "resnet18": Net(
        *("ResNet-18 on 64x64", (64, 64, 3), _resnet18()),
        optimizer="momentum",
        rate=1e-3,
        batches=(32,),
    ),
    "unet": Net(
        *(
            "a U-Net of three levels on 64x64",
            (64, 64, 3),
            (*_unet(), ("conv", 2, "valid", True, 1)),
        ),
        optimizer="momentum",
        batches=(32,),
        of_pixels=True,
    ),
}

DETAILED = ("a", "b")
"""The networks of the tables that go into detail: memory, threads, batch sizes, kernels."""

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
    """What the columns of the largest convolution of a plain chain would take in float32."""
    height, width, channels = NETS[net].image_shape
    largest = 0
    for kind, *settings in NETS[net].layers:
        if kind == "conv":
            conv, inputs = Convolution(*settings), channels
            height, width, channels = conv.output_shape((height, width))
            largest = max(largest, 4 * batch * height * width * conv.kernel**2 * inputs)
        elif kind == "pool":
            height, width = height // 2, width // 2
    return largest


@cache
def dataset(net, count):
    """``count`` images, (N, H, W, C) uint8, and labels, int32: real digits, enlarged and mixed up.

    Where the network takes colours, its channels are three different digits, the first of which is
    the label's. Labels of pixels, (N, H, W), are 1 where that digit is.
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
    labels = images[..., 0] > 96 if NETS[net].of_pixels else digits.train_labels[chosen[:, 0]]
    return np.maximum(images, noise), labels.astype(np.int32)


def batches(images, batch, epoch):
    """The images of each step of ``epoch``, (steps, batch) int32: `Model.fit`'s own order."""
    order = np.random.default_rng([SEED, epoch]).permutation(images).astype(np.int32)
    return order.reshape(-1, batch)


class Order:
    """The batches of one step after another, epoch after epoch in the same order."""

    def __init__(self, images, batch):
        permutation = np.random.default_rng(SEED).permutation(images).astype(np.int32)
        self._batches = permutation[: images // batch * batch].reshape(-1, batch)
        self.done = 0

    def take(self, count):
        """The indices of the next ``count`` steps, each (batch,) int32."""
        first, self.done = self.done, self.done + count
        return [self._batches[step % len(self._batches)] for step in range(first, self.done)]


def network(net):
    """The network in this library."""
    import arraycnn as cnn

    return cnn.Sequential(cnn.Rescale(), *_layers(NETS[net].layers))


def _layers(spec):
    import arraycnn as cnn
    from swish import Swish

    simple = {
        "relu": cnn.ReLU,
        "swish": Swish,
        "norm": cnn.BatchNorm2d,
        "means": cnn.GlobalAvgPool2d,
        "flatten": cnn.Flatten,
        "dense": cnn.Dense,
        "pool": _max_pool,
        "enlarge": lambda filters: cnn.ConvTranspose2d(filters, 2, 2),
        "average": lambda: cnn.AvgPool2d(2),
    }
    for kind, *settings in spec:
        if kind == "conv":
            conv = Convolution(*settings)
            padding = conv.padding if isinstance(conv.padding, str) else (conv.padding,) * 2
            groups = {"bias": conv.bias, "groups": conv.groups}
            yield cnn.Conv2d(conv.filters, conv.kernel, conv.stride, padding, **groups)
        elif kind == "beside":
            yield cnn.Concatenate(cnn.Identity(), cnn.Sequential(*_layers(settings[0])))
        elif kind == "residual":
            body, around = (cnn.Sequential(*_layers(part)) if part else None for part in settings)
            yield cnn.Residual(body, around)
        else:
            yield simple[kind](*settings)


def _max_pool(size=2, stride=None, padding=0):
    import arraycnn as cnn

    return cnn.MaxPool2d(size, stride, padding=(padding, padding) if padding else "valid")


def optimizer(net):
    """Its optimizer in this library."""
    import arraycnn as cnn

    spec = NETS[net]
    if spec.optimizer == "adam":
        return cnn.Adam(spec.rate)
    return cnn.SGD(spec.rate, momentum=MOMENTUM if spec.optimizer == "momentum" else 0.0)


def model_of(net, backend):
    """The network as a model of this library, with the parameters of all contenders."""
    import arraycnn as cnn

    spec = NETS[net]
    loss = cnn.SoftmaxCrossEntropy(per_pixel=spec.of_pixels)
    return cnn.Model(network(net), spec.image_shape, backend=backend, seed=SEED, loss=loss)


def initial_parameters(net):
    """The parameters that every contender begins with: for each layer with any, [weight, bias].

    In the order of the layers; of a residual, those of its body come first.
    """
    import arraycnn as cnn

    # Nothing is computed: a peer's process need not load compiled kernels of ours.
    plain = cnn.NumPy(fast=False)
    found = model_of(net, plain).parameters
    places = dict.fromkeys(path.rpartition(".")[0] for path in found)
    kinds = [(f"{place}.weight", f"{place}.bias") for place in places]
    return [[found[path] for path in pair if path in found] for pair in kinds]
