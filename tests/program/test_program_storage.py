"""Which values of a program lie rounded in memory, and what a step of them gives on CUDA."""

import numpy as np
import pytest

import arraycnn as cnn
import program_cases
import test_program_passes
from arraycnn.execution.device import DevicePlans
from arraycnn.networks import NETWORKS as NAMED
from arraycnn.ops import Window, array_namespace
from arraycnn.ops.cuda.record import cuda_kernels
from arraycnn.program.compose import training_schedule
from arraycnn.program.heads import HEADS
from arraycnn.program.nodes import BFLOAT16, TENSOR_FLOAT32, memory_dtype
from arraycnn.program.passes.buffers import base
from arraycnn.program.passes.schedule import scheduled
from arraycnn.program.passes.simplify import simplified
from arraycnn.program.passes.storage import with_rounded
from arraycnn.program.render.cuda.launches import CudaLaunches, rendering
from arraycnn.program.steps import Form
from arraycnn.training.step import Carry
from arraycnn.tree import map_leaves
from host_cuda import HostLauncher
from test_program_trace import traced

PRODUCTS = ("matmul", "dense", "conv2d")

FORMATS = {"tf32": TENSOR_FLOAT32, "bf16": BFLOAT16}
PACKS = {"tf32": 4, "bf16": 8}
"""Numbers of 16 bytes."""

formats = pytest.mark.parametrize("precision", FORMATS)


def of_a_step(network, shape, batch=8, dtype="float32"):
    optimizer = cnn.SGD(0.1, momentum=0.9)
    params, state, _ = network.init(np.random.default_rng(0), shape)
    trees = (params, state, optimizer.init(params))
    carry = Carry(*(map_leaves(lambda leaf: np.asarray(leaf, dtype), tree) for tree in trees))
    form = Form((batch, *shape), "uint8")
    return training_schedule(network, optimizer, carry, form, batch, dtype)


def named(name, dtype="float32"):
    shape = (28, 28, 1) if name in ("scratch", "basic", "lenet5") else (32, 32, 3)
    return of_a_step(NAMED[name](), shape, dtype=dtype)


NET = cnn.Sequential(
    *(cnn.Rescale(), cnn.Conv2d(8, 3, padding=(1, 1), bias=False), cnn.BatchNorm2d(), cnn.ReLU()),
    cnn.Residual(cnn.Sequential(cnn.Conv2d(8, 3, padding=(1, 1)), cnn.SiLU()), None),
    *(cnn.MaxPool2d(2), cnn.Conv2d(16, 3), cnn.ReLU(), cnn.MaxPool2d(2)),
    *(cnn.Flatten(), cnn.Dense(16), cnn.ReLU(), cnn.Dense(10)),
)
"""A pool after pixels that no product has made, and one that joins its convolution."""


def step_of(network=NET, shape=(10, 11, 3)):
    step = program_cases.trial(network, shape, cnn.SGD(0.05), images=4, dtype="float32")
    return step, test_program_passes.schedule_of(step, 4)


def run(launches, step, precision, **how):
    launcher = HostLauncher(**how)
    arrays = {name: launcher.asarray(np.asarray(a)) for name, a in step.values().items()}
    outputs, _ = launches(launcher, cuda_kernels(launcher, precision), arrays)
    found = {name: np.array(array) for name, array in outputs.items()}
    return found | {name: arrays[name] for name in launches._schedule.carried}


@formats
def test_a_step_is_the_eager_one_but_for_rounding(precision):
    step, schedule = step_of()
    before, launches = step.values(), rendering(precision)(schedule)
    found = run(launches, step, precision, checked=True)
    for name, array in run(launches, step, precision, order="random", seed=3).items():
        np.testing.assert_array_equal(array, found[name], err_msg=name)
    assert sum(group.epilogue is not None for group in launches._groups) > 0
    exact = program_cases.trial(NET, (10, 11, 3), cnn.SGD(0.05), images=4).eager()
    np.testing.assert_allclose(found["loss"], exact["loss"], rtol=1e-2)
    # Where products round what they read.
    in_float32 = run(CudaLaunches(schedule), step, precision)
    for name in launches._schedule.carried:
        change = np.linalg.norm(exact[name] - before[name])
        error, as_before = (
            np.linalg.norm(one[name] - exact[name]) / max(change, 1e-3)
            for one in (found, in_float32)
        )
        assert error < 3e-2, name  # as products have it in tests of kernels
        assert error < 2 * as_before + 2e-3, name


@formats
def test_nan_and_infinity_go_through(precision):
    step, schedule = step_of()
    for number in (np.nan, np.inf):
        step.carry.params["1"]["weight"][0, 0, 0, 0] = number
        assert np.isnan(run(rendering(precision)(schedule), step, precision)["loss"])


def check_stored(schedule, precision):
    """What holds of any program; returns the nodes that lie rounded in memory."""
    stored = with_rounded(schedule.program, FORMATS[precision])
    program = scheduled(stored, schedule.carried).program
    rounded = {node for node in program.nodes if node.dtype == FORMATS[precision]}
    for node in program.nodes:
        of_rounded = [operand for operand in node.operands if operand in rounded]
        if node in rounded:
            # A number is rounded once: by a head, or by a cast of what was no such number before.
            assert node.kind in ("head", "part") or node.op in ("astype", "reshape"), node
            assert node.op != "astype" or base(node.inputs[0]).op != "astype" or not of_rounded
        elif of_rounded:  # and nothing computes with it
            assert node.op == "astype" or node.is_alone, node
    assert rounded.isdisjoint([*program.inputs.values(), *program.outputs.values()])
    gradients = [node for node in program.nodes if node.kind == "part" and node.attrs != (0,)]
    assert rounded.isdisjoint(gradients)  # those of weights, and winners
    return program, rounded


@formats
@pytest.mark.parametrize("name", ["basic", "resnet20", "lenet5", "scratch"])
def test_what_products_read_and_a_step_forgets_is_stored_rounded(name, precision):
    program, rounded = check_stored(named(name), precision)
    read = {
        base(operand)
        for node in program.nodes
        if node.op.startswith(PRODUCTS) and "max_pool" not in node.op
        for operand in node.operands
        if len(operand.shape) > 1 and operand.shape[-1] % PACKS[precision] == 0
    }
    inputs = set(program.inputs.values())
    not_rounded = {node for node in read - rounded if node not in inputs}
    # What a direct convolution gives, and its gradient, stay float32, as its arithmetic.
    direct = {node for node in not_rounded if "max_pool" in (node.operands or (node,))[0].op}
    assert not_rounded == direct
    assert bool(rounded) == (name != "scratch")
    weights = [node for node in rounded if node.operands[0] in inputs]
    lenet5 = {"bf16": 2, "tf32": 3}[precision]  # one has lines of 84
    assert len(weights) == {"basic": 2, "resnet20": 20, "lenet5": lenet5, "scratch": 0}[name]


def test_half_of_the_bytes_of_activations_are_left():
    layers = [layer for _ in range(3) for layer in (cnn.Conv2d(16, 3), cnn.ReLU())]
    network = cnn.Sequential(cnn.Rescale(), *layers, cnn.GlobalAvgPool2d(), cnn.Dense(10))
    schedule = of_a_step(network, (28, 28, 1), batch=64)
    stored = scheduled(with_rounded(schedule.program, BFLOAT16), schedule.carried)
    assert stored.peak_bytes < 0.6 * schedule.peak_bytes


@formats
def test_values_that_a_step_gives_or_others_read_stay_as_they_are(precision):
    for network in ("user's", "average", "activation and pool"):
        check_stored(test_program_passes.schedule_of(
            program_cases.trial(*program_cases.NETWORKS[network], cnn.SGD(0.1), dtype="float32")
        ), precision)  # fmt: skip
    in_float64 = named("basic", "float64").program
    assert with_rounded(in_float64, FORMATS[precision]).nodes == in_float64.nodes


READERS = {
    "the step": lambda xp, y, rows: y,
    "rows by index": lambda xp, y, rows: xp.take(y, rows, axis=0),
    "a pool of two channels": lambda xp, y, rows: HEADS.max_pool2d(
        xp.reshape(y, (8, 2, 2, 2)), Window((2, 2), (2, 2)), "first"
    )[0],
}


@formats
@pytest.mark.parametrize("reader", READERS)
def test_what_leaves_a_product_for_others_is_not_rounded_for_the_next_one(reader, precision):
    def function(x, first, second, rows):
        y = HEADS.matmul(x, first)
        return READERS[reader](array_namespace(y), y, rows), HEADS.matmul(y, second)

    arrays = [np.ones((8, 8), np.float32) for _ in range(3)]
    program = simplified(traced(function, *arrays, np.arange(2, dtype=np.int32))[0])
    assert with_rounded(program, FORMATS[precision]).nodes == program.nodes


@pytest.mark.parametrize(
    ("precision", "number"),
    [("bf16", 257.0), ("tf32", 2049.0)],  # of nine bits, and twelve
)
def test_an_epilogue_reads_the_rounded_number_as_all_others_do(precision, number):
    """Of 257 bfloat16 keeps 256, ties to even; of 2049 TensorFloat32 2050, ties away from zero."""

    def function(x, first, second):
        y = HEADS.dense(HEADS, x, first, None)
        return y - rounded, HEADS.dense(HEADS, y, second, None)

    rounded = {"bf16": 256.0, "tf32": 2050.0}[precision]
    x, ones, launcher = np.zeros((8, 8), np.float32), np.ones((8, 8), np.float32), HostLauncher()
    x[:, :2] = number - 1.0, 1.0
    program, values = traced(function, x, ones, ones)
    launches = rendering(precision)(scheduled(simplified(program)))
    assert sum(group.epilogue is not None for group in launches._groups) == 1
    outputs, _ = launches(launcher, cuda_kernels(launcher, precision), values)
    for array, expected in zip(outputs.values(), (0.0, 8 * rounded), strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("precision", ["fp32", *FORMATS])
def test_a_plan_stores_what_its_products_round_to(precision):
    plans = [DevicePlans(HostLauncher(), precision, "cupy") for _ in range(2)]
    render = plans[0]._render
    assert render is plans[1]._render  # by which `memo.rendered_of` knows what is made already
    dtypes = {node.dtype for node in render(step_of()[1])._schedule.program.nodes}
    assert [one for one in FORMATS.values() if one in dtypes] == [
        one for name, one in FORMATS.items() if name == precision
    ]


def test_a_dtype_of_memory():
    assert memory_dtype(BFLOAT16) == np.uint16
    assert memory_dtype(TENSOR_FLOAT32) == np.uint32
    assert memory_dtype(np.dtype("float32")) == np.float32
    assert np.dtype("uint16") != BFLOAT16
