"""Rendered programs: the eager step's numbers, on all threads the same bits, in their memory."""

import operator
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings

import arraycnn as cnn
import program_cases
import test_program_passes
import test_program_trace
from arraycnn.execution.thread_pool import thread_pool
from arraycnn.ops import Window, array_namespace
from arraycnn.program.heads import HEADS
from arraycnn.program.interpret import interpret
from arraycnn.program.passes.chains import chains
from arraycnn.program.passes.schedule import scheduled
from arraycnn.program.passes.simplify import simplified
from canaries import Canaries
from optional import Late, needs
from program_cases import NETWORKS, OPTIMIZERS
from reduction_cases import check_reduced, reduced, reductions, with_nan
from test_program_trace import traced

pytestmark = needs("llvmlite")
launching = Late("arraycnn.program.render.launching")
layouts = Late("arraycnn.program.render.layout")
machine = Late("arraycnn.program.render.machine")
launchers = Late("arraycnn.ops.compiled.launcher")
compiled = Late("arraycnn.ops.compiled.record")

THREADS = (1, 2, 3, 16)


class Guarded:
    """A launcher that puts bytes that must not change before and behind every array."""

    def __init__(self, threads):
        self._launcher, canaries = launchers.Launcher(thread_pool(threads)), Canaries()
        self.empty, self.check = canaries.empty, canaries.check

    def __getattr__(self, name):
        return getattr(self._launcher, name)


def rendered(schedule, values, threads=2):
    """The outputs of a schedule on so many threads; carried ones are written over ``values``."""
    launcher = Guarded(threads)
    arrays = {name: np.array(value) for name, value in values.items()}
    launches = launching.Launches(schedule)
    outputs, kept = launches(launcher, compiled.compiled_kernels(launcher), arrays)
    assert kept
    launcher.check()
    outputs = {name: np.array(array) for name, array in outputs.items()}
    for name, source in schedule.carried.items():
        outputs[name] = arrays[source]
    return outputs


def check_rendered(schedule, values, expected, tolerance=1e-10):
    outputs = rendered(schedule, values)
    for name, array in expected.items():
        assert outputs[name].dtype == np.asarray(array).dtype
        np.testing.assert_allclose(
            outputs[name], array, rtol=tolerance, atol=tolerance, err_msg=name
        )
    for threads in THREADS:
        again = rendered(schedule, values, threads=threads)
        for name, array in outputs.items():
            np.testing.assert_array_equal(again[name], array)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_rendered_step_is_the_eager_step(network, optimizer):
    step = program_cases.trial(*NETWORKS[network], optimizer)
    small = optimizer is not OPTIMIZERS["Adam"]
    with program_cases.on_small_sizes() if small else nullcontext():
        schedule = test_program_passes.schedule_of(step)
        check_rendered(schedule, step.values(), step.eager())


FUNCTIONS = [
    function
    for test in (
        test_program_trace.test_the_recordable_part_of_the_standard_is_numpys,
        test_program_passes.test_schedules_of_functions_of_all_kinds,
    )
    for function in test.pytestmark[0].args[1]
]


@pytest.mark.parametrize("number", range(len(FUNCTIONS)))
def test_all_that_is_traced_is_rendered(number):
    function = FUNCTIONS[number]
    arrays = [test_program_trace.X, test_program_trace.Y, test_program_trace.ROWS]
    if function.__code__.co_argcount == 1:
        arrays = [test_program_passes.X]

    def run(*inputs):
        if len(inputs) == 1:
            return function(*inputs)
        return function(array_namespace(inputs[0]), *inputs)

    program, values = traced(run, *arrays)
    check_rendered(scheduled(simplified(program)), values, interpret(program, values), 1e-13)


FLOATS = ["exp", "expm1", "log", "log1p", "tanh", "sqrt", "abs", "sign", "floor", "ceil", "square"]
FLOATS += ["round", "trunc"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FLOATS)
def test_functions_of_reals(name, dtype):
    rng = np.random.default_rng(4)
    info = np.finfo(dtype)
    special = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, info.max, -info.max, info.tiny]
    special += [info.tiny / 4, -info.tiny / 4, 88.7, 89.0, -87.5, -104.5, 709.7, 710.0, -745.0, 0.5]
    x = np.concatenate(
        [
            *(special, rng.normal(size=1000), rng.uniform(-120, 120, 1000)),
            *(np.exp(rng.uniform(-80, 80, 1000)), rng.normal(size=500) * 1e-6),
        ]
    ).astype(dtype)
    program, values = traced(lambda x: getattr(array_namespace(x), name)(x), x)
    got = rendered(scheduled(program), values)["0"]
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x.astype(np.float64) if dtype == "float32" else x).astype(
            dtype
        )
    bound = 4 * float(info.eps)
    np.testing.assert_allclose(got, expected, rtol=bound, atol=4 * float(info.tiny))


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "uint32"])
def test_divisions_of_integers_round_down_and_none_stops_the_processor(dtype):
    info = np.iinfo(dtype)
    some = [info.min, info.min + 1, info.max, 0, 1, 2, 3, 7, 100]
    some += [-1, -2, -3, -7, -100] if info.min else []
    a, b = (grid.ravel() for grid in np.meshgrid(*2 * [np.array(some, dtype)]))
    program, values = traced(lambda a, b: (a // b, a % b, a // 3, a % 3), a, b)
    got = rendered(scheduled(program), values)
    pairs = [(int(x), int(y)) for x, y in zip(a, b, strict=True)]
    wrap = lambda number: (number - info.min) % 2**info.bits + info.min  # noqa: E731
    expected = {  # by Python's own numbers, wrapped; 0 where NumPy has 0
        "0": [wrap(x // y) if y else 0 for x, y in pairs],
        "1": [x % y if y else 0 for x, y in pairs],
        "2": [x // 3 for x, _ in pairs],
        "3": [x % 3 for x, _ in pairs],
    }
    for name, numbers in expected.items():
        assert got[name].dtype == dtype
        np.testing.assert_array_equal(got[name], np.array(numbers, dtype))


@pytest.mark.parametrize("op", [operator.mod, operator.floordiv])
def test_a_remainder_of_floating_numbers_has_no_code_and_says_what_has(op):
    x, y = test_program_trace.X, test_program_trace.Y
    program, values = traced(op, x, y)
    with pytest.raises(layouts.UnsupportedError, match="y of float64 has no code; write ") as said:
        rendered(scheduled(program), values)
    instead = str(said.value).rpartition("write ")[2]
    program, values = traced(
        lambda x, y: eval(instead, {"xp": array_namespace(x), "x": x, "y": y}), x, y
    )
    np.testing.assert_allclose(rendered(scheduled(program), values)["0"], op(x, y), atol=1e-13)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 7, -1, -3, 0.5, 1.7, -0.3, 2.0])
def test_powers(exponent):
    x = np.random.default_rng(5).uniform(0.1, 9.0, 300)
    program, values = traced(lambda x: x**exponent, x)
    got = rendered(scheduled(program), values)["0"]
    np.testing.assert_allclose(got, x**exponent, rtol=1e-14)


@given(reductions())
@settings(max_examples=40)
def test_reductions_of_every_shape(case):
    program, values, expected = reduced(case)
    got = rendered(scheduled(program), values)["0"]
    check_reduced(got, expected, case[-1])
    for threads in (1, 3):
        again = rendered(scheduled(program), values, threads=threads)["0"]
        np.testing.assert_array_equal(again, got)


def test_reductions_meet_nan_as_numpy_does():
    program, values, expected = with_nan()
    for name, array in rendered(scheduled(program), values).items():
        np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize(
    "shape",
    [
        (1, 1),
        (5, 3),
        (2, 20000),
        (20000, 2),
        (3, 70000),
        (70000, 3),
        (300, 16, 40),
    ],  # of 1, 2, more
)
def test_loops_of_many_blocks(shape):
    x = np.random.default_rng(7).normal(size=shape)

    def function(x):
        xp = array_namespace(x)
        total = xp.sum(x, axis=0)
        return x - total, total, xp.sum(x), xp.max(x, axis=-1), xp.tanh(x * 2.0)

    program, values = traced(function, x)
    check_rendered(scheduled(program), values, interpret(program, values), 1e-9)


@pytest.mark.parametrize("lanes", [1, 3, 4, 7, 8, 20, 33])
def test_rows_of_several_axes_whose_pixels_move_alike(lanes):
    """Rows that are cut anywhere into blocks, and vectors that are as wide as there are lanes."""
    x = np.random.default_rng(8).normal(size=(5, 44, 41, lanes))
    weight = np.random.default_rng(9).normal(size=(4, lanes))

    def function(x, weight):
        xp = array_namespace(x)
        pixels = [x[:, i : i + 42, j : j + 37, :] for i, j in ((0, 0), (1, 0), (0, 2), (2, 1))]
        products = [pixel * weight[place, :] for place, pixel in enumerate(pixels)]
        mixed = products[0] - products[1] * products[2] + products[3]
        turned = xp.permute_dims(pixels[1], (0, 3, 1, 2)) * 2.0
        return mixed * 3.0, turned, [xp.sum(one, axis=(0, 1, 2)) for one in (mixed, *products)]

    def run(x, weight):
        *written, sums = function(x, weight)
        return (*written, *sums)

    program, values = traced(run, x, weight)
    check_rendered(scheduled(simplified(program)), values, interpret(program, values), 1e-9)


@pytest.mark.parametrize(("size", "filters"), [(5, 2), (5, 5), (3, 1)])
def test_loops_of_a_chain_keep_to_their_image(size, filters):
    """Of 18, 45 and 1 numbers: all together make whole vectors, or not, and an image never does."""
    rng = np.random.default_rng(8)
    x, weight = rng.normal(size=(4, size, size, 2)), rng.normal(size=(3, 3, 2, filters))

    def function(x, weight):
        xp, y = array_namespace(x), HEADS.conv2d(HEADS, x, weight, None, Window((3, 3), (1, 1)))
        return y * 2.0, xp.exp(y), xp.sum(y), xp.max(y, axis=3), xp.sum(y, axis=(0, 1, 2))

    program, values = traced(function, x, weight)
    with program_cases.on_small_sizes():
        schedule = scheduled(simplified(program))
        check_rendered(schedule, values, interpret(program, values), 1e-12)


def test_a_recorded_chain_of_equal_convolutions_keeps_what_each_has_in_memory():
    """Their partial sums are of one size, and are read after the last of the chain."""
    same = cnn.Conv2d(16, 3, padding="same"), cnn.GELUTanh()
    network = cnn.Sequential(*same, *same, *same, cnn.Flatten(), cnn.Dense(3))
    step = program_cases.trial(network, (6, 6, 16), OPTIMIZERS["SGD"], images=16)
    schedule = test_program_passes.schedule_of(step, 16)
    longest = max((c.steps for c in chains(schedule) if c.images), key=len)
    assert sum(one.head is not None for one in longest) >= 2
    launcher = launchers.Launcher(thread_pool(2))
    arrays = {name: np.array(value) for name, value in step.values().items()}
    made = []

    def work():
        launches = launching.Launches(schedule)
        made.append(launches(launcher, compiled.compiled_kernels(launcher), arrays))

    launcher.capture(work)()
    ((outputs, _),) = made
    for name, array in step.eager().items():
        found = arrays[schedule.carried[name]] if name in schedule.carried else outputs[name]
        np.testing.assert_allclose(found, array, rtol=1e-10, atol=1e-10, err_msg=name)


def test_other_sizes_need_no_other_code():
    cache = machine.KernelCache(None)
    for images in (5, 6, 64):
        step = program_cases.trial(*NETWORKS["resnet"], OPTIMIZERS["Adam"], images=images)
        schedule = test_program_passes.schedule_of(step, images)
        launching.Launches(schedule, cache)
        if images == 5:
            first = cache.compiled
    assert cache.compiled <= first + 4
    assert cache.sizes()["in memory"] == cache.compiled


def test_kernels_are_kept_on_disk_and_a_damaged_file_is_none(tmp_path):
    program, _ = traced(lambda x: x * 2.0 + 1.0, test_program_trace.X)
    schedule = scheduled(program)
    for damage in (lambda content: content, lambda content: content[:-1], lambda content: b""):
        first = machine.KernelCache(tmp_path)
        launching.Launches(schedule, first)
        for path in tmp_path.glob("*.kernel"):
            intact = damage(path.read_bytes()) == path.read_bytes()
            path.write_bytes(damage(path.read_bytes()))
        second = machine.KernelCache(tmp_path)
        launching.Launches(schedule, second)
        assert (second.compiled == 0) == intact
    sizes = second.sizes()
    assert sizes["files"] == len(list(tmp_path.glob("*.kernel"))) == 1
    assert sizes["bytes"] > 0


def test_the_disk_cache_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("arraycnn.ops.compiled.objects.MOST_ON_DISK", 6000)
    cache = machine.KernelCache(tmp_path)
    for number in range(6):
        program, _ = traced(lambda x, n=number: x**n, test_program_trace.X)
        launching.Launches(scheduled(program), cache)
    assert cache.sizes()["bytes"] <= 6000
    assert cache.sizes()["in memory"] >= 4


@pytest.mark.parametrize(
    "function",
    [lambda x: x**x, lambda x: array_namespace(x).astype(x, "int32") ** 2],
)
def test_what_has_no_code_is_said(function):
    program, _ = traced(function, test_program_trace.X)
    with pytest.raises(layouts.UnsupportedError, match="a power"):
        launching.Launches(scheduled(program))
