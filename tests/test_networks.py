"""The named networks against the numbers published for them."""

import re

import numpy as np
import pytest

from arraycnn import (
    SGD,
    ArrayAPIStrict,
    Conv2d,
    Dense,
    Flatten,
    InvalidValueError,
    MaxPool2d,
    MeanSquaredError,
    Model,
    NumPy,
    Sequential,
    SoftmaxCrossEntropy,
    networks,
)
from arraycnn.model.summary import rows
from arraycnn.networks import NETWORKS, scratch, smallest_image, unet_small
from arraycnn.tree import leaves

# scratch: the tutorial's 26x26x8 and 13x13x8 volumes; its 3x3 filters have no bias.
# basic: PyTorch's MNIST example has 1,199,882 parameters. lenet5: LeNet-5 with dense layers of
# 400-120-84-10 inputs and outputs, and full connections in C3, has 61,706. fast_cnn: tuomaso's has
# biases of 24, 32 and 256 where batch norm has twice as many. strided_cnn: Keras counts 327,242 of
# Deotte's, of which 832 are running averages, and a last bias for which batch norm has two numbers.
PUBLISHED = {
    "scratch": (
        [(28, 28, 1), (26, 26, 8), (13, 13, 8), (1352,), (10,)],
        [3 * 3 * 8, 13 * 13 * 8 * 10 + 10],
        13_602,
    ),
    "basic": (
        [
            *((28, 28, 1), (26, 26, 32), (26, 26, 32), (24, 24, 64), (24, 24, 64), (12, 12, 64)),
            *((12, 12, 64), (9216,), (128,), (128,), (128,), (10,)),
        ],
        [320, 18_496, 1_179_776, 1_290],
        1_199_882,
    ),
    "lenet5": (
        [
            *((28, 28, 1), (28, 28, 6), (28, 28, 6), (14, 14, 6), (10, 10, 16), (10, 10, 16)),
            *((5, 5, 16), (400,), (120,), (120,), (84,), (84,), (10,)),
        ],
        [156, 2_416, 48_120, 10_164, 850],
        61_706,
    ),
    "fast_cnn": (
        [
            *((28, 28, 1), (24, 24, 24), (24, 24, 24), (24, 24, 24), (12, 12, 24)),
            *((10, 10, 32), (10, 10, 32), (10, 10, 32), (5, 5, 32), (800,)),
            *((256,), (256,), (256,), (10,)),
        ],
        [600, 48, 6_912, 64, 204_800, 512, 2_570],
        214_882 + 624,
    ),
    "strided_cnn": (
        [
            *((28, 28, 1), *[(26, 26, 32)] * 3, *[(24, 24, 32)] * 3, *[(12, 12, 32)] * 4),
            *(*[(10, 10, 64)] * 3, *[(8, 8, 64)] * 3, *[(4, 4, 64)] * 4, *[(1, 1, 128)] * 3),
            *((128,), (128,), (10,), (10,)),
        ],
        [
            320,
            64,
            9_248,
            64,
            25_632,
            64,
            18_496,
            128,
            36_928,
            128,
            102_464,
            128,
            131_200,
            256,
            1_280,
            20,
        ],
        327_242 - 832 + 10,
    ),
}


# Parameters for ten classes of images of 32 x 32 pixels in three channels. ResNets: 0.27 and 0.85
# million in the paper, here with its shortcuts B; of 18, 34 and 50 layers torchvision has 11,689,512,
# 21,797,672 and 25,557,032 for 1,000 classes. VGG's convolutions are torchvision's, 9,220,480,
# 9,404,992 and 14,714,688 with their biases, and 5,130 of the last layer; batch norm has two a channel.
# MobileNet's are those that Keras trains of its MobileNet(alpha=0.25, include_top=False), 213,072, and
# 2,570 of the last layer. DenseNet-BC (k = 12, depth 40) is 0.18 million in its paper.
PARAMETERS = {
    "resnet8": 78_042,
    "resnet18": 11_689_512 - 513_000 + 5_130,
    "resnet20": 272_474,
    "resnet32": 466_906,
    "resnet34": 21_797_672 - 513_000 + 5_130,
    "resnet44": 661_338,
    "resnet50": 25_557_032 - 2_049_000 + 20_490,
    "resnet56": 855_770,
    "vgg11": 9_225_610,
    "vgg13": 9_410_122,
    "vgg16": 14_719_818,
    "vgg11_bn": 9_231_114,
    "vgg13_bn": 9_416_010,
    "vgg16_bn": 14_728_266,
    "densenet_small": 176_122,
    "mobilenet_small": 215_642,
}


def test_every_named_network_has_published_numbers():
    assert sorted([*PUBLISHED, *PARAMETERS]) == sorted(NETWORKS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_larger_networks_have_as_many_parameters_as_published(name):
    params, _, shape = NETWORKS[name]().init(Uniform(), (32, 32, 3))
    assert shape == (10,)
    assert sum(leaf.size for leaf in leaves(params)) == PARAMETERS[name]
    assert NETWORKS[name](classes=7).init(Uniform(), (28, 28, 1))[2] == (7,)


class Uniform(np.random.Generator):
    """Draws nothing: millions of numbers take a second."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))

    def normal(self, loc=0.0, scale=1.0, size=None):
        return np.broadcast_to(0.0, size)


def test_a_unet_has_a_class_for_each_pixel():
    def block(inputs, filters):  # two convolutions and their norms
        return 9 * (inputs + filters) * filters + 4 * filters

    params, _, shape = unet_small(5).init(Uniform(), (16, 12, 3))
    assert shape == (16, 12, 5)
    down = block(3, 16) + block(16, 32) + block(32, 64)
    up = 4 * 64 * 32 + 32 + block(64, 32) + 4 * 32 * 16 + 16 + block(32, 16)
    assert sum(leaf.size for leaf in leaves(params)) == down + up + 16 * 5 + 5
    with pytest.raises(InvalidValueError, match="equal but for the last axis"):
        unet_small().init(Uniform(), (18, 12, 3))


@pytest.mark.parametrize("name", ["resnet8", "unet_small"])
def test_a_program_trains_larger_networks_as_their_layers_do(name):
    per_pixel = name == "unet_small"
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 8, 8, 2), dtype=np.uint8)
    labels = rng.integers(0, 3, (8, 8, 8) if per_pixel else 8)

    def trained(backend):
        settings = {"loss": SoftmaxCrossEntropy(per_pixel=per_pixel), "dtype": "float64"}
        model = Model(getattr(networks, name)(3), (8, 8, 2), backend, **settings)
        model.fit(images, labels, epochs=1, batch_size=4, optimizer=SGD(0.01))
        return model

    expected = trained(ArrayAPIStrict())
    model = trained(NumPy(fast=False))
    for path, array in expected.parameters.items():
        np.testing.assert_allclose(model.parameters[path], array, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        *(("vgg11_bn", {}), ("densenet_small", {}), ("mobilenet_small", {})),
        *(("resnet18", {"width": 4}), ("resnet50", {"width": 2, "stem": "3x3"})),
        ("resnet8", {"width": 4, "shortcut": "zeros", "torch_padding": True}),
    ],
)
def test_a_program_predicts_as_larger_networks_do(name, arguments):
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 2), dtype=np.uint8)
    # Of small images little is left behind so many windows with padding: what they give as it is.
    settings = {"loss": MeanSquaredError(), "dtype": "float64"}
    found = [
        Model(NETWORKS[name](3, **arguments), (8, 8, 2), backend, **settings).predict(images)
        for backend in (NumPy(fast=False), ArrayAPIStrict())
    ]
    np.testing.assert_allclose(*found, rtol=1e-9)
    assert np.ptp(found[0], axis=0).min() > 1e-3 * np.abs(found[0]).max()  # it sees its images


def count(network, shape):
    return sum(leaf.size for leaf in leaves(network.init(Uniform(), shape)[0]))


def test_arguments_change_the_networks_as_they_say():
    shape = (64, 64, 3)
    # torchvision has 132,863,336 parameters in vgg11 and 138,365,992 in vgg16_bn.
    assert count(networks.vgg11(1000, head="dense"), shape) == 132_863_336
    assert count(networks.vgg16_bn(1000, head="dense"), shape) == 138_365_992
    small = networks.vgg11(5, width=2, head="dense", pooled=3, hidden=4)
    body = count(networks.vgg11(5, width=2), shape) - 16 * 5 - 5
    assert count(small, shape) == body + (9 * 16 * 4 + 4) + (4 * 4 + 4) + (4 * 5 + 5)
    # akamaster's resnet20 of shortcuts without parameters: 269,722 (0.27 M in its table).
    assert count(networks.resnet20(shortcut="zeros"), (32, 32, 3)) == 269_722
    assert count(networks.resnet18(width=8), shape) < count(networks.resnet18(width=16), shape) / 3
    # Keras trains 829,536 - 10,944 of its MobileNet(alpha=0.5, include_top=False).
    assert count(networks.mobilenet_small(width=0.5), shape) == 818_592 + 512 * 10 + 10
    assert count(networks.densenet_small(growth=4, layers_a_block=2), shape) < 6_000
    deep, flat = (unet_small(2, width=4, halvings=n).init(Uniform(), shape)[2] for n in (4, 0))
    assert deep == flat == (64, 64, 2)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: networks.resnet20(shortcut="pad"), 'resnet20: shortcut must be "projection" or'),
        (lambda: networks.resnet20(width=0), "resnet20: width must be at least 1, got 0"),
        (lambda: networks.resnet20(width=5, shortcut="zeros"), "width must be even for a shortcut"),
        (lambda: networks.resnet50(stem="5x5"), 'resnet50: stem must be "7x7" or "3x3", got'),
        (lambda: networks.resnet18(width=0), "resnet18: width must be at least 1"),
        (lambda: networks.vgg13_bn(head="mean"), 'vgg13_bn: head must be "average" or "dense"'),
        (lambda: networks.vgg13(hidden=0), "vgg13: hidden must be at least 1"),
        (lambda: networks.densenet_small(growth=0), "densenet_small: growth must be at least 1"),
        (lambda: networks.mobilenet_small(width=0.0), "mobilenet_small: width must be finite and"),
        (lambda: networks.strided_cnn(width=0), "strided_cnn: width must be at least 1, got 0"),
        (
            lambda: networks.strided_cnn(dropout=1.0),
            "strided_cnn: dropout must be below 1, got 1.0",
        ),
        (lambda: unet_small(halvings=-1), "unet_small: halvings must be at least 0"),
    ],
)
def test_wrong_arguments_are_refused(make, said):
    with pytest.raises(InvalidValueError, match=re.escape(said)):
        make()


def test_names_are_listed_in_short():
    assert networks.listing(["a", "r8", "r20", "r8_bn", "b", "r32"]) == "a, r8/20/32, r8_bn, b"
    shown = networks.listing(NETWORKS)
    assert "resnet8/18/20/32/34/44/50/56, vgg11/13/16, vgg11/13/16_bn, densenet_small" in shown


@pytest.mark.parametrize("name", PUBLISHED)
def test_shapes_and_parameters_are_the_published_ones(name):
    shapes, counts, total = PUBLISHED[name]
    table = rows(NETWORKS[name](), (28, 28, 1))
    assert [row.output_shape for row in table] == shapes
    assert [row.parameters for row in table if row.parameters] == counts
    assert sum(p.size for p in Model(NETWORKS[name](), (28, 28)).parameters.values()) == total


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_last_layer_has_one_output_a_class(name):
    assert Model(NETWORKS[name](classes=7), (28, 28, 1)).classes == 7


# scratch: 3x3, then 2x2. basic: two 3x3, then 2x2. lenet5: halved, 5x5, then 2x2.
@pytest.mark.parametrize(
    ("name", "size"),
    [("scratch", 4), ("basic", 6), ("lenet5", 12), ("fast_cnn", 12), ("strided_cnn", 25)],
)
def test_smallest_image_fits_and_one_pixel_less_does_not(name, size):
    network = NETWORKS[name]()
    assert smallest_image(network) == size
    Model(network, (size, size))
    with pytest.raises(InvalidValueError, match="layer"):
        Model(network, (size - 1, size - 1))


def test_smallest_image_knows_channels_and_its_limit():
    wide = Sequential(Conv2d(2, 5), MaxPool2d(3), Flatten(), Dense(2))
    assert smallest_image(wide, channels=3) == 7
    assert smallest_image(wide, limit=6) is None
    assert smallest_image(Sequential(Dense(2))) is None


def test_scratch_takes_the_tutorials_rule_for_ties():
    pools = [network.layers[2] for network in (scratch(), scratch(ties="all"))]
    assert pools == [MaxPool2d(2), MaxPool2d(2, ties="all")]
    assert pools[0] != pools[1]
