"""The model of a device: what it is frozen to, and what it makes of work that is known."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import roofline
import roofline_model as model
from kernel_work import works_of
from launches import launches_of_step
from nets import H200, NETS, Convolution, floor_seconds
from optional import needs

FROZEN = json.loads(
    (Path(roofline.__file__).parent / "frozen" / "roofline-e7d5888.json").read_text("utf-8")
)["cells"]


def frozen_works(cell):
    return [model.Work(*row) for row in FROZEN[cell]["works"]]


def cell_of(name):
    net, precision, batch = name.split()
    return net, precision, int(batch)


def test_no_constant_has_moved():
    assert {
        name: getattr(model, name)
        for name in vars(model)
        if name.isupper() and not name.startswith("_")
    } == {
        "CLOCK": 1.83e9,
        "MULTIPROCESSORS": 132,
        "ISSUED": 4,
        "NODE": 0.95e-6,
        "TURN": 305,
        "BYTES": 4.8e12,
        "FUSED": 4,
    }


@pytest.mark.parametrize("cell", FROZEN)
def test_the_table_made_by_hand_is_reproduced(cell):
    """Of commit e7d5888, from its launches and the instructions that they executed."""
    took = model.predicted(frozen_works(cell)) * 1e6
    assert took == pytest.approx(FROZEN[cell]["by hand"], rel=0.1)
    net, precision, batch = cell_of(cell)
    floor = floor_seconds(net, batch, precision, H200) * 1e6
    assert floor == pytest.approx(FROZEN[cell]["floor by hand"], abs=0.5, rel=0.01)


@pytest.mark.parametrize("cell", FROZEN)
def test_the_table_prints_what_it_printed_then(cell):
    printed = roofline.line_of(cell_of(cell), frozen_works(cell))
    assert printed == FROZEN[cell]["printed"]


NODES = {
    ("a", "fp32", 64): 4,
    ("b", "fp32", 64): 14,
    ("b", "fp32", 256): 13,
    ("b", "fp32", 1024): 14,
    ("b", "tf32", 64): 14,
    ("b", "tf32", 256): 13,
    ("b", "bf16", 1024): 14,
    ("resnet20", "bf16", 128): 128,
}
"""No more than now: who makes it fewer lowers them."""


@pytest.mark.parametrize("cell", {**NODES, **roofline.GOALS})
def test_nodes_of_a_step(cell):
    net, precision, batch = cell
    assert len(launches_of_step(net, batch, precision)) <= NODES[cell]


IDLE = model.Work("k", 1, 128, 32, 0, 0, 0, 0, 0, 0)


def cycles(**changes):
    return (replace(IDLE, **changes).predicted - 0.95e-6) * 1.83e9


def test_a_kernel_takes_the_longest_of_its_parts():
    assert cycles() == pytest.approx(0, abs=1e-6)
    assert cycles(issued=8000) == pytest.approx(2000)
    assert cycles(issued=8000, blocks=132) == pytest.approx(2000)
    assert cycles(issued=8000, blocks=133) == pytest.approx(4000)
    assert cycles(issued=8000, turns=10) == pytest.approx(3050)
    assert cycles(issued=16000, turns=10) == pytest.approx(4000)
    assert cycles(issued=8000, products=2500) == pytest.approx(2500)
    # Sixteen blocks of four warps wait at the same time; a seventeenth waits behind them.
    assert cycles(turns=10, blocks=16 * 132) == pytest.approx(3050)
    assert cycles(turns=10, blocks=16 * 132 + 1) == pytest.approx(6100)
    assert model.predicted([IDLE, IDLE]) == pytest.approx(1.9e-6)


def test_blocks_of_several_kinds_go_where_one_has_ended():
    def took(*shares, registers=32):
        return (
            model.work_of_shares(
                "k", 128, registers, 0, 0, [model.Share(*s) for s in shares]
            ).predicted
            - 0.95e-6
        ) * 1.83e9

    assert took((132, 8000, 0, 0, 0)) == pytest.approx(2000)
    assert took((132, 8000, 0, 0, 0), (132, 400, 0, 0, 0)) == pytest.approx(2100)
    assert took((66, 8000, 0, 0, 0), (66, 400, 0, 0, 0)) == pytest.approx(2000)
    # Half of the long ones are behind a short one.
    assert took((66, 400, 0, 0, 0), (132, 8000, 0, 0, 0)) == pytest.approx(2100)
    assert took((132, 0, 3000, 0, 0), (1, 0, 100, 0, 0)) == pytest.approx(3100)
    # Sixteen blocks of four warps wait at the same time.
    assert took((132, 0, 0, 0, 10), (15 * 132, 0, 0, 0, 2)) == pytest.approx(3050)
    mixed = model.work_of_shares(
        "k", 128, 32, 0, 0, [model.Share(3, 8, 4, 0, 1), model.Share(1, 4, 0, 0, 5)]
    )
    assert (mixed.blocks, mixed.issued, mixed.products, mixed.turns) == (4, 7, 3, 5)


@pytest.mark.parametrize(
    ("changes", "resident"),
    [
        ({"threads": 32}, 32),
        ({"threads": 1024}, 2),
        ({"threads": 128, "registers": 128}, 4),
        ({"threads": 128, "registers": 73}, 6),  # by eights
        ({"threads": 256, "registers": 255}, 1),
        ({"shared": 48 * 1024}, 4),
        ({"shared": 227 * 1024}, 1),
    ],
)
def test_as_many_blocks_as_there_is_room_for(changes, resident):
    """By CUDA's table of occupancy for compute capability 9.0."""
    assert replace(IDLE, **changes).resident == resident


def test_no_kernel_is_quicker_than_its_bytes_and_products():
    assert replace(IDLE, bytes=48_000_000).floor == pytest.approx(10e-6)
    assert replace(IDLE, products=1830, blocks=132).floor == pytest.approx(1e-6)
    # 67 TFLOP/s: 32 lanes, two operations each.
    flop = 2 * 32 * 4 * 1830 * 132
    assert replace(IDLE, fused=4 * 1830, blocks=132).floor == pytest.approx(flop / 67e12, rel=0.1)
    moved = replace(IDLE, bytes=48_000_000, issued=8000)
    assert model.with_bytes([moved]) == pytest.approx(10.95e-6)
    assert model.with_bytes([IDLE]) == pytest.approx(model.predicted([IDLE]))


def products_of(layers, shape):
    """(products of a forward pass of one image, those of its first layer, the shape behind it)."""
    count, first = 0, None
    for kind, *settings in layers:
        made = 0
        if kind == "conv":
            conv, channels = Convolution(*settings), shape[2]
            shape = conv.output_shape(shape)
            made = shape[0] * shape[1] * shape[2] * conv.kernel**2 * channels
        elif kind in ("pool", "average"):
            shape = (shape[0] // 2, shape[1] // 2, shape[2])
        elif kind == "flatten":
            shape = (shape[0] * shape[1] * shape[2],)
        elif kind == "means":
            shape = (shape[2],)
        elif kind == "dense":
            made = shape[0] * settings[0]
            shape = (settings[0],)
        elif kind == "residual":
            body, around = settings
            made = products_of(body, shape)[0] + products_of(around, shape)[0]
            shape = products_of(body, shape)[2]
        count += made
        first = made if first is None else first
    return count, first, shape


@pytest.mark.parametrize("net", [name for name, spec in NETS.items() if spec.training_flop])
def test_floors_count_the_products_of_their_network(net):
    count, first, _ = products_of(NETS[net].layers, NETS[net].image_shape)
    assert NETS[net].training_flop == pytest.approx(2 * (3 * count - first), rel=0.005)


@pytest.mark.usefixtures("device_compiler")
class TestOfADevice:
    pytestmark = needs("cupy")

    def test_the_step_of_a_network_is_predicted(self, capsys):
        arguments = ["--nets", "a", "--precisions", "fp32", "--batches", "2", "--kernels"]
        roofline.main(arguments)
        told, head, cell, kernels, *rows = capsys.readouterr().out.splitlines()
        assert "predicted by a model, not measured" in told
        assert head == roofline.HEAD
        launches = launches_of_step("a", 2, "fp32")
        works = works_of(launches)
        assert cell == roofline.line_of(("a", "fp32", 2), works)
        assert int(cell.split()[3]) == len(launches)
        assert sum(int(row.split()[2]) for row in rows) == len(launches)
        assert "issued" in kernels
        assert model.predicted(works) >= len(works) * 0.95e-6

    def test_a_step_of_larger_batches_does_more(self):
        small, large = (works_of(launches_of_step("a", batch, "fp32")) for batch in (32, 512))
        for what in ("issued", "fused", "bytes"):
            sums = [sum(work.blocks * getattr(work, what) for work in of) for of in (small, large)]
            assert sums[0] < sums[1], what
        assert model.predicted(small) < model.predicted(large)
