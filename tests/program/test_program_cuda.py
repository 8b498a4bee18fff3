"""Programs rendered as CUDA C++: the numbers of the eager step, under the access checker, and the same
bits in whichever order threads and blocks run."""

import operator
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import program_cases
import random_networks
import test_program_passes
import test_program_trace
from arraycnn.ops import array_namespace
from arraycnn.ops.cuda.record import cuda_kernels
from arraycnn.ops.random_bits import layer_key, random_bits, seed_words
from arraycnn.program.interpret import interpret
from arraycnn.program.passes.schedule import scheduled
from arraycnn.program.passes.simplify import simplified
from arraycnn.program.render.cuda.launches import CudaLaunches
from arraycnn.program.render.layout import UnsupportedError
from cuda_rendering import CHECKED, check_rendered, rendered
from host_cuda import HostLauncher
from program_cases import NETWORKS, OPTIMIZERS
from random_words import words_by_integers
from test_program_trace import traced

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
    x = np.array([0.0, -0.0, 1.9, -1.9, 255.0, 1e30, -1e30, np.inf, -np.inf, np.nan, 2.0**63, 0.3])
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
        ends = [info.max, info.min, info.max, info.min, 0, info.max]
        np.testing.assert_array_equal(got[str(number)][5:11], np.array(ends, kind))


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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_division_by_a_known_number_is_to_the_nearest(dtype):
    """By 1 and more by two multiply-adds; all are NumPy's, to the last bit and the sign of 0."""
    rng, real = np.random.default_rng(12), np.dtype(dtype)
    ends = np.finfo(real)
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, ends.max, -ends.max]
    sizes = 2.0 ** rng.uniform(-60, 100, 3000) * rng.choice((-1, 1), 3000)
    x = np.concatenate([special, np.arange(256), sizes]).astype(dtype)
    divisors = [255.0, 3.0, -7.0, 1.0, 50176.0, 1e9 + 7, 0.3, 2.0**101]
    program, values = traced(lambda x: tuple(x / number for number in divisors), x)
    results = rendered(scheduled(simplified(program)), values)
    for place, number in enumerate(divisors):
        with np.errstate(over="ignore"):
            expected = x / real.type(number)
        np.testing.assert_array_equal(results[str(place)], expected)
        signs = [np.signbit(found)[x == x] for found in (results[str(place)], expected)]
        np.testing.assert_array_equal(*signs)
