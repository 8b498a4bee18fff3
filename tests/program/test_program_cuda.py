"""Programs rendered as CUDA C++: the numbers of the eager step, under the access checker, and the same
bits in whichever order threads and blocks run."""

import operator
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import arraycnn as cnn
import program_cases
import random_networks
import test_program_passes
import test_program_trace
from arraycnn import networks
from arraycnn.errors import InvalidValueError
from arraycnn.networks import NETWORKS as NAMED
from arraycnn.ops import GENERIC, Window, array_namespace
from arraycnn.ops.cuda.record import cuda_kernels
from arraycnn.ops.cuda.tiles import Late, bias_relu
from arraycnn.ops.random_bits import layer_key, random_bits, seed_words
from arraycnn.program.compose import inference_schedule, training_schedule
from arraycnn.program.heads import HEADS
from arraycnn.program.interpret import interpret
from arraycnn.program.passes import schedule as passes_schedule
from arraycnn.program.passes.epilogues import with_epilogues as with_relus
from arraycnn.program.passes.schedule import scheduled
from arraycnn.program.passes.simplify import simplified
from arraycnn.program.render.cuda.grouping import groups
from arraycnn.program.render.cuda.launches import CudaLaunches
from arraycnn.program.render.layout import UnsupportedError
from arraycnn.program.steps import Form
from arraycnn.training.step import CLASSIFICATION, Carry, Objective
from arraycnn.tree import map_leaves
from host_cuda import HostLauncher
from program_cases import NETWORKS, OPTIMIZERS
from random_words import words_by_integers
from test_program_trace import traced

CHECKED = "checked"


def rendered(schedule, values, order="forward", shifted=0):
    """The outputs of a schedule on the host's CUDA; carried ones are those written over ``values``.

    Inputs begin ``shifted`` numbers behind where a device's memory would.
    """
    launcher = HostLauncher(checked=True) if order == CHECKED else HostLauncher(order, seed=1)
    arrays = {name: _placed(launcher, np.asarray(a), shifted) for name, a in values.items()}
    launches = CudaLaunches(schedule)
    outputs, kept = launches(launcher, cuda_kernels(launcher), arrays)
    assert kept
    outputs = {name: np.array(array) for name, array in outputs.items()}
    for name, source in schedule.carried.items():
        outputs[name] = arrays[source]
    return outputs


def _placed(launcher, array, shifted):
    memory = launcher.empty((array.size + shifted,), array.dtype)
    place = memory[shifted:].reshape(array.shape)
    place[...] = array
    return place


def check_rendered(schedule, values, expected, tolerance=1e-10, orders=(CHECKED, "random")):
    first, *others = (rendered(schedule, values, order) for order in orders)
    for name, array in expected.items():
        assert first[name].dtype == np.asarray(array).dtype
        np.testing.assert_allclose(first[name], array, rtol=tolerance, atol=tolerance, err_msg=name)
        for other in others:
            np.testing.assert_array_equal(other[name], first[name], err_msg=name)


# -- steps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
def test_a_rendered_step_is_the_eager_step(network):
    """Each network with another optimizer: each optimizer's update is one expression for all."""
    number = list(NETWORKS).index(network)
    optimizer = list(OPTIMIZERS.values())[number % len(OPTIMIZERS)]
    step = program_cases.trial(*NETWORKS[network], optimizer)
    with program_cases.on_small_sizes() if number % 2 else nullcontext():
        schedule = test_program_passes.schedule_of(step)
        orders = (CHECKED, "random") if network in ("resnet", "user's") else ("random", "reverse")
        check_rendered(schedule, step.values(), step.eager(), orders=orders)


@given(random_networks.networks())
@settings(
    max_examples=6, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_random_networks_are_the_eager_ones(case):
    random_networks.check(case, on_cuda)


def on_cuda(schedule, values, threads):
    """As the engines of `random_networks`; the numbers of threads are orders of theirs."""
    launcher = HostLauncher("forward" if threads == 1 else "reverse")
    outputs, _ = CudaLaunches(schedule)(launcher, cuda_kernels(launcher), values)
    return outputs


def test_images_of_another_batch_size_need_no_other_code():
    texts = []
    for images in (16, 24, 64):
        step = program_cases.trial(*NETWORKS["resnet"], OPTIMIZERS["Adam"], images=images)
        launches = CudaLaunches(test_program_passes.schedule_of(step, images))
        texts.append({text.text for of in launches._texts.values() for text in of.values()})
    for other in texts[1:]:
        assert (
            len(texts[0] - other) == len(other - texts[0]) <= 1
        )  # the loss, which sums over images


# -- operations -----------------------------------------------------------------------------------

RECORDABLE = test_program_trace.test_the_recordable_part_of_the_standard_is_numpys
OF_ALL_KINDS = test_program_passes.test_schedules_of_functions_of_all_kinds


def _all_of(test, arrays, call):
    functions = test.pytestmark[0].args[1]

    def run(*inputs):
        found = []
        for function in functions:
            result = call(function, *inputs)
            found += result if isinstance(result, tuple | list) else [result]
        return tuple(found)

    return traced(run, *arrays)


@pytest.mark.parametrize("shifted", [0, 1])
def test_all_that_is_traced_is_rendered(shifted):
    arrays = [test_program_trace.X, test_program_trace.Y, test_program_trace.ROWS]
    one = _all_of(RECORDABLE, arrays, lambda function, *x: function(array_namespace(x[0]), *x))
    other = _all_of(OF_ALL_KINDS, [test_program_passes.X], lambda function, x: function(x))
    for program, values in (one, other):
        schedule = scheduled(simplified(program))
        expected = interpret(program, values)
        found = rendered(schedule, values, CHECKED, shifted=shifted)
        for name, array in expected.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_allclose(found[name], array, rtol=1e-13, atol=1e-13, err_msg=name)


FLOATS = ["exp", "expm1", "log", "log1p", "tanh", "sqrt", "abs", "sign", "floor", "ceil", "square"]
FLOATS += ["round", "trunc"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_of_reals(dtype):
    rng, info = np.random.default_rng(4), np.finfo(dtype)
    special = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, info.max, -info.max, info.tiny, 0.5]
    x = np.concatenate([special, rng.normal(size=100), rng.uniform(-90, 90, 101)]).astype(dtype)
    program, values = traced(
        lambda x: tuple(getattr(array_namespace(x), name)(x) for name in FLOATS), x
    )
    got = rendered(scheduled(program), values, CHECKED)
    for number, name in enumerate(FLOATS):
        with np.errstate(all="ignore"):
            expected = getattr(np, name)(x.astype(np.float64)).astype(dtype)
        bound = 4 * float(info.eps)
        np.testing.assert_allclose(
            got[str(number)], expected, rtol=bound, atol=4 * float(info.tiny), err_msg=name
        )


def test_the_larger_and_the_smaller_are_nan_where_either_is():
    some = np.array([0.0, -0.0, 1.0, -2.5, np.inf, -np.inf, np.nan])
    a, b = (grid.ravel() for grid in np.meshgrid(some, some))
    program, values = traced(
        lambda a, b: tuple(getattr(array_namespace(a), n)(a, b) for n in ("maximum", "minimum")),
        a,
        b,
    )
    got = rendered(scheduled(program), values, CHECKED)
    np.testing.assert_array_equal(got["0"], np.maximum(a, b))
    np.testing.assert_array_equal(got["1"], np.minimum(a, b))


@pytest.mark.parametrize("count", [1, 2, 7, 512, 1025])
@pytest.mark.parametrize(
    ("seed", "step", "path"),
    [
        (0xF1234567_89ABCDEF, 2**31 - 5, ("3", "body")),
        (2**64 - 1, 1, ("9", "2")),
        (2**32, 0, ("0",)),
    ],
)
def test_random_bits_are_the_documented_ones(seed, step, path, count):
    indices = np.array([0, 59_999, 2**31 - 1, 7], np.int32)
    program, values = traced(
        lambda *key: (random_bits(*key[:2], layer_key(path), key[2], count),),
        *(seed_words(seed), np.array([step], np.int32), indices),
    )
    order = CHECKED if count < 100 else "random"
    found = rendered(scheduled(simplified(program)), values, order)["0"]
    words = [words_by_integers(seed, step, path, int(index), count) for index in indices]
    np.testing.assert_array_equal(found, np.array(words, np.uint32).view(np.int32), strict=True)


WHOLE = ["int8", "uint8", "int32", "uint32", "int64", "uint64"]


def test_whole_numbers_wrap_around_and_divisions_round_down():
    """By Python's own numbers; the checker stops at whatever C++ leaves undefined."""
    arrays, expected = [], []
    for dtype in WHOLE:
        info = np.iinfo(dtype)
        some = [info.min, info.min + 1, info.max, 0, 1, 2, 3, 7, 100]
        some += [-1, -2, -3, -7, -100] if info.min else []
        a, b = (grid.ravel() for grid in np.meshgrid(*2 * [np.array(some, dtype)]))
        arrays += [a, b]
        pairs = [(int(x), int(y)) for x, y in zip(a, b, strict=True)]

        def wrap(number, info=info):
            return (number - info.min) % 2**info.bits + info.min

        expected += [
            [wrap(x // y) if y else 0 for x, y in pairs],
            [x % y if y else 0 for x, y in pairs],
            [wrap(x + y) for x, y in pairs],
            [wrap(x - y) for x, y in pairs],
            [wrap(x * y) for x, y in pairs],
            [wrap(-x) for x, _ in pairs],
            [wrap(~x) for x, _ in pairs],
            [wrap(x << 3) for x, _ in pairs],
            [x >> 3 for x, _ in pairs],
            [max(x, y) for x, y in pairs],
        ]

    def run(*inputs):
        results = []
        for a, b in zip(inputs[::2], inputs[1::2], strict=True):
            xp = array_namespace(a)
            results += [a // b, a % b, a + b, a - b, a * b, -a, ~a, a << 3, a >> 3]
            results.append(xp.maximum(a, b))
        return tuple(results)

    program, values = traced(run, *arrays)
    got = rendered(scheduled(program), values, CHECKED)
    for number, numbers in enumerate(expected):
        dtype = WHOLE[number // 10]
        np.testing.assert_array_equal(got[str(number)], np.array(numbers, dtype), err_msg=dtype)


def test_casts_are_numpys_and_end_at_the_ends():
    x = np.array([0.0, -0.0, 1.9, -1.9, 255.0, 1e30, -1e30, np.inf, -np.inf, np.nan, 0.3])
    kinds = ["bool", "int32", "int64", "uint8", "float32"]
    program, values = traced(
        lambda x: tuple(array_namespace(x).astype(x, kind) for kind in kinds), x
    )
    got = rendered(scheduled(program), values, CHECKED)
    inside = slice(0, 4)
    for number, kind in enumerate(kinds):
        assert got[str(number)].dtype == kind
        if kind != "uint8":
            np.testing.assert_array_equal(got[str(number)][inside], x[inside].astype(kind))
    for number, kind in ((1, "int32"), (2, "int64"), (3, "uint8")):
        info = np.iinfo(kind)
        ends = [info.max, info.min, info.max, info.min, 0]
        np.testing.assert_array_equal(got[str(number)][5:10], np.array(ends, kind))


EXPONENTS = [0, 1, 2, 3, 7, -1, -3, 0.5, 1.7, -0.3, 2.0]


def test_powers():
    x = np.array([0.0, 0.5, 1.0, 2.5, 30.0, np.inf, np.nan])
    program, values = traced(lambda x: (*(x**e for e in EXPONENTS), x**x), x)
    got = rendered(scheduled(program), values, CHECKED)
    with np.errstate(all="ignore"):
        for number, exponent in enumerate([*EXPONENTS, x]):
            np.testing.assert_allclose(got[str(number)], x**exponent, rtol=1e-14)


@pytest.mark.parametrize("op", [operator.mod, operator.floordiv])
def test_a_remainder_of_floating_numbers_has_no_code_and_says_what_has(op):
    x, y = test_program_trace.X, test_program_trace.Y
    program, _ = traced(op, x, y)
    with pytest.raises(UnsupportedError, match="y of float64 has no code; write ") as said:
        CudaLaunches(scheduled(program))
    instead = str(said.value).rpartition("write ")[2]
    program, values = traced(
        lambda x, y: eval(instead, {"xp": array_namespace(x), "x": x, "y": y}), x, y
    )
    np.testing.assert_allclose(rendered(scheduled(program), values)["0"], op(x, y), atol=1e-13)


# -- reductions -----------------------------------------------------------------------------------


@given(st.deferred(lambda: reductions()))
@settings(max_examples=12, deadline=None, derandomize=True, database=None)
def test_reductions_of_every_shape(case):
    shape, axes, name, turned, dtype = case
    axis = axes[0] if "arg" in name else axes
    x = np.random.default_rng(6).normal(size=shape) * 4
    x = np.where(np.abs(x) < 1, 1, x).astype(dtype)

    def function(x):
        xp = array_namespace(x)
        return getattr(xp, name)(xp.permute_dims(x, turned), axis=axis)

    program, values = traced(function, x)
    got = rendered(scheduled(program), values, CHECKED)["0"]
    expected = interpret(program, values)["0"]
    bound = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(got, expected, rtol=bound, atol=bound * 100)


REDUCTIONS = ["sum", "prod", "max", "min", "any", "all", "argmax", "argmin"]


@st.composite
def reductions(draw):
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 7, 16, 17, 40]), min_size=1, max_size=4)))
    axes = tuple(axis for axis in range(len(shape)) if draw(st.booleans()))
    name = draw(st.sampled_from(REDUCTIONS))
    turned = tuple(draw(st.permutations(range(len(shape)))))
    return shape, axes or (0,), name, turned, draw(st.sampled_from(["float64", "float32", "int32"]))


def test_reductions_meet_nan_as_numpy_does():
    x = np.array([[1.0, np.nan, 3.0, np.nan], [-np.inf, -np.inf, -np.inf, -np.inf]])

    def function(x):
        xp = array_namespace(x)
        names = ("max", "min", "argmax", "argmin", "sum")
        return tuple(getattr(xp, name)(x, axis=1) for name in names)

    program, values = traced(function, x)
    expected = interpret(program, values)
    for name, array in rendered(scheduled(program), values, CHECKED).items():
        np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize("shape", [(1, 1), (20000, 2), (70000, 3), (3, 70000), (300, 16, 40)])
def test_loops_of_many_blocks(shape):
    x = np.random.default_rng(7).normal(size=shape)

    def function(x):
        xp = array_namespace(x)
        total = xp.sum(x, axis=0)
        return x - total, total, xp.sum(x), xp.max(x, axis=-1), xp.argmax(x, axis=0)

    program, values = traced(function, x)
    check_rendered(
        scheduled(program), values, interpret(program, values), 1e-9, orders=("reverse", "random")
    )


@pytest.mark.parametrize("shape", [(700, 8, 8, 16), (3, 2, 1, 3), (1, 1, 1, 4)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_mean_and_variance_are_taken_in_one_pass(shape, dtype):
    """Far from 0, where a sum of squares less the square of the sum has no digit left."""
    x = (np.random.default_rng(8).normal(size=shape) + 1000.0).astype(dtype)

    def function(x):
        xp = array_namespace(x)
        mean = xp.mean(x, axis=(0, 1, 2))
        return mean, xp.mean((x - mean) * (x - mean), axis=(0, 1, 2))

    program, values = traced(function, x)
    schedule = scheduled(simplified(program))
    both = [group for group in groups(schedule) if group.covered]
    assert len(both) == (x.size > 2**14)  # as of small loops, which one block runs
    exact = x.astype(np.longdouble)
    found = rendered(schedule, values, "random")
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(found["0"], exact.mean((0, 1, 2)), rtol=8 * eps)
    np.testing.assert_allclose(found["1"], exact.var((0, 1, 2)), rtol=2000 * eps, atol=1e-30)


@pytest.mark.parametrize(
    "centre",
    [
        lambda xp, x: 0.5 * xp.mean(x, axis=1),  # not the mean
        lambda xp, x: xp.mean(x, axis=0),  # not along these
        lambda xp, x: xp.mean(x, axis=1),  # of as many, and along the others
    ],
)
def test_squares_around_something_else_are_summed_as_they_are(centre):
    x = np.random.default_rng(9).normal(size=(160, 160))

    def function(x):
        xp = array_namespace(x)
        away = x - centre(xp, x)
        return xp.sum(x, axis=1), xp.sum(away * away, axis=1)

    program, values = traced(function, x)
    schedule = scheduled(simplified(program))
    assert not any(group.covered for group in groups(schedule))
    check_rendered(schedule, values, interpret(program, values), 1e-10, orders=("random",))


# -- kernels --------------------------------------------------------------------------------------


def test_small_loops_that_need_nothing_of_each_other_share_a_kernel():
    arrays = [np.random.default_rng(n).normal(size=(n + 3,)) for n in range(20)]
    program, values = traced(lambda *arrays: tuple(2.0 * a + 1.0 for a in arrays), *arrays)
    schedule = scheduled(simplified(program))
    (group,) = groups(schedule)
    assert len(group.beside) == 20
    check_rendered(schedule, values, interpret(program, values))


def test_loops_that_follow_a_sum_run_in_its_last_block():
    x = np.random.default_rng(3).normal(size=(4000, 12))

    def function(x):
        xp = array_namespace(x)
        total = xp.sum(x, axis=0)
        scaled = xp.exp(-total * total / 4000.0)
        return total, xp.sum(scaled), xp.max(scaled) * scaled

    program, values = traced(function, x)
    schedule = scheduled(simplified(program))
    (group,) = groups(schedule)
    assert (len(group.beside), len(group.following) > 0) == (1, True)
    check_rendered(schedule, values, interpret(program, values))


def test_several_numbers_are_moved_at_once_only_where_they_lie_so():
    x = np.random.default_rng(3).normal(size=(64, 12)).astype("float32")
    program, _ = traced(lambda x: x * 2.0, x)
    schedule = scheduled(simplified(program))
    launches = CudaLaunches(schedule)
    launcher, started = HostLauncher(checked=True), []
    start = launcher.start
    launcher.start = lambda file, *rest: (started.append(file), start(file, *rest))
    for shifted in (0, 1, 4):
        place = _placed(launcher, x, shifted)
        outputs, _ = launches(launcher, cuda_kernels(launcher), {"0": place})
        np.testing.assert_array_equal(outputs["0"], 2 * x)
    assert started[0] == started[2] != started[1]


def test_what_has_no_code_is_said():
    program, _ = traced(lambda x: array_namespace(x).astype(x, "int32") ** 2, test_program_trace.X)
    with pytest.raises(UnsupportedError, match="a power of int32"):
        CudaLaunches(scheduled(program))
    program, _ = traced(lambda x: x * 2.0, np.zeros((3, 0)))
    with pytest.raises(UnsupportedError, match="a loop over no numbers"):
        CudaLaunches(scheduled(program))


@pytest.mark.parametrize(
    ("network", "nodes"),
    [("resnet", 29), ("lenet5", 15), ("user's", 9)],
)
def test_kernels_of_a_step(network, nodes):
    """No more than now."""
    step = program_cases.trial(*NETWORKS[network], cnn.SGD(0.1), images=64)
    launches = CudaLaunches(test_program_passes.schedule_of(step, 64))
    started = []
    launcher = HostLauncher()
    launcher.start = lambda *launch: started.append(launch)
    values = {name: np.array(value) for name, value in step.values().items()}
    launches(launcher, cuda_kernels(launcher), values)
    assert len(started) <= nodes


# -- epilogues ------------------------------------------------------------------------------------


def _heads(schedule):
    return [group for group in CudaLaunches(schedule)._groups if group.alone is not None]


def convolved(after):
    """A 3x3 convolution with a bias of 5 filters, and what a function makes of it."""
    rng = np.random.default_rng(8)
    arrays = rng.normal(size=(4, 6, 5, 3)), rng.normal(size=(3, 3, 3, 5)), rng.normal(size=5)
    other = rng.normal(size=(4, 4, 3, 5)), rng.normal(size=(4, 1, 1, 1))

    def function(x, weight, bias, *other):
        y = HEADS.conv2d(HEADS, x, weight, bias, Window((3, 3), (1, 1)))
        return after(array_namespace(y), y, *other)

    program, values = traced(function, *arrays, *other)
    return scheduled(with_relus(simplified(program))), values, interpret(program, values)


EPILOGUES = {
    "an activation": lambda xp, y, full, each: y * xp.tanh(y),
    "a relu before": lambda xp, y, full, each: xp.maximum(y, 0.0) * full,
    "other arrays": lambda xp, y, full, each: y * full + each - full[0, 0, 0, :],
    "what others read": lambda xp, y, full, each: (y, xp.exp(y), y > full),
    "several results": lambda xp, y, full, each: (y * full, y + each, y > 0.0),
    "places": lambda xp, y, full, each: y * xp.arange(5, dtype=y.dtype),
}


@pytest.mark.parametrize("name", EPILOGUES)
def test_what_follows_point_by_point_is_an_epilogue(name):
    schedule, values, expected = convolved(EPILOGUES[name])
    (head,) = _heads(schedule)
    assert head.epilogue is not None
    check_rendered(schedule, values, expected)


OTHERS = {
    "neighbours": lambda xp, y, full, each: y[:, :-1, :, :] + y[:, 1:, :, :],
    "turned": lambda xp, y, full, each: xp.flip(y, axis=2) * y,
    "a sum": lambda xp, y, full, each: (xp.sum(y, axis=(0, 1, 2)), y),
    "two loops": lambda xp, y, full, each: (y[:, :2, :, :] * 2.0, xp.exp(y) + y),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_needs_more_than_its_own_number_is_none(name):
    schedule, values, expected = convolved(OTHERS[name])
    (head,) = _heads(schedule)
    assert head.epilogue is None or name == "two loops"
    check_rendered(schedule, values, expected)


def test_an_inference_folds_its_norms_into_epilogues():
    network, shape = NETWORKS["resnet"]
    params, state, _ = network.init(np.random.default_rng(0), shape)
    images = np.zeros((8, *shape), np.uint8)
    schedule = inference_schedule(network, params, state, images, "float64")
    convolutions = [g for g in _heads(schedule) if g.alone.head.op.startswith("conv2d")]
    # What follows the last two is a mean over pixels.
    assert [group.epilogue is not None for group in convolutions] == [True] * 4 + [False] * 2


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("optimizer", ["SGD", "momentum", "Adam"])
def test_an_update_is_the_epilogue_of_its_gradient(optimizer, relu, monkeypatch):
    """Both of a dense layer's and of a convolution's; the old weights serve the gradient of images."""
    after = [cnn.ReLU()] if relu else []
    network = cnn.Sequential(
        *(cnn.Conv2d(4, 3, padding=(1, 1)), *after, cnn.Conv2d(5, 3, stride=2), *after),
        *(cnn.Flatten(), cnn.Dense(12), *after, cnn.Dense(3)),
    )
    step = program_cases.trial(network, (7, 6, 2), OPTIMIZERS[optimizer], images=5)
    monkeypatch.setattr(passes_schedule, "_LARGE", 64)
    with program_cases.on_small_sizes():
        schedule = test_program_passes.schedule_of(step, 5)
        gradients = [g for g in _heads(schedule) if g.alone.head.op.endswith("backward")]
        late = [group for group in gradients if group.epilogue is not None]
        assert late
        check_rendered(schedule, step.values(), step.eager())


def test_a_place_that_does_not_fit_a_late_gradient_is_refused():
    launcher = HostLauncher()
    x, weight, dy = (np.ones(shape) for shape in ((4, 3), (3, 2), (4, 2)))
    late = Late(bias_relu(), np.ones((2, 3)))
    with pytest.raises(InvalidValueError, match=r"must be float64 \(3, 2\), got float64 \(2, 3\)"):
        cuda_kernels(launcher).dense_backward(None, x, weight, dy, False, late=late)


@pytest.mark.parametrize("relu", [False, True])
def test_parts_of_several_gradients_are_added_up_in_one_kernel(relu):
    after = [cnn.ReLU()] if relu else []
    network = cnn.Sequential(
        *(cnn.Conv2d(4, 3, padding=(1, 1)), *after, cnn.Conv2d(5, 3, padding=(1, 1)), *after),
        *(cnn.GlobalAvgPool2d(), cnn.Dense(3)),
    )
    step = program_cases.trial(network, (12, 11, 3), OPTIMIZERS["momentum"], images=6)
    schedule = test_program_passes.schedule_of(step, 6)
    check_rendered(schedule, step.values(), step.eager())
    launcher, started = HostLauncher(), []
    start = launcher.start
    launcher.start = lambda file, kernel, *rest: (
        started.append(kernel),
        start(file, kernel, *rest),
    )
    values = {name: np.array(value) for name, value in step.values().items()}
    CudaLaunches(schedule)(launcher, cuda_kernels(launcher), values)
    kinds = [kernel.partition("<")[0] for kernel in started]
    assert sum("conv2d_dweight" in kind for kind in kinds) == 2
    after_them = kinds[len(kinds) - kinds[::-1].index("conv2d_dweight") :]
    # The sums of all of them, each with its update.
    assert [kind.startswith("fused_") for kind in after_them] == [True]


def test_gradients_that_are_outputs_are_whole():
    rng = np.random.default_rng(2)
    arrays = (
        rng.normal(size=(6, 12, 11, 3)),
        rng.normal(size=(3, 3, 3, 4)),
        rng.normal(size=(6, 10, 9, 4)),
    )

    def function(x, weight, dy):
        return HEADS.conv2d_backward(HEADS, x, weight, dy, Window((3, 3), (1, 1)), True)

    program, values = traced(function, *arrays)
    check_rendered(scheduled(simplified(program)), values, interpret(program, values))


def test_a_kernel_has_no_more_parameters_than_a_device_takes():
    arrays = [np.random.default_rng(n).normal(size=(n + 3,)) for n in range(300)]
    program, values = traced(lambda *arrays: tuple(2.0 * a + 1.0 for a in arrays), *arrays)
    schedule = scheduled(simplified(program))
    launches = CudaLaunches(schedule)
    assert len(launches._groups) > 1
    check_rendered(schedule, values, interpret(program, values), orders=("random",))


@pytest.mark.parametrize("name", [*NAMED, "unet_small"])
def test_no_part_of_a_named_network_needs_kernels_of_cupys(name):
    """All is generated, or a head whose kernel is ours; nothing is called between two graphs."""
    network = networks.unet_small() if name == "unet_small" else NAMED[name]()
    shape = (28, 28, 1) if name in ("scratch", "basic", "lenet5") else (32, 32, 3)
    optimizer = cnn.SGD(0.1, momentum=0.9)
    params, state, output = network.init(np.random.default_rng(0), shape)
    trees = (params, state, optimizer.init(params))
    carry = Carry(*(map_leaves(lambda leaf: np.asarray(leaf, "float32"), tree) for tree in trees))
    labels = Objective(label_shape=output[:-1]) if name == "unet_small" else CLASSIFICATION
    schedule = training_schedule(
        *(network, optimizer, carry, Form((8, *shape), "uint8"), 8, "float32"), objective=labels
    )
    ours = cuda_kernels(HostLauncher())
    heads = {step.head.op for step in schedule.steps if step.head is not None}
    assert not any(step.is_call for step in schedule.steps)
    assert heads
    for op in heads:
        assert getattr(ours, op) is not getattr(GENERIC, op, None), op
    assert CudaLaunches(schedule)._groups
