"""The tables of bench/scaling.py, and the model of many GPUs behind the second."""

import json
import math
from pathlib import Path

import pytest

import scaling
import scaling_model as model

ROOT = Path(__file__).parents[2]


def test_the_page_has_the_newest_result_and_the_model_of_today():
    page = (ROOT / "docs" / "PERFORMANCE.md").read_text()
    newest = max((ROOT / "bench" / "results").glob("scaling-*.json"))
    assert scaling.table(json.loads(newest.read_text())) in page
    assert model.table() in page
    assert newest.name in page


@pytest.mark.parametrize("network", model.NETWORKS, ids=lambda one: one.name)
def test_more_gpus_wait_longer_and_one_does_not(network):
    seconds = [model.step(network, gpus)[0] for gpus in model.GPUS]
    assert seconds[0] == network.seconds
    assert seconds == sorted(seconds)


def test_a_sum_within_a_node_by_hand():
    # 8 GPUs: three hops up and three down, and 7/8 of the bytes out and in.
    wanted = 8e-6 + 6 * 1.5e-6 + 2 * 7 / 8 * 1e9 / 360e9
    assert model.bucket_sum(8, 1e9) == pytest.approx(wanted)
    # Two nodes: one hop more each way, and half of an eighth of the bytes through each card, twice.
    wanted += 2 * 5e-6 + 1e9 / 8 / 45e9
    assert model.bucket_sum(16, 1e9) == pytest.approx(wanted)


def test_what_overlaps_is_not_waited_for():
    network = model.Network("large", 1.0, 4 * model.BUCKET, 0, "")
    each = model.bucket_sum(64, model.BUCKET)
    assert model.step(network, 64)[1] == pytest.approx(each)
    short = model.Network(
        "short", each, 4 * model.BUCKET, 0, ""
    )  # more to send than to hide it behind
    assert model.step(short, 64)[1] == pytest.approx(4 * each - model.BACKWARD * each)


def test_parameters_are_those_of_the_networks():
    from arraycnn.layers.undrawn import Undrawn
    from arraycnn.networks import resnet20, vgg11
    from arraycnn.tree import leaves

    for name, network, shape in (
        ("ResNet-20", resnet20(10), (32, 32, 3)),
        ("VGG-11, 32x32", vgg11(10), (32, 32, 3)),
    ):
        (of,) = [one for one in model.NETWORKS if one.name == name]
        params, _, _ = network.init(Undrawn(), shape)
        assert of.bytes == 4 * sum(math.prod(leaf.shape) for leaf in leaves(params))
