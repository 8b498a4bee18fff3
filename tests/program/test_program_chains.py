"""Chains of steps that work on image after image, and what loops compute again."""

import numpy as np
import pytest

import arraycnn as cnn
import program_cases
import schedule_oracle
import test_program_passes
from arraycnn.ops import Window, array_namespace
from arraycnn.ops.arrays import at
from arraycnn.program import memo
from arraycnn.program.description import description
from arraycnn.program.heads import HEADS
from arraycnn.program.interpret import interpret
from arraycnn.program.nodes import Node
from arraycnn.program.passes import chains
from arraycnn.program.passes.loops import Root, Step, write_apart
from arraycnn.program.passes.schedule import depend, scheduled
from optional import Late, needs
from program_cases import NETWORKS, OPTIMIZERS, on_small_sizes
from test_program_trace import traced

launches = Late("arraycnn.ops.compiled.chains")
links = Late("arraycnn.ops.compiled.kernels.links")

WINDOW = Window((3, 3), (1, 1))
SGD = OPTIMIZERS["SGD"]


@pytest.mark.parametrize("network", NETWORKS)
def test_a_chain_may_be_run_image_by_image(network):
    step = program_cases.trial(*NETWORKS[network], SGD)
    with on_small_sizes():
        schedule = test_program_passes.schedule_of(step)
        values = {name: np.array(value) for name, value in step.values().items()}
        outputs = schedule_oracle.run_by_image(schedule, values)
    for name, array in step.eager().items():
        np.testing.assert_allclose(outputs[name], array, rtol=1e-12, atol=1e-13, err_msg=name)


def test_norm_activation_and_pool_join_their_convolutions():
    network = cnn.Sequential(
        *(cnn.Conv2d(8, 3), cnn.BatchNorm2d(), cnn.ReLU(), cnn.MaxPool2d(2)),
        *(cnn.Conv2d(4, 3), cnn.Flatten(), cnn.Dense(4)),
    )
    step = program_cases.trial(network, (12, 12, 3), SGD, images=32, dtype="float32")
    schedule = test_program_passes.schedule_of(step, 32)
    found = [
        [one.head.op if one.head else [root.op for root in one.roots] for one in chain.steps]
        for chain in chains.chains(schedule)
        if chain.images
    ]
    assert found == [
        ["conv2d", ["sum"]],
        [["write"], "max_pool2d", "conv2d"],
        ["conv2d_backward", "max_pool2d_backward", ["sum", "sum"]],
        [["write"], "conv2d_backward"],
    ]
    text = description(schedule)
    assert "4 chains" in text


def test_a_program_is_scheduled_in_the_same_way_every_time():
    """Chains decide in which order numbers are added up: another process must find the same."""
    texts = set()
    with on_small_sizes():
        for _ in range(6):  # nodes of each lie elsewhere in memory
            step = program_cases.trial(*NETWORKS["resnet"], OPTIMIZERS["Adam"], images=16)
            memo._schedule.cache_clear()
            texts.add(description(test_program_passes.schedule_of(step, 16)))
    assert len(texts) == 1


def conv(x, weight):
    return HEADS.conv2d(HEADS, x, weight, None, WINDOW)


@pytest.mark.parametrize(
    ("after", "joins"),
    [
        (lambda xp, y, other: y * 2.0, True),
        (lambda xp, y, other: xp.sum(y, axis=(1, 2)), True),
        (lambda xp, y, other: xp.sum(y, axis=(0, 1, 2)), True),
        (lambda xp, y, other: y[:, ::-1, :, 1:] + 1.0, True),
        (lambda xp, y, other: y[::-1, ...] + 1.0, False),
        (lambda xp, y, other: y + y[:1, ...], False),
        (lambda xp, y, other: xp.permute_dims(y, (0, 3, 1, 2)) * 2.0, True),
        (lambda xp, y, other: xp.permute_dims(y, (3, 1, 2, 0)) * 2.0, False),
        (lambda xp, y, other: xp.take(y, xp.asarray([1, 0, 3, 2]), axis=0) * 2.0, False),
        (lambda xp, y, other: xp.reshape(y, (2, -1)) * 2.0, False),
        (lambda xp, y, other: xp.concat([y, y], axis=3), False),
        (lambda xp, y, other: y + xp.sum(y, axis=0)[:, :, None, :], True),
        (lambda xp, y, other: conv(y, other), True),
    ],
)
def test_only_what_stays_with_its_image_joins(after, joins):
    """Four images, four filters: sizes that could be taken for one another."""
    shapes = (4, 6, 6, 2), (3, 3, 2, 4), (3, 3, 4, 5)

    def function(x, weight, other):
        return after(array_namespace(x), conv(x, weight), other)

    with on_small_sizes():
        assert bool(check_by_image(function, *shapes)) == joins


def check_by_image(function, *shapes, carried=()):
    """Chains of small sizes, run image by image; whether there are any that have more than one."""
    rng = np.random.default_rng(4)
    program, values = traced(function, *(rng.normal(size=shape) for shape in shapes))
    schedule = scheduled(program, dict(carried))
    expected, _ = schedule_oracle.run(schedule, {n: np.array(v) for n, v in values.items()})
    outputs = schedule_oracle.run_by_image(schedule, {n: np.array(v) for n, v in values.items()})
    for name, array in expected.items():
        np.testing.assert_array_equal(outputs[name], array)
    return [len(chain.steps) for chain in chains.chains(schedule) if chain.images]


def test_weights_that_a_chain_makes_end_it():
    """Three images that make 3x3 weights."""
    with on_small_sizes():
        made = check_by_image(
            lambda x, weight, other: conv(other, conv(x, weight)),
            *((3, 5, 6, 2), (3, 3, 2, 4), (3, 7, 7, 4)),
        )
    assert made == []


def test_a_gradient_of_weights_has_no_share_of_an_image():
    """Three images, and weights of three rows."""

    def function(x, weight, dy):
        dx, dweight, _ = HEADS.conv2d_backward(HEADS, x, weight, dy, WINDOW, True)
        return dx * 2.0, dweight * 2.0

    with on_small_sizes():
        assert check_by_image(function, (3, 5, 5, 2), (3, 3, 2, 4), (3, 3, 3, 4)) == [2]


def test_what_takes_the_place_of_an_input_ends_a_chain():
    """The input is the second convolution's weights, and has as many rows as there are images."""

    def function(x, weight, state):
        y = conv(x, weight)
        return conv(y, state), y[:, :3, :, :] * 2.0

    shapes = (3, 7, 6, 2), (3, 3, 2, 4), (3, 3, 4, 4)
    program, _ = traced(function, *map(np.zeros, shapes))
    (source,) = [name for name, node in program.inputs.items() if node.shape == shapes[2]]
    with on_small_sizes():
        schedule = scheduled(program, {"1": source})
        assert len(schedule.memory_of) == 1
        check_by_image(function, *shapes, carried={"1": source})
        assert [len(c.steps) for c in chains.chains(schedule) if c.images] == [2]


def in_a_frame(x):
    zeros = array_namespace(x).zeros((44, 37), dtype=x.dtype)
    return at(zeros)[1:41, 3:33].set(x)


def with_rows_of(x, y):
    xp = array_namespace(x)
    return x, xp.take(x, xp.asarray([1, 0, 3]), axis=0) + y


@pytest.mark.parametrize(
    ("function", "carried", "together"),
    [
        (lambda x, y: (x * 2.0, y + 1.0), {}, [2]),
        (lambda x, y: (x * 2.0, y + 1.0), {"0": 0, "1": 1}, [2]),
        (lambda x, y: (x * 2.0, (x * 2.0)[0, :] + y), {}, [2]),
        (lambda x, y: (x * y, y + 1.0), {"1": 1}, [1, 1]),  # written where the other reads
        (lambda x, y: with_rows_of(x * 2.0, y), {}, [1, 1]),  # read where the other writes
        (lambda x, y: (x + 1.0, array_namespace(x).sum(y)), {}, [1, 1]),
        (lambda x, y: in_a_frame(x), {}, [5]),  # four slabs of zeros around it
        (lambda x, y: at(in_a_frame(x))[2:, :].set(1.0), {}, [5, 1]),  # what was written before
        (lambda x, y: at(x)[2:, :].set(1.0), {}, [1, 1]),  # a copy, and a part of it
        (lambda x, y: array_namespace(x).concat([x, y[None, :], x]), {}, [3]),
    ],
)
def test_loops_that_touch_nothing_of_each_other_run_side_by_side(function, carried, together):
    shapes = (40, 30), (30,)
    program, _ = traced(function, *map(np.ones, shapes))
    inputs = {node.shape: name for name, node in program.inputs.items()}
    carried = {name: inputs[shapes[number]] for name, number in carried.items()}
    check_by_image(function, *shapes, carried=carried)
    found = chains.chains(scheduled(program, carried))
    assert [len(chain.steps) for chain in found] == together


def test_loops_side_by_side_read_nothing_that_another_one_writes():
    program, _ = traced(lambda x, y: with_rows_of(x * 2.0, y), np.ones((40, 30)), np.ones(30))
    schedule = scheduled(program)
    first, second = schedule.steps
    assert depend(first, second, schedule)
    assert depend(second, first, schedule)


@pytest.mark.parametrize(
    "parts",
    [
        ((slice(0, 3), slice(2, 5)), (slice(3, 6), slice(0, 7))),
        ((slice(3, 6),), (slice(2, 4), slice(None))),
        ((slice(0, 3),), (slice(2, 3), slice(5, 6))),
        ((slice(None), slice(5, 7)), (slice(1, 2), slice(0, 5))),
        ((slice(None), slice(4, 7)), (slice(1, 2), slice(0, 5))),
        ((slice(0, 6, 2),), (slice(1, 6, 2),)),  # told to overlap: they are only woven
        ((slice(0, 2),), None),
        (None, (slice(0, 2),)),
    ],
)
def test_parts_are_apart_where_no_number_is_in_both(parts):
    target = Node("update", (), (), (6, 7), np.dtype("float32"))
    one, other = (Step(roots=[Root(target, target, index=index)]) for index in parts)
    covered = [np.zeros(target.shape, bool) for _ in parts]
    for where, index in zip(covered, parts, strict=True):
        rows, columns = (*(index or ()), slice(None), slice(None))[:2]
        where[slice(rows.start, rows.stop), slice(columns.start, columns.stop)] = True
    assert write_apart(one, other, target) == (not np.any(covered[0] & covered[1]))


def test_relus_mask_is_computed_again_and_not_read():
    network = cnn.Sequential(
        cnn.Conv2d(16, 3), cnn.BatchNorm2d(), cnn.ReLU(), cnn.Conv2d(4, 3), cnn.Flatten(), cnn.Dense(3)
    )  # fmt: skip
    step = program_cases.trial(network, (12, 12, 2), SGD, images=16, dtype="float32")
    schedule = test_program_passes.schedule_of(step, 16)
    again = [one for one in schedule.steps if one.recomputed]
    assert [[root.op for root in one.roots] for one in again] == [["sum", "sum"], ["write"]]
    for one in again:
        (mask,) = one.recomputed
        assert mask.where == "2 ReLU, forward"
        assert mask in one.reads


def test_what_is_computed_again_is_made_of_what_still_lies_in_memory():
    """The scale takes its new value after all that may compute the scaled images again."""

    def function(x, weight, scale):
        xp = array_namespace(x)
        scaled = x * scale
        y = conv(scaled, weight)
        return scale * 2.0, x + scaled * xp.sum(y)

    program, values = traced(function, *map(np.ones, [(3, 5, 5, 2), (3, 3, 2, 4), (2,)]))
    (source,) = [name for name, node in program.inputs.items() if node.shape == (2,)]
    expected = interpret(program, values)
    with on_small_sizes():
        schedule = scheduled(program, {"0": source})
    assert sum(len(step.recomputed) for step in schedule.steps) == 1
    outputs, _ = schedule_oracle.run(schedule, {n: np.array(v) for n, v in values.items()})
    np.testing.assert_array_equal(outputs["1"], expected["1"])


@needs("llvmlite")
def test_launches_side_by_side_run_every_block_once():
    from arraycnn.execution.thread_pool import ThreadPool
    from arraycnn.ops.compiled.launcher import Launcher
    from arraycnn.ops.dense import compiled_kernels as dense

    rng, launcher = np.random.default_rng(0), Launcher(ThreadPool(2))
    parts = [rng.normal(size=(3, size)) for size in (5, 1, 40, 7)]
    totals = [np.zeros(part.shape[1]) for part in parts]
    with launcher.side_by_side():
        for part, total in zip(parts, totals, strict=True):
            size = total.size
            launch = dense.AddParts(parts=part, total=total, count=3, size=size, block_size=3)
            launcher.launch(dense.add_parts, -(-size // 3), launch, like=part)
    for part, total in zip(parts, totals, strict=True):
        np.testing.assert_array_equal(total, part[0] + part[1] + part[2])


@needs("llvmlite")
@pytest.mark.parametrize(
    ("works", "blocks"),
    [
        ([(1, 100), (1, 200)], 1),
        ([(1, 2**14), (1, 2**14)], 1),
        ([(1, 2**14), (1, 2**14 + 1)], 2),
        ([(1, 100), (1, None)], 2),  # a head
        ([(1, 100), (2, 200)], 3),
    ],
)
def test_little_work_side_by_side_is_for_one_thread(works, blocks):
    made = [
        launches.Launch(9, count, links.NO_LINKS, np.dtype("float32"), points=points)
        for count, points in works
    ]
    (joint,), _ = launches.side_by_side(made)
    assert joint.blocks == blocks


@needs("llvmlite")
def test_launches_of_a_chain_are_joined():
    """Letters: b a block an image, s the same with scratch, l a loop over images, o neither."""

    def launch(name, kind):
        by = {"b": "block", "s": "block", "l": "loop", "o": ""}[kind]
        none = links.NO_LINKS
        struct = links.LoopOverImages(before=none, after=none) if kind == "l" else none
        blocks, room = 1 if kind == "o" else 7, 5 * (kind in "sl")
        return launches.Launch(name, blocks, struct, np.dtype("float32"), room, by)

    def shown(steps):
        chain, number = launches.ChainOfLaunches(7), 0
        for step in steps.split():
            chain.begin_step()
            for kind in step:
                chain.add(launch(100 + number, kind))
                number += 1
        made, tables = chain.joined()

        def inside(of):
            assert len(of.launches) == of.count
            assert of.count == 0 or any(of.launches is table for table in tables)
            return [int(row[0]) - 100 for row in of.launches]

        lines = []
        for one in made:
            if not 100 <= one.code < 100 + number:
                assert one.blocks == 7
                lines.append(inside(one.struct))
                continue
            line = one.code - 100
            if one.by == "loop":
                line = (inside(one.struct.before), line, inside(one.struct.after))
            lines.append(line)
        return lines

    assert shown("b") == [0]
    assert shown("ob bo b") == [0, [1, 2, 4], 3]
    assert shown("b l b") == [([0], 1, [2])]
    assert shown("s b l") == [0, ([1], 2, [])]
    assert shown("b olo b b l") == [1, ([0], 2, [4, 5]), ([], 6, []), 3]
    assert shown("l b s b") == [([], 0, [1]), [2, 3]]
    assert shown("b o b b") == [0, 1, [2, 3]]
    assert shown("b bb l") == [0, 1, 2, ([], 3, [])]
