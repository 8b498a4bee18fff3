"""Programs rendered for NumPy: the eager step's numbers, the same bits on all threads, in memory that
is declared."""

import logging
import math
from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import arraycnn as cnn
import program_cases
import random_networks
import test_program_passes
import test_program_trace
from arraycnn.execution import traceable
from arraycnn.execution.thread_pool import thread_pool
from arraycnn.ops import array_namespace
from arraycnn.ops.numpy.launcher import Launcher
from arraycnn.program.interpret import interpret
from arraycnn.program.passes.schedule import aligned_bytes, scheduled
from arraycnn.program.passes.simplify import simplified
from arraycnn.program.render.numpy.calls import Calls
from arraycnn.program.render.numpy.grid import chunks
from arraycnn.program.render.numpy.late_gradients import late_gradients
from arraycnn.program.render.numpy.memory import places
from canaries import Canaries
from cases import CASES
from program_cases import NETWORKS, OPTIMIZERS, Mixer, Swish, block
from reduction_cases import check_reduced, reduced, reductions
from test_program_trace import traced


class Guarded(Launcher):
    """Puts bytes that must not change before and behind all memory that it hands out."""

    def __init__(self, threads):
        super().__init__(thread_pool(threads))
        self._canaries = Canaries()
        self.check = self._canaries.check

    def empty(self, shape, dtype):
        if self._places:
            return super().empty(shape, dtype)
        return self._canaries.empty(shape, dtype)

    def scratch(self, shape, dtype):
        return self._canaries.empty(shape, dtype)


@np.errstate(all="ignore")
def rendered(schedule, values, threads=1, launcher=None):
    """The outputs of a recorded schedule; of calls made at once where no number of threads is given."""
    launcher = launcher or Launcher(thread_pool(threads or 1))
    arrays = {name: np.array(value) for name, value in values.items()}
    outputs = {}

    def work():
        outputs.update(Calls(schedule)(launcher, None, arrays)[0])

    if threads is None:
        work()
    else:
        launcher.capture(work)()
    outputs = {name: np.array(array) for name, array in outputs.items()}
    for name, source in schedule.carried.items():
        outputs[name] = arrays[source]
    return outputs


def check_rendered(schedule, values, expected, tolerance=1e-10):
    launcher = Guarded(2)
    outputs = rendered(schedule, values, launcher=launcher)
    launcher.check()
    for name, array in expected.items():
        assert outputs[name].dtype == np.asarray(array).dtype
        np.testing.assert_allclose(
            outputs[name], array, rtol=tolerance, atol=tolerance, err_msg=name
        )
    for threads in (None, 1, 3):
        again = rendered(schedule, values, threads)
        for name, array in outputs.items():
            np.testing.assert_array_equal(again[name], array, err_msg=name)


STEPS = [(name, optimizer) for name in NETWORKS for optimizer in ("Adam",)]
STEPS += [("resnet", "momentum"), ("lone dense", "SGD"), ("user's", "AdamW"), ("scratch", "Lion")]


@pytest.mark.parametrize(("network", "optimizer"), STEPS)
def test_a_rendered_step_is_the_eager_step(network, optimizer):
    step = program_cases.trial(*NETWORKS[network], OPTIMIZERS[optimizer])
    schedule = test_program_passes.schedule_of(step)
    check_rendered(schedule, step.values(), step.eager())


@pytest.mark.parametrize("optimizer", ["SGD", "momentum", "AdamW"])
def test_an_update_makes_a_large_gradient_itself(optimizer):
    network = cnn.Sequential(cnn.Flatten(), cnn.Dense(512), cnn.ReLU(), cnn.Dense(3))
    step = program_cases.trial(network, (20, 17, 1), OPTIMIZERS[optimizer], images=3)
    schedule = test_program_passes.schedule_of(step, 3)
    assert [part.shape for _, part in late_gradients(schedule).values()] == [(340, 512)]
    check_rendered(schedule, step.values(), step.eager())


def test_results_of_a_head_that_are_of_one_size_keep_their_places():
    network = cnn.Sequential(cnn.BatchNorm2d(), cnn.Conv2d(16, 1), cnn.Flatten(), cnn.Dense(2))
    step = program_cases.trial(network, (4, 4, 1), OPTIMIZERS["SGD"], images=1)
    check_rendered(test_program_passes.schedule_of(step, 1), step.values(), step.eager())


@pytest.mark.parametrize("network", ["resnet", "average", "scratch"])
def test_what_is_needed_at_once_lies_apart_and_in_little_more_than_is_declared(network):
    step = program_cases.trial(*NETWORKS[network], OPTIMIZERS["Adam"], images=16)
    schedule = test_program_passes.schedule_of(step, 16)
    found, living = places(schedule), set()
    for inner, freed in zip(schedule.steps, schedule.freed, strict=True):
        living |= {node for node in inner.writes if node not in schedule.memory_of}
        spans = sorted((found.offsets[n], found.offsets[n] + aligned_bytes(n)) for n in living)
        assert all(last <= first for (_, last), (first, _) in pairwise(spans))
        assert spans[-1][1] <= found.size
        living -= set(freed)
    assert schedule.peak_bytes <= found.size <= 1.1 * schedule.peak_bytes


FUNCTIONS = [
    (function, test)
    for test in (
        test_program_trace.test_the_recordable_part_of_the_standard_is_numpys,
        test_program_passes.test_schedules_of_functions_of_all_kinds,
    )
    for function in test.pytestmark[0].args[1]
]


@pytest.mark.parametrize("number", range(len(FUNCTIONS)))
def test_all_that_is_traced_is_rendered(number):
    function, _ = FUNCTIONS[number]
    arrays = [test_program_trace.X, test_program_trace.Y, test_program_trace.ROWS]
    if function.__code__.co_argcount == 1:
        arrays = [test_program_passes.X]

    def run(*inputs):
        if len(inputs) == 1:
            return function(*inputs)
        return function(array_namespace(inputs[0]), *inputs)

    program, values = traced(run, *arrays)
    check_rendered(scheduled(simplified(program)), values, interpret(program, values), 1e-13)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_layer_is_rendered_alone(case):
    program, values, expected = test_program_trace.layer_alone(case)
    got = rendered(scheduled(simplified(program)), values)
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-11, atol=1e-11, err_msg=name)


@given(reductions())
@settings(max_examples=60)
def test_reductions_of_every_shape(case):
    # The loop reads a row, a column and all of it.
    program, values, expected = reduced(case, lambda y, x: y + x[-1:] * 0 if x.ndim == 1 else y)
    got = rendered(scheduled(program), values, 1)["0"]
    check_reduced(got, expected, case[-1])
    np.testing.assert_array_equal(rendered(scheduled(program), values, 3)["0"], got)


@pytest.mark.parametrize(
    "shape", [(1, 1), (5, 3), (3, 70000), (70000, 3), (300, 16, 40), (31, 61, 67), (2, 5, 9, 1200)]
)
def test_loops_of_many_chunks(shape):
    """Rows, columns and single numbers are read along with the whole, in every order of axes."""
    x = np.random.default_rng(7).normal(size=shape)

    def function(x):
        xp = array_namespace(x)
        total, mean = xp.sum(x, axis=0), xp.mean(x, axis=-1, keepdims=True)
        column = xp.sum(x, axis=tuple(range(x.ndim - 1)))
        chosen = xp.where(x > 0.5, x - total, 0.0) + xp.where(x < mean, column, x)
        return chosen, total, xp.sum(x * column), xp.max(x, axis=-1), xp.maximum(x - mean, 0.1)

    program, values = traced(function, x)
    check_rendered(scheduled(simplified(program)), values, interpret(program, values), 1e-9)


@given(st.lists(st.integers(1, 7), max_size=3), st.integers(1, 30), st.integers(1, 16))
def test_chunks_have_each_piece_once_and_no_more_than_fit(counts, most, lanes):
    places = [
        [
            place
            for place in np.ndindex(*counts)
            if all(n in range(*part.indices(99)) for n, part in zip(place, chunk, strict=True))
        ]
        for chunk in chunks(counts, most, lanes)
    ]
    assert list(chain.from_iterable(places)) == list(np.ndindex(*counts))
    assert max(map(len, places)) <= min(most, -(-math.prod(counts) // lanes))


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: (y, x + y),
        lambda x, y: (x * 0.5 + y, y + 2.0 * x),
        lambda x, y: (x - y, x * y - x),
        lambda x, y: (array_namespace(x).where(x > y, x, y), y * y + x),
    ],
)
def test_results_may_lie_where_operands_of_the_same_loop_do(function):
    x = np.random.default_rng(8).normal(size=(7, 6000))
    program, values = traced(function, x, x[::-1] + 1.0)
    schedule = scheduled(simplified(program), {"0": "0", "1": "1"})
    assert len(schedule.steps) == 1
    assert len(schedule.memory_of) == 2
    check_rendered(schedule, values, interpret(program, values), 1e-14)


def test_rows_are_taken_from_the_end_too():
    x = np.random.default_rng(9).normal(size=(5, 4, 3))

    def function(x, rows):
        xp = array_namespace(x)
        return xp.take(x, rows, axis=0), xp.take(x, rows, axis=1) * 2.0, xp.take(x[0, 0], rows)

    program, values = traced(function, x, np.array([-1, 0, -3, 2, 2]))
    check_rendered(scheduled(simplified(program)), values, interpret(program, values), 1e-14)


def test_loops_over_nothing():
    def function(x):
        xp = array_namespace(x)
        y = x[1:1, :] * 2.0
        return y, xp.sum(y, axis=0), xp.prod(y), xp.all(y > 0), xp.sum(y, axis=1, keepdims=True)

    program, values = traced(function, np.ones((3, 4)))
    check_rendered(scheduled(simplified(program)), values, interpret(program, values))


def test_numbers_keep_their_bits():
    """NaN, infinities and the sign of zero, chosen and not chosen."""
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 2.0, -2.0])

    def function(x):
        xp = array_namespace(x)
        kept = [xp.where(x == x, x, other) for other in (0.0, -0.0, 1.0, float("nan"))]
        kept += [xp.where(x > 0, 0.0, x), xp.where(x > 0, x, -x), x**0.5, x**2, x**-1, x**3.0]
        kept += [xp.maximum(x, 0.0), xp.minimum(x, -0.0), xp.astype(x > 0, "int32") - 1]
        return tuple(kept)

    program, values = traced(function, x)
    with np.errstate(all="ignore"):
        expected = interpret(program, values)
    for name, array in rendered(scheduled(program), values).items():
        np.testing.assert_array_equal(array, expected[name])
        if array.dtype.kind == "f" and name not in ("10", "11"):  # either zero is the larger
            np.testing.assert_array_equal(np.signbit(array), np.signbit(expected[name]))


SHAPE = (6, 7, 3)
NORMS = cnn.Sequential(
    cnn.Rescale(),
    cnn.Conv2d(4, 3, padding=(1, 1), bias=False),
    cnn.BatchNorm2d(),
    cnn.ReLU(),
    *block(4),
    cnn.AvgPool2d(2),
    Swish(),
    Mixer(),
    cnn.Dropout(0.3),
    cnn.Flatten(),
    cnn.Dense(5),
)


def model_of(backend, network=NORMS):
    return cnn.Model(network, SHAPE, backend, seed=3, dtype="float64")


def data(count=50):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8), rng.integers(0, 5, count)


def test_a_training_is_that_of_another_librarys_eager_plan(caplog):
    images, labels = data()
    results = []
    for backend in (cnn.NumPy(3, fast=False), cnn.ArrayAPIStrict()):
        model = model_of(backend)
        model.fit(images, labels, epochs=2, batch_size=16, optimizer=cnn.Adam(0.01))
        evaluation = model.evaluate(images, labels)
        results.append({**model.parameters, "p": model.predict(images), "l": evaluation.loss})
    for name, array in results[1].items():
        np.testing.assert_allclose(results[0][name], array, rtol=1e-10, atol=1e-10, err_msg=name)
    assert "layer by layer" not in caplog.text


def test_what_is_more_than_its_program_is_called_as_it_is_and_named(caplog):
    traceable.say.cache_clear()

    class Reads(Swish):
        def forward(self, params, state, x, context):
            return super().forward(
                params, state, x * float(x.shape[0] > float(x[0, 0, 0, 0])), context
            )

    images, labels = data(20)
    model = model_of(
        cnn.NumPy(fast=False), cnn.Sequential(cnn.Rescale(), Reads(), cnn.Flatten(), cnn.Dense(5))
    )
    with caplog.at_level(logging.WARNING, "arraycnn"):
        model.fit(images, labels, epochs=1, batch_size=10)
        model.predict(images)
    lines = [line for line in caplog.messages if "as it is written" in line]
    assert lines == [
        f"numpy: {part} calls a layer as it is written, the rest is one program: layer 1, Reads: "
        "must not read the value of an array (float(x), bool(x), if x:, iteration, "
        "numpy.asarray(x)); compute with whole arrays, for example with xp.where"
        for part in ("training", "inference")
    ]


@given(random_networks.networks())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_random_networks(case):
    random_networks.check(case, random_networks.on_numpy)
