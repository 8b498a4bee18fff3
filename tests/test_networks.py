"""The named networks against the numbers published for them."""

import pytest

from arraycnn import Conv2d, Dense, Flatten, InvalidValueError, MaxPool2d, Model, Sequential
from arraycnn.model.summary import rows
from arraycnn.networks import NETWORKS, scratch, smallest_image

# scratch: the tutorial's 26x26x8 and 13x13x8 volumes; its 3x3 filters have no bias.
# basic: PyTorch's MNIST example has 1,199,882 parameters. lenet5: LeNet-5 with dense layers of
# 400-120-84-10 inputs and outputs, and full connections in C3, has 61,706.
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
}


def test_every_named_network_has_published_numbers():
    assert set(PUBLISHED) == set(NETWORKS)


@pytest.mark.parametrize("name", PUBLISHED)
def test_shapes_and_parameters_are_the_published_ones(name):
    shapes, counts, total = PUBLISHED[name]
    table = rows(NETWORKS[name](), (28, 28, 1))
    assert [row.output_shape for row in table] == shapes
    assert [row.parameters for row in table if row.parameters] == counts
    assert sum(p.size for p in Model(NETWORKS[name](), (28, 28)).parameters.values()) == total


@pytest.mark.parametrize("name", NETWORKS)
def test_the_last_layer_has_one_output_a_class(name):
    assert Model(NETWORKS[name](classes=7), (28, 28, 1)).classes == 7


# scratch: 3x3, then 2x2. basic: two 3x3, then 2x2. lenet5: halved, 5x5, then 2x2.
@pytest.mark.parametrize(("name", "size"), [("scratch", 4), ("basic", 6), ("lenet5", 12)])
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
