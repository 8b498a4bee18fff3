"""Tracing: every layer and optimizer is written down as it is, and what cannot be is refused."""

import re
from dataclasses import dataclass

import numpy as np
import pytest

import arraycnn as cnn
import program_cases
from arraycnn.execution.xla import cause_in
from arraycnn.layers import Context
from arraycnn.ops import GENERIC, array_namespace
from arraycnn.ops.arrays import at, pad
from arraycnn.program.interpret import interpret
from arraycnn.program.namespace import INSTEAD
from arraycnn.program.passes.simplify import simplified
from arraycnn.program.steps import inference_program, training_program
from arraycnn.program.trace import TracingError, trace
from arraycnn.training.step import infer
from cases import CASES
from program_cases import NETWORKS, OPTIMIZERS


def traced(function, *arrays):
    """The program of a function of arrays, and its inputs by name."""

    def run(note):
        results = function(*(note.input(str(n), a.shape, a.dtype) for n, a in enumerate(arrays)))
        results = results if isinstance(results, tuple) else (results,)
        return {str(number): result for number, result in enumerate(results)}

    return trace(run), {str(number): array for number, array in enumerate(arrays)}


def check_same(got, expected):
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        assert got[name].dtype == np.asarray(array).dtype, name
        np.testing.assert_array_equal(got[name], array, err_msg=name)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_traced_step_is_the_eager_step_to_the_last_bit(network, optimizer):
    step = program_cases.trial(*NETWORKS[network], optimizer)
    arguments = (step.carry, step.given["images"], 3, "float64")
    program = training_program(step.network, optimizer, *arguments)
    program.check()
    expected = step.eager()
    for name, node in program.outputs.items():
        assert (node.shape, node.dtype) == (
            np.shape(expected[name]),
            np.asarray(expected[name]).dtype,
        )
    check_same(interpret(program, step.values()), expected)
    simple = simplified(program)
    simple.check()
    assert len(simple.nodes) <= len(program.nodes)
    check_same(interpret(simple, step.values()), expected)


def layer_alone(case):
    """The program of a layer's two passes, its inputs, and what the layer computes of them."""
    arrays = case.arrays()
    values = vars(arrays)

    def run(params, state, x, dy, seed, step, indices):
        context = case.context("float64", seed, step, indices)
        y, _, residuals = case.layer.forward(params, state, x, context)
        dx, _ = case.layer.backward(params, residuals, dy, context, need_dx=True)
        return y, dx

    def function(x, dy, seed, step, indices):
        def constant(tree):
            return {
                name: constant(leaf) if isinstance(leaf, dict) else array_namespace(x).asarray(leaf)
                for name, leaf in tree.items()
            }

        return run(constant(arrays.params), constant(arrays.state), x, dy, seed, step, indices)

    names = ("x", "dy", "seed", "step", "indices")
    program, inputs = traced(function, *(values[name] for name in names))
    return program, inputs, dict(zip("01", run(**values), strict=True))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_layer_is_traced_alone(case):
    program, inputs, expected = layer_alone(case)
    check_same(interpret(program, inputs), expected)


def test_inference_is_traced():
    step = program_cases.trial(*NETWORKS["resnet"], OPTIMIZERS["SGD"])
    params, state, _ = step.carry
    images = step.given["images"]
    program = inference_program(step.network, params, state, images, "float64")
    values = {name: value for name, value in step.values().items() if name in program.inputs}
    context = cnn.layers.Context(cnn.ops.GENERIC, "infer", "float64")
    logits = infer(step.network, params, state, images, context)
    np.testing.assert_array_equal(interpret(program, values)["logits"], logits)


RNG = np.random.default_rng(1)
X, Y = RNG.normal(size=(3, 4, 5)), RNG.uniform(0.5, 2.0, (4, 1))
ROWS = np.array([2, 0, 2, 1])


@pytest.mark.parametrize(
    "function",
    [
        lambda xp, x, y, rows: xp.tanh(xp.abs(x)) + xp.sqrt(y) - xp.expm1(x) * xp.log1p(xp.abs(x)),
        lambda xp, x, y, rows: (2 - x, 3 / y, x**2, -x, +x, abs(x), y**-2),
        lambda xp, x, y, rows: xp.where((x > 0) & ~(x > 1) | (x < -1), x, y),
        lambda xp, x, y, rows: xp.clip(x, min=-0.5, max=0.5) + xp.clip(x, max=0.0),
        lambda xp, x, y, rows: xp.maximum(x, 0.1) + xp.minimum(x, y) + xp.sign(x) + xp.square(x),
        lambda xp, x, y, rows: xp.floor(x) + xp.ceil(y) + xp.reciprocal(y),
        lambda xp, x, y, rows: (xp.round(3 * x), xp.trunc(x), xp.round(rows), xp.trunc(rows)),
        lambda xp, x, y, rows: (rows % 2, (1 - rows) // 3, 7 % (rows + 1), -7 // (rows - 4)),
        lambda xp, x, y, rows: (xp.roll(x, 2, axis=1), xp.roll(x, -7), xp.roll(x, 0, axis=0)),
        lambda xp, x, y, rows: xp.roll(x, (1, -12), axis=(0, -1)),
        lambda xp, x, y, rows: (xp.isnan(x), xp.isfinite(x), xp.logical_not(x > 0)),
        lambda xp, x, y, rows: (xp.any(x > 2), xp.all(x < 9, axis=1), xp.prod(x, axis=0)),
        lambda xp, x, y, rows: (xp.max(x, axis=(0, 2)), xp.min(x, keepdims=True), xp.sum(x)),
        lambda xp, x, y, rows: (xp.argmax(x, axis=1), xp.argmin(x, axis=-1, keepdims=True)),
        lambda xp, x, y, rows: (xp.argmax(x), xp.mean(x, axis=1), xp.std(x), xp.var(x, axis=0)),
        lambda xp, x, y, rows: xp.sum(x > 0, axis=0),
        lambda xp, x, y, rows: xp.sum(xp.astype(x > 0, xp.float32), axis=1, dtype=xp.float64),
        lambda xp, x, y, rows: xp.take(x, rows, axis=1),
        lambda xp, x, y, rows: xp.take(rows, rows),
        lambda xp, x, y, rows: (
            xp.reshape(
                xp.take(x, xp.reshape(rows[:, None] - rows[:2], (-1,)), axis=1), (3, 4, 2, 5)
            ),
            # As many numbers, and not in the shape of the indices.
            xp.reshape(
                xp.take(x, xp.reshape(rows[:, None] - rows[:2], (-1,)), axis=1), (3, 2, 4, 5)
            ),
        ),
        lambda xp, x, y, rows: xp.concat([x, x[:, :2, :]], axis=1),
        lambda xp, x, y, rows: (xp.concat([x, y], axis=None), xp.stack([x, 2.0 * x], axis=-1)),
        lambda xp, x, y, rows: (xp.permute_dims(x, (2, 0, 1)), xp.matrix_transpose(x), y.T),
        lambda xp, x, y, rows: (xp.moveaxis(x, 0, -1), xp.flip(x), xp.flip(x, axis=1)),
        lambda xp, x, y, rows: (xp.expand_dims(x, axis=1), xp.squeeze(y, axis=1), x[None, ..., 0]),
        lambda xp, x, y, rows: (x[1], x[:, ::-2, 1:], x[..., -1], x[0, 1, 2]),
        lambda xp, x, y, rows: tuple(xp.broadcast_arrays(x, y)),
        lambda xp, x, y, rows: xp.reshape(x, (-1, 5)) @ xp.reshape(x, (5, -1)),
        lambda xp, x, y, rows: (xp.zeros_like(x), xp.ones_like(x), xp.full_like(x, 3.0)),
        lambda xp, x, y, rows: (
            x + xp.arange(5, dtype=x.dtype) + xp.asarray(np.arange(4.0))[:, None]
        ),
        lambda xp, x, y, rows: (
            x + xp.zeros((4, 5), dtype=x.dtype) + xp.full((5,), 2.0, dtype=x.dtype)
        ),
        lambda xp, x, y, rows: (rows << 2 | 1) ^ (rows >> 1) & 3,
        lambda xp, x, y, rows: (rows == 2, rows != 2, rows <= 1, rows >= 1, rows / 2),
        lambda xp, x, y, rows: at(xp.asarray(x, copy=True))[:, 1:3].add(1.5),
        lambda xp, x, y, rows: at(xp.asarray(x, copy=True))[0].set(2.0),
        lambda xp, x, y, rows: (at(xp.asarray(x, copy=True))[0].set(2.0), x + 0.0),
        lambda xp, x, y, rows: pad(x, ((0, 0), (1, 2), (0, 1))),
        lambda xp, x, y, rows: xp.astype(x, xp.int32) + xp.astype(x > 0, xp.int32),
    ],
)
def test_the_recordable_part_of_the_standard_is_numpys(function):
    def run(*arrays):
        results = function(array_namespace(arrays[0]), *arrays)
        return results if isinstance(results, tuple) else (results,)

    program, inputs = traced(run, X, Y, ROWS)
    expected = {str(number): result for number, result in enumerate(run(X, Y, ROWS))}
    got = interpret(program, inputs)
    check_same(got, expected)
    check_same(interpret(simplified(program), inputs), expected)
    for name, node in program.outputs.items():
        assert (node.shape, node.dtype) == (got[name].shape, got[name].dtype)


@dataclass(frozen=True)
class Does:
    """A user's layer with ``forward`` to be tried."""

    act: object

    def init(self, rng, input_shape):
        return {}, {}, input_shape

    def forward(self, params, state, x, context):
        return self.act(array_namespace(x), x), state, ()

    def backward(self, params, residuals, dy, context, need_dx):
        return dy, {}


def doubled_in_place(xp, x):
    x *= 2.0
    return x


@pytest.mark.parametrize(
    ("act", "cause", "remedy"),
    [
        (lambda xp, x: x if float(xp.sum(x)) > 0 else -x, "read the value", "xp.where"),
        (lambda xp, x: x if xp.sum(x) > 0 else -x, "read the value", "xp.where"),
        (lambda xp, x: x * max(x[0, 0]), "read the value", "xp.where"),
        (lambda xp, x: np.asarray(x), "read the value", "xp.where"),
        (lambda xp, x: x * int(x[0, 0, 0, 0]), "read the value", "xp.where"),
        (lambda xp, x: x[x > 0], "indexed by slices and ints", "xp.take"),
        (lambda xp, x: x[xp.arange(2)], "indexed by slices and ints", "xp.take"),
        (doubled_in_place, "in place", "x = x + y"),
        (lambda xp, x: x * np.float32(2.0), "Python numbers", "float(number)"),
        (lambda xp, x: x * np.float64(2.0), "Python numbers", "float(number)"),
        (lambda xp, x: x * np.ones(3), "Python numbers", "xp.asarray"),
        (lambda xp, x: x + "1", "Python numbers", "float(number)"),
        (lambda xp, x: xp.fft(x), "xp.fft cannot be traced", "namespace"),
        (lambda xp, x: xp.sort(x), "xp.sort cannot be traced", "namespace"),
        (lambda xp, x: xp.hypot(x, x), "xp.hypot cannot be traced", "xp.sqrt(x * x + y * y)"),
        (lambda xp, x: x.sum(), "no attribute 'sum'", "write xp.sum(x)"),
        (lambda xp, x: x.dot(x), "no attribute 'dot'", "a function of xp"),
        (lambda xp, x: (x > 0) % (x > 1), "must be given numbers, got bool", "xp.astype"),
        (lambda xp, x: xp.roll(x, x[0, 0, 0, 0]), "read the value", "xp.where"),
        (lambda xp, x: xp.exp(xp.astype(x, xp.int32)), "floating numbers", "xp.astype"),
        (lambda xp, x: xp.matmul(x, x), "shapes (n, k) and (k, m)", "reshape"),
        (lambda xp, x: x.T, "two axes", "permute_dims"),
        (lambda xp, x: xp.sum(x, axis=4), "an axis must be one of 4", "from 0"),
        (lambda xp, x: xp.permute_dims(x, (0, 1)), "each axis", "name them all"),
        (lambda xp, x: 1 // 0, "division", ""),
    ],
)
@pytest.mark.parametrize("depth", [0, 2])
def test_what_cannot_be_traced_is_refused_with_the_layers_position(act, cause, remedy, depth):
    layer = Does(act)
    for _ in range(depth):
        layer = cnn.Sequential(cnn.ReLU(), layer)
    network = cnn.Sequential(layer, cnn.Flatten(), cnn.Dense(10))
    step = program_cases.trial(network, (3, 3, 2), OPTIMIZERS["SGD"])
    with pytest.raises(TracingError) as caught:
        training_program(network, step.optimizer, step.carry, step.given["images"], 3, "float64")
    message = str(caught.value)
    assert message.startswith(f"layer {'.'.join(['0', *['1'] * depth])}, Does: ")
    assert cause in message
    assert remedy in message
    assert "\n" not in message


def _refuses(xp, x):
    raise ValueError("Does: x must be small; divide it")


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (Does(_refuses), "0, Does: x must be small; divide it"),
        (
            cnn.Sequential(Does(lambda xp, x: x), Does(_refuses)),
            "0.1, Does: x must be small; divide it",
        ),
        (cnn.Residual(Does(_refuses)), "0.body, Does: x must be small; divide it"),
        (cnn.Conv2d(2, 3), "0, Conv2d: input must be float32 or float64, got uint8; "),
        (cnn.Sequential(cnn.BatchNorm2d()), "0.0, BatchNorm: input must be float32 or float64, "),
    ],
)
def test_a_layer_that_names_itself_is_named_once(layer, said):
    network = cnn.Sequential(layer, cnn.Flatten(), cnn.Dense(10))
    carry = program_cases.trial(network, (3, 3, 2), OPTIMIZERS["SGD"]).carry
    images = np.zeros((3, 3, 3, 2), np.uint8)
    with pytest.raises(TracingError) as caught:
        training_program(network, OPTIMIZERS["SGD"], carry, images, 3, "float64")
    assert str(caught.value).startswith(f"layer {said}")


def test_a_layer_that_jax_cannot_compile_is_named_once():
    layer, context = Does(_refuses), Context(GENERIC, "infer", "float64")
    for path, owner in ((("2",), "layer 2, "), ((), "")):
        with pytest.raises(ValueError, match="small") as caught:
            layer.forward({}, {}, X, context.inside(*path) if path else context)
        assert cause_in(caught.value) == (path, f"{owner}Does: x must be small; divide it")


def test_remainders_of_floating_numbers_are_numpys():
    program, inputs = traced(lambda x, y: (x % y, x // y, -3.0 % y, x // -0.25), X, Y)
    expected = {"0": X % Y, "1": X // Y, "2": -3.0 % Y, "3": X // -0.25}
    check_same(interpret(program, inputs), expected)


@pytest.mark.parametrize("name", INSTEAD)
def test_what_stands_for_a_function_that_cannot_be_traced_is_the_same(name):
    x, y = np.abs(X), X[::-1] + 0.1
    function = getattr(np, name)
    expected = function(x, y) if re.search(r"\by\b", INSTEAD[name]) else function(x)
    program, inputs = traced(
        lambda x, y: eval(INSTEAD[name], {"xp": array_namespace(x), "x": x, "y": y}), x, y
    )
    np.testing.assert_allclose(interpret(program, inputs)["0"], expected, rtol=1e-13)


def test_an_optimizer_that_reads_a_value_is_named():
    class Reading(program_cases.Lion):
        def update(self, ops, params, gradients, state, learning_rate):
            return super().update(ops, params, gradients, state, float(learning_rate))

    step = program_cases.trial(*NETWORKS["lone dense"], Reading())
    with pytest.raises(TracingError, match="Reading: must not read the value"):
        training_program(
            step.network, step.optimizer, step.carry, step.given["images"], 3, "float64"
        )


def test_a_layer_that_fails_in_its_backward_pass_is_named():
    @dataclass(frozen=True)
    class Backward(Does):
        def backward(self, params, residuals, dy, context, need_dx):
            return dy * float(dy[0, 0, 0, 0]), {}

    first = cnn.Conv2d(2, 1)
    network = cnn.Sequential(first, Backward(lambda xp, x: x), cnn.Flatten(), cnn.Dense(10))
    step = program_cases.trial(network, (3, 3, 2), OPTIMIZERS["SGD"])
    with pytest.raises(TracingError, match="layer 1, Backward: must not read"):
        training_program(network, step.optimizer, step.carry, step.given["images"], 3, "float64")


def test_a_traced_array_is_of_no_use_afterwards():
    kept = []
    traced(lambda x: kept.append(x) or x, X)
    with pytest.raises(TracingError, match="must stay in the function"):
        kept[0] + 1.0


def test_a_result_must_be_an_array():
    with pytest.raises(TracingError, match="result '0' must be an array, got float"):
        traced(lambda x: 1.5, X)
