"""The passes: a program means the same after each, and a schedule keeps what it declares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import arraycnn as cnn
import program_cases
import schedule_oracle
from arraycnn.ops import array_namespace
from arraycnn.ops.arrays import at
from arraycnn.program.access import Access, dense, through
from arraycnn.program.compose import inference_schedule, training_schedule
from arraycnn.program.description import description
from arraycnn.program.interpret import interpret
from arraycnn.program.nodes import Node, Program
from arraycnn.program.passes.dead import without_dead
from arraycnn.program.passes.schedule import scheduled
from arraycnn.program.passes.simplify import simplified
from arraycnn.program.text import listing
from program_cases import NETWORKS, OPTIMIZERS
from test_program_trace import check_same, traced

X = np.random.default_rng(2).normal(size=(4, 3, 2))


def schedule_of(step, images=3, gather=False):
    return training_schedule(
        *(step.network, step.optimizer, step.carry, step.given["images"], images, step.dtype),
        gather=gather,
    )


# Views


@st.composite
def chains(draw):
    """An array of whole numbers, and the same seen through some views, with their nodes."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=0, max_size=4)))
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    views, steps = [], draw(st.integers(0, 5))
    for _ in range(steps):
        array, op, attrs = draw(one_view(array))
        views.append(Node(op, (), attrs, array.shape, array.dtype))
    return shape, views, array


@st.composite
def one_view(draw, array):
    op = draw(st.sampled_from(["permute", "slice", "broadcast", "reshape"]))
    if op == "permute":
        axes = tuple(draw(st.permutations(range(array.ndim))))
        return array.transpose(axes), op, axes
    if op == "broadcast":
        shape = [draw(st.integers(1, 3)) if size == 1 else size for size in array.shape]
        shape = (*draw(st.lists(st.integers(1, 2), max_size=1)), *shape)
        return np.broadcast_to(array, shape), op, ()
    if op == "reshape":
        sizes, shape = list(array.shape), []
        while sizes:  # join some neighbours, and part others
            size = sizes.pop(0)
            if shape and draw(st.booleans()):
                shape[-1] *= size
            elif size % 2 == 0 and size and draw(st.booleans()):
                shape += [2, size // 2]
            else:
                shape += [size, *draw(st.lists(st.just(1), max_size=1))]
        return array.reshape(shape), op, ()
    index = []
    for size in array.shape:
        kind = draw(st.sampled_from(["all", "int", "slice", "back", "new"]))
        if kind == "int" and size:
            index.append(draw(st.integers(-size, size - 1)))
        elif kind == "new":
            index += [None, slice(None)]
        elif kind == "back":
            index.append(slice(None, None, -1))
        elif kind == "slice":
            index.append(slice(draw(st.integers(0, 1)), None, draw(st.integers(1, 2))))
        else:
            index.append(slice(None))
    if draw(st.booleans()) and index and index[-1] == slice(None):
        index[-1] = Ellipsis
    return array[tuple(index)], op, tuple(index)


@given(chains())
def test_an_access_finds_the_numbers_that_numpys_views_show(chain):
    shape, views, expected = chain
    access = through(dense(shape), views)
    if isinstance(access, Node):  # a reshape that needs a copy
        assert access.op == "reshape"
        assert expected.size > 1
        return
    assert access.shape == expected.shape
    np.testing.assert_array_equal(schedule_oracle.coordinates(access, access.shape), expected)


def test_a_reshape_that_needs_a_copy_is_named():
    turned = Node("permute", (), (1, 0), (4, 3), np.dtype(int))
    flat = Node("reshape", (), (), (12,), np.dtype(int))
    assert through(dense((3, 4)), [turned, flat]) is flat
    assert through(dense((3, 4)), [flat]) == Access((12,), (1,))


# Simplify, dead nodes, text


def test_simplify_removes_what_changes_nothing():
    def function(x):
        xp = array_namespace(x)
        y = xp.reshape(xp.reshape(x, (12, 2)), (24,)) * 1.0
        z = xp.astype(xp.permute_dims(x, (0, 1, 2)), xp.float64)[:, ...]
        unused = xp.exp(x)
        assert unused is not None
        return xp.reshape(z, (24,)) + y, xp.reshape(xp.full((2, 1), 3.0), (2,))

    program, values = traced(function, X)
    simple = simplified(program)
    assert [node.op for node in simple.nodes] == ["input", "reshape", "add", "full"]
    check_same(interpret(simple, values), interpret(program, values))


def test_simplify_keeps_numbers_apart_that_are_only_equal():
    def function(x):
        return x + 0.0, x + -0.0, x + 0, x * True, x * 2, x * 2.0

    program, values = traced(function, np.array([-0.0, 1.0]))
    check_same(interpret(simplified(program), values), interpret(program, values))
    zero = interpret(simplified(program), values)
    assert np.signbit(zero["1"][0])
    assert not np.signbit(zero["0"][0])


def test_equal_nodes_become_one():
    program, values = traced(lambda x: (x * 2.0 + 1.0, x * 2.0 - 1.0), X)
    simple = simplified(program)
    assert [node.op for node in simple.nodes] == ["input", "multiply", "add", "subtract"]
    check_same(interpret(simple, values), interpret(program, values))


def test_dead_nodes_go_and_inputs_stay():
    program, _ = traced(lambda x, y: (array_namespace(x).exp(x), y * 2.0)[1], X, X)
    assert [node.op for node in without_dead(program).nodes] == ["input", "input", "multiply"]


def test_a_program_as_text():
    program, _ = traced(lambda x: array_namespace(x).sum(x[:, 1:, 0] * 2.0, axis=0), X)
    assert listing(program).splitlines() == [
        "%0 = input float64 (4, 3, 2) '0'",
        "%1 = slice float64 (4, 2) %0 :: 1:: 0",
        "%2 = multiply float64 (4, 2) %1 2.0",
        "%3 = sum float64 (2,) %2 (0,) False",
        "return 0 = %3",
    ]


def test_check_finds_a_program_out_of_order():
    program, _ = traced(lambda x: (x + 1.0) * 2.0, X)
    first, second, third = program.nodes
    wrong = Program((first, third, second), program.inputs, program.outputs)
    with pytest.raises(cnn.InvalidValueError, match="node 1, multiply, reads"):
        wrong.check()
    with pytest.raises(cnn.InvalidValueError, match="inputs and outputs must be nodes"):
        Program((first, second), program.inputs, program.outputs).check()


# Loops and schedules


def check_schedule(schedule, values, expected):
    copies = {name: np.array(value) for name, value in values.items()}
    outputs, peak = schedule_oracle.run(schedule, copies)
    assert peak == schedule.peak_bytes
    for name, array in expected.items():
        np.testing.assert_allclose(outputs[name], array, rtol=1e-12, atol=1e-13, err_msg=name)
    for name, source in schedule.carried.items():
        np.testing.assert_array_equal(copies[source], outputs[name])
    assert sum(name in expected for name in outputs) == len(outputs)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_schedule_computes_the_step_in_the_memory_it_declares(network, optimizer):
    step = program_cases.trial(*NETWORKS[network], optimizer)
    schedule = schedule_of(step)
    assert len(schedule.steps) < len(schedule.program.nodes)
    check_schedule(schedule, step.values(), step.eager())


def test_a_step_may_gather_its_images():
    step = program_cases.trial(*NETWORKS["resnet"], OPTIMIZERS["momentum"])
    given, rows = step.given, np.array([5, 2, 0], np.int32)
    whole = np.zeros((7, *given["images"].shape[1:]), np.uint8)
    whole[rows] = given["images"]
    expected = step.eager()
    values = {**step.values(), "images": whole, "rows": rows}
    given["images"] = whole
    check_schedule(schedule_of(step, gather=True), values, expected)


def test_batch_norm_and_relu_become_one_loop():
    network = cnn.Sequential(
        cnn.Conv2d(8, 3),
        cnn.BatchNorm2d(),
        cnn.ReLU(),
        cnn.MaxPool2d(2),
        cnn.Flatten(),
        cnn.Dense(4),
    )
    step = program_cases.trial(network, (8, 8, 3), OPTIMIZERS["SGD"])
    params, state, _ = step.carry
    schedule = inference_schedule(network, params, state, step.given["images"], "float64")
    ops = [step.head.op if step.head else len(step.roots) for step in schedule.steps]
    assert ops[:3] == ["conv2d", 1, "max_pool2d"]
    text = description(schedule)
    assert "1 BatchNorm, forward, 2 ReLU, forward" in text
    assert "head conv2d" in text


def over_and_over(x):
    xp = array_namespace(x)
    total = xp.zeros((6, 5, 2), dtype=x.dtype)
    for first in (0, 1, 2):
        total = at(total)[first : first + 4, 1:4, :].add(x * float(first + 1))
    return total


def shifted(x):
    moved = array_namespace(x).asarray(x * 2.0, copy=True)
    moved[1:, :, :] = moved[:-1, :, :] + 1.0  # reads what it writes, one further on
    return moved


def shared(x):
    xp = array_namespace(x)
    y = xp.exp(x)
    changed = xp.asarray(y, copy=True)
    changed[0, :, :] = 0.0
    return changed, y, y[0, :, :] + changed[1, :, :]


def changed_before_its_loop_is_whole(x):
    xp = array_namespace(x)
    y = xp.exp(x)
    changed = xp.asarray(y, copy=True)
    changed[0, :, :] = 0.0
    return changed, y, x * 3.0  # joins the loop of y


def read_after_its_change(x):
    xp = array_namespace(x)
    y = xp.exp(x)
    changed = xp.asarray(y, copy=True)
    changed[0, :, :] = 0.0
    return changed, xp.matmul(y[:, 0, :], y[:, 1, :].T)


def in_a_frame(x):
    zeros = array_namespace(x).zeros((6, 7, 5), dtype=x.dtype)
    return at(zeros)[1 : 1 + x.shape[0], 2 : 2 + x.shape[1], : x.shape[2]].set(x)


def spread_out(x):
    zeros = array_namespace(x).zeros((9, 7, 5), dtype=x.dtype)
    rows = 2 * x.shape[0]
    return at(zeros)[1:rows:2, 2 : 2 + x.shape[1], : x.shape[2]].set(x)


def zeros_of_both_signs(x):
    xp = array_namespace(x)
    return 1.0 / xp.where(x > 0.0, xp.full(x.shape, 0.0), xp.full(x.shape, -0.0))


def flattened(x):
    xp = array_namespace(x)
    return xp.reshape(xp.permute_dims(x + x[0, 0, :], (2, 0, 1)), (-1,)) * 2.0


@pytest.mark.parametrize(
    "function",
    [
        over_and_over,
        shifted,
        shared,
        changed_before_its_loop_is_whole,
        read_after_its_change,
        in_a_frame,
        spread_out,
        zeros_of_both_signs,
        flattened,
        lambda x: (x, x[0], array_namespace(x).reshape(x, (-1,)), x),
        lambda x: array_namespace(x).take(x + 1.0, array_namespace(x).asarray([2, 0]), axis=1),
        lambda x: array_namespace(x).take(x[:, ::-1], array_namespace(x).asarray([2, 0]), axis=1),
        lambda x: array_namespace(x).matmul(x[:, 0, :], x[:, :2, 1].T),
        lambda x: array_namespace(x).sum(x, axis=(0, 2)) + array_namespace(x).sum(x, axis=1)[:3, 0],
        lambda x: x[:3, :, 0].T - x[1:, :, 1],
        lambda x: array_namespace(x).arange(3)[::-1] * 2,
        lambda x: array_namespace(x).arange(1, 9, 3)[::-1] * 2,
        lambda x: x[-1, :, -2] * 2.0 + x[1, -3:, 0],
    ],
)
def test_schedules_of_functions_of_all_kinds(function):
    program, values = traced(function, X)
    expected = interpret(program, values)
    check_schedule(scheduled(simplified(program)), values, expected)
    check_schedule(scheduled(program), values, expected)


@pytest.mark.parametrize(("pixels", "written"), [(2, 1), (3, 2)])
def test_what_reads_many_pixels_is_read_and_not_computed_again(pixels, written):
    def function(x):
        y = sum(x[:, place : place + 40, :] for place in range(pixels))
        return array_namespace(x).sum(y, axis=(0, 1)), y * 2.0

    (step,) = scheduled(simplified(traced(function, np.zeros((40, 42, 16)))[0])).steps
    assert sum(root.op == "write" for root in step.roots) == written


def test_an_update_takes_the_place_of_what_nobody_reads_any_more():
    schedule = scheduled(simplified(traced(over_and_over, X)[0]))
    assert len(schedule.memory_of) == 2
    assert schedule.peak_bytes == 512  # 8 * 6 * 5 * 2, aligned


def test_what_lies_where_it_is_changed_is_not_copied_there():
    """Three slabs of zeros, and three changes: each number is written as often as it is changed."""
    schedule = scheduled(simplified(traced(over_and_over, X)[0]))
    roots = [root for step in schedule.steps for root in step.roots]
    assert len(roots) == 6
    assert all(root.index is not None for root in roots)


def test_outputs_take_the_places_of_inputs_also_where_they_change_places():
    def function(x, y, z, same):
        return y * 2.0, x + y, x, same

    program, _ = traced(function, X, X + 1.0, X + 2.0, X + 3.0)
    values = {str(n): X + float(n) for n in range(4)}
    expected = interpret(program, values)
    carried = {str(n): str(n) for n in range(4)}
    check_schedule(scheduled(simplified(program), carried), values, expected)


def test_an_output_does_not_take_the_place_of_an_input_that_is_read_once_more():
    def function(x):
        return x * 2.0, array_namespace(x).matmul(x, x.T)

    program, values = traced(function, X[0])
    expected = interpret(program, values)
    check_schedule(scheduled(simplified(program), {"0": "0"}), values, expected)


def test_every_buffer_is_made_before_it_is_read_and_freed_once():
    step = program_cases.trial(*NETWORKS["resnet"], OPTIMIZERS["Adam"])
    schedule = schedule_of(step)
    known = {*schedule.program.inputs.values()}
    known |= {node for node in schedule.program.nodes if node.op == "constant"}
    for number in schedule.steps:
        assert number.reads <= known
        known |= set(number.writes)
    freed = [node for nodes in schedule.freed for node in nodes]
    assert len(freed) == len(set(freed))


# Users


@pytest.mark.parametrize("mode", ["train", "infer"])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_model_shows_its_program(network, mode):
    layers, shape = NETWORKS[network]
    model = cnn.Model(layers, shape, seed=1)
    program = model.program(batch_size=4, optimizer=cnn.Adam(0.01), mode=mode)
    text = str(program)
    assert "heads (operations with a kernel of their own)" in text
    assert "memory: " in text
    assert "Dense, forward" in text
    assert ("backward" in text) == (mode == "train")


def test_a_model_says_which_layer_or_optimizer_has_no_program():
    from test_program_trace import Does

    class Reads(cnn.SGD):
        def update(self, ops, params, gradients, state, learning_rate):
            return super().update(ops, params, gradients, state, float(learning_rate))

    network = cnn.Sequential(
        Does(lambda xp, x: x * float(x[0, 0, 0, 0])), cnn.Flatten(), cnn.Dense(2)
    )
    model = cnn.Model(network, (2, 2, 1))
    assert "layer 0, Does: must not read the value" in str(model.program())
    with pytest.raises(cnn.InvalidTypeError, match=r"the loss, or Reads: must not read the value"):
        model.program(optimizer=Reads(0.1))
    with pytest.raises(cnn.InvalidValueError, match="mode must be"):
        model.program(mode="test")
    with pytest.raises(cnn.InvalidValueError, match="batch_size"):
        model.program(batch_size=0)
