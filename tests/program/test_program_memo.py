"""Schedules and launches that are kept: shared by programs that are the same, by no others."""

import threading
from dataclasses import dataclass

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.program import memo
from arraycnn.program.compose import inference_schedule, training_schedule
from arraycnn.program.nodes import Frozen, Node, Program
from arraycnn.program.steps import Form
from arraycnn.training.step import Carry
from arraycnn.tree import map_leaves

IMAGES = np.random.default_rng(5).integers(0, 256, (22, 8, 8, 1), np.uint8)
LABELS = np.arange(22) % 3


def network(filters=4, stride=1, rate=0.3, epsilon=1e-5):
    return cnn.Sequential(
        cnn.Rescale(),
        cnn.Conv2d(filters, 3, stride=stride),
        cnn.BatchNorm2d(epsilon=epsilon),
        cnn.ReLU(),
        cnn.Flatten(),
        cnn.Dropout(rate),
        cnn.Dense(3),
    )


def schedule(net=None, optimizer=None, batch=4, dtype="float32"):
    net, optimizer = net or network(), optimizer or cnn.SGD(0.1)
    params, state, _ = net.init(np.random.default_rng(0), (8, 8, 1))
    trees = (params, state, optimizer.init(params))
    carry = Carry(*(map_leaves(lambda leaf: np.asarray(leaf, dtype), tree) for tree in trees))
    return training_schedule(net, optimizer, carry, Form((batch, 8, 8, 1), "uint8"), batch, dtype)


def test_the_same_network_has_the_same_schedule():
    assert schedule() is schedule()
    assert schedule(optimizer=cnn.Adam()) is schedule(optimizer=cnn.Adam())


@pytest.mark.parametrize(
    "other",
    [
        {"net": network(filters=5)},
        {"net": network(stride=2)},
        {"net": network(rate=0.31)},
        {"net": network(epsilon=1.1e-5)},
        {"net": cnn.Sequential(network())},  # the layers have other names
        {"optimizer": cnn.SGD(0.1, momentum=0.9)},
        {"optimizer": cnn.SGD(0.1, weight_decay=1e-4)},
        {"batch": 5},
        {"dtype": "float64"},
    ],
    ids=str,
)
def test_what_differs_in_anything_has_its_own(other):
    assert schedule(**other) is not schedule()
    assert schedule(**other) is schedule(**other)


def program(op, attrs=(), shape=(2, 2), dtype="float64", number=1.0, where="", names=("x", "y")):
    x = Node("input", (), ("x",), (2, 2), np.dtype(dtype))
    node = Node(
        op, (x, number) if number is not None else (x,), attrs, shape, np.dtype(dtype), where
    )
    return Program((x, node), {names[0]: x}, {names[1]: node})


SUM = {"op": "sum", "attrs": ((0,), False), "shape": (2,), "number": None}
CUT = {"op": "slice", "attrs": (slice(0, 1),), "shape": (1, 2), "number": None}
APART = [
    ({"op": "add"}, {"op": "multiply"}),
    ({"op": "add"}, {"op": "add", "dtype": "float32"}),
    ({"op": "add"}, {"op": "add", "where": "0, forward"}),
    ({"op": "add"}, {"op": "add", "names": ("x", "z")}),
    ({"op": "add"}, {"op": "add", "names": ("w", "y")}),
    ({"op": "add", "number": 1}, {"op": "add", "number": 1.0}),
    ({"op": "add", "number": 1}, {"op": "add", "number": True}),
    ({"op": "add", "number": 0.0}, {"op": "add", "number": -0.0}),
    ({"op": "add", "number": 0.1}, {"op": "add", "number": float(np.nextafter(0.1, 1))}),
    (SUM, SUM | {"attrs": ((0,), True), "shape": (1, 2)}),
    (SUM, SUM | {"attrs": ((1,), False)}),
    (CUT, CUT | {"attrs": (slice(1, 2),)}),
    (CUT, CUT | {"attrs": (slice(0, 1, 1),)}),
]


@pytest.mark.parametrize(("one", "other"), APART)
def test_programs_that_differ_in_one_thing_are_apart(one, other):
    made = memo.schedule_of(program(**one))
    assert memo.schedule_of(program(**other)) is not made
    assert memo.schedule_of(program(**one)) is made


def constant(array):
    node = Node("constant", (), (Frozen(array),), array.shape, array.dtype)
    return Program((node,), {}, {"y": node})


def test_constants_are_told_apart_by_their_bits_and_large_ones_are_not_kept():
    made = memo.schedule_of(constant(np.zeros(3)))
    assert memo.schedule_of(constant(np.zeros(3))) is made
    for other in (
        -np.zeros(3),
        np.zeros(3, np.float32),
        np.zeros((3, 1)),
        np.array([0, 0, 1e-300]),
    ):
        assert memo.schedule_of(constant(other)) is not made
    large = np.zeros(2**17 + 1)
    assert memo.schedule_of(constant(large)) is not memo.schedule_of(constant(large))


def test_what_holds_an_object_of_its_own_is_not_kept():
    @dataclass(frozen=True)
    class Plain:
        number: int = 1

    for own in (Plain(), [1], np.float64(1.0)):
        changed = program("add", attrs=(own,))
        assert memo.schedule_of(changed) is not memo.schedule_of(changed)


def test_no_more_are_kept_than_a_number():
    for batch in range(1, memo._KEPT + 5):
        inference_schedule(cnn.Flatten(), {}, {}, Form((batch, 2, 2, 1), "float32"), "float32")
    assert memo._schedule.cache_info().currsize == memo._KEPT


def test_trainings_that_share_their_launches_do_not_meet():
    pytest.importorskip("llvmlite", reason="llvmlite is not installed")

    def trained(seed, images=IMAGES):
        model = cnn.Model(network(), (8, 8, 1), backend=cnn.NumPy(1, fast=True), seed=seed)
        model.fit(images, LABELS, batch_size=4, epochs=3)
        return model.parameters

    memo.rendered_of.cache_clear()
    alone = []
    for seed in range(4):
        memo._schedule.cache_clear()
        memo.rendered_of.cache_clear()
        alone.append(trained(seed))
    together = [None] * 4
    threads = [
        threading.Thread(target=lambda seed=seed: together.__setitem__(seed, trained(seed)))
        for seed in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        again = trained(seed)
        for name, array in alone[seed].items():
            np.testing.assert_array_equal(together[seed][name], array)
            np.testing.assert_array_equal(again[name], array)
    assert memo.rendered_of.cache_info().hits >= 4
