"""Parts of a step are timed, all of them and none twice, and what they do is counted rightly."""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import arraycnn as cnn
import random_networks
from arraycnn.execution import Task
from arraycnn.execution.thread_pool import thread_pool
from arraycnn.ops.clock import Clock
from arraycnn.profiling import profile
from arraycnn.profiling.machine import Machine
from arraycnn.profiling.parts import Part, Work, parts_of
from arraycnn.profiling.rounds import interleaved
from arraycnn.profiling.steps import Steps, trial_data
from arraycnn.program.costs import operations
from arraycnn.training.step import Carry
from arraycnn.tree import leaves
from optional import Late, needs
from program_cases import Outside, Swish

clocked_launchers = Late("arraycnn.ops.compiled.clocked")

ENGINES = [
    pytest.param(True, marks=needs("llvmlite"), id="compiled"),
    pytest.param(False, id="plain"),
]


class FakeClock:
    """A second later at each look."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        self.seconds += 1.0
        return self.seconds


def clocked(network, shape, images, mode="train", fast=False, threads=2):
    """The parts of a step, and its schedule."""
    model = cnn.Model(network, shape, cnn.NumPy(threads, fast=fast))
    data = trial_data(model, images)
    timed, apart = Steps(model, mode, images, cnn.Adam(0.01), *data).clocked()
    timed(3)
    if apart is not None:
        apart(3)
    samples = None if apart is None else apart.samples
    return parts_of(timed.schedule, timed.samples, samples), timed.schedule


def check_complete(found, schedule):
    """Each step of the program is in one part, in order, and took time; one part has none."""
    *parts, ends = found
    assert [work.number for part in parts for work in part.steps] == list(
        range(len(schedule.steps))
    )
    assert ends.steps == ()
    assert all(part.steps and part.seconds >= 0 for part in parts)
    assert sum(part.seconds for part in found) > 0


@pytest.mark.parametrize("fast", ENGINES)
@given(case=random_networks.networks())
@settings(max_examples=4, suppress_health_check=list(HealthCheck))
def test_no_loop_head_or_call_of_a_network_is_left_out_or_told_twice(fast, case):
    check_complete(*clocked(case.network, case.shape, case.images, fast=fast, threads=1))


@pytest.mark.parametrize("mode", ["train", "infer"])
@pytest.mark.parametrize("fast", ENGINES)
def test_chains_and_calls_are_parts(fast, mode):
    network = cnn.Sequential(
        *(cnn.Rescale(), cnn.Conv2d(4, 3), cnn.ReLU(), cnn.MaxPool2d(2), Swish(), cnn.Flatten()),
        *(cnn.Dense(320), Outside(), cnn.Dense(900), cnn.ReLU(), cnn.Dense(5)),
    )
    found, schedule = clocked(network, (17, 15, 3), 16, mode, fast)
    check_complete(found, schedule)
    many = [part for part in found if len(part.steps) > 1]
    if fast:  # image by image; each of its steps was timed alone as well
        assert many
        assert all(work.seconds > 0 for part in many for work in part.steps)
    else:
        assert many == []
    calls = [work for part in found for work in part.steps if work.what.startswith("call of")]
    assert len(calls) == (2 if mode == "train" else 1)
    assert all(call.operations is None and "Outside" in call.layers[0] for call in calls)
    assert all(part.operations is None for part in found for w in part.steps if w in calls)


@needs("llvmlite")
@pytest.mark.parametrize("joins", [True, False])
def test_chains_are_kept_apart_where_that_is_asked(joins):
    launcher = clocked_launchers.ClockedLauncher(thread_pool(1), Clock(), joins)
    with launcher.chain(2) as links:
        links.begin_step()
        assert launcher.is_chaining == joins


@needs("llvmlite")
@pytest.mark.parametrize("joins", [True, False])
def test_launches_side_by_side_are_run_one_by_one_where_that_is_asked(joins):
    from arraycnn.ops.dense import compiled_kernels as dense

    launcher = clocked_launchers.ClockedLauncher(thread_pool(1), Clock(), joins)
    parts, total = np.ones((3, 5)), np.zeros(5)
    with launcher.side_by_side():
        launch = dense.AddParts(parts=parts, total=total, count=3, size=5, block_size=5)
        launcher.launch(dense.add_parts, 1, launch, like=parts)
        assert total.tolist() == ([0.0] * 5 if joins else [3.0] * 5)
    assert total.tolist() == [3.0] * 5


def test_an_update_that_makes_its_gradient_is_a_part_with_that():
    network = cnn.Sequential(cnn.Flatten(), cnn.Dense(900), cnn.ReLU(), cnn.Dense(5))
    found, schedule = clocked(network, (16, 20, 1), 2)
    check_complete(found, schedule)
    (late,) = (part for part in found if len(part.steps) > 1)
    assert "dense_relu_backward" in late.steps[0].what
    assert late.steps[1].what.startswith("loop (320, 900)")
    assert [work.seconds for work in late.steps] == [None, None]  # of one alone nobody knows


@pytest.mark.parametrize("fast", ENGINES)
def test_a_step_with_a_clock_does_what_one_without_does(fast):
    network = cnn.Sequential(cnn.Conv2d(3, 3), cnn.ReLU(), cnn.Flatten(), cnn.Dense(4))
    model = cnn.Model(network, (9, 9, 1), cnn.NumPy(2, fast=fast))
    images, labels = trial_data(model, 16)
    task = Task(network, cnn.SGD(0.1), images, labels, 0, "float32")
    results = []
    for joins in (True, False, None):
        backend, how = model.backend, (task, Carry(*model.trees, {}))
        if joins is None:
            plan = backend.training_plan(*how)
        else:
            plan = backend.clocked_plans(Clock(), joins).training_plan(backend, *how)
        batches = np.arange(64, dtype=np.int32).reshape(4, 16)
        losses, _ = plan.run(0, list(batches), np.full(4, 0.1))
        results.append([*map(np.array, leaves(plan.snapshot().params)), losses])
    for result in results[1:]:
        for one, other in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(one, other)


def in_steps(network, shape, images, mode="train"):
    """(words of the head, or of the loop; the operations) of each step of the program."""
    schedule = cnn.Model(network, shape).program(images, mode=mode).schedule
    return [
        (step.head.op if step.head else "loop", operations(step, schedule))
        for step in schedule.steps
    ]


def multiply_adds(images, outputs, taps):
    """Counted one by one."""
    return sum(1 for _ in itertools.product(range(images), range(outputs), range(taps)))


def test_operations_of_convolutions_and_dense_layers_are_those_of_their_definition():
    # 7 x 6 images of 2 channels, a window of 2 x 3, a step of 2: outputs are 3 x 2.
    first = cnn.Conv2d(3, (2, 3), stride=2)
    network = cnn.Sequential(first, Swish(), cnn.Conv2d(5, 1), Swish(), cnn.Flatten(), cnn.Dense(4))
    found = {}
    for name, count in in_steps(network, (7, 6, 2), 2):
        found.setdefault(name, []).append(count)
    one = 2 * multiply_adds(2, 3 * 2 * 3, 2 * 3 * 2)
    two = 2 * multiply_adds(2, 3 * 2 * 5, 1 * 1 * 3)
    dense = 2 * multiply_adds(2, 4, 3 * 2 * 5)
    assert found["conv2d"] == [one, two]
    assert found["conv2d_backward"] == [2 * two, one]  # the images need no gradient
    assert (found["dense"], found["dense_backward"]) == ([dense], [2 * dense])


def test_operations_of_what_is_joined_and_of_pools():
    joined = cnn.Sequential(cnn.Conv2d(3, 3), cnn.ReLU(), cnn.MaxPool2d(2), cnn.Flatten())
    found = dict(in_steps(cnn.Sequential(*joined.layers, cnn.Dense(4)), (8, 8, 1), 2))
    assert found["conv2d_max_pool2d"] == 2 * multiply_adds(2, 6 * 6 * 3, 9)
    assert found["conv2d_max_pool2d_backward"] == 2 * multiply_adds(2, 3 * 3 * 3, 9)  # winners
    alone = cnn.Sequential(cnn.MaxPool2d((2, 4)), cnn.Flatten(), cnn.Dense(4))
    found = dict(in_steps(alone, (8, 8, 1), 2, mode="infer"))
    assert found["max_pool2d"] == 2 * 4 * 2 * 8
    activation = cnn.Sequential(cnn.LeakyReLU(), cnn.Flatten(), cnn.Dense(1), cnn.Flatten())
    name, count = in_steps(activation, (5, 5, 1), 3, mode="infer")[0]
    assert name == "loop"
    assert count % (3 * 5 * 5) == 0
    assert count


def test_bytes_are_those_that_a_part_reads_and_writes():
    found, _ = clocked(cnn.Sequential(cnn.Flatten(), cnn.Dense(6)), (3, 5, 2), 4, mode="infer")
    (dense,) = (w for part in found for w in part.steps if "head dense " in w.what)
    assert dense.bytes == 4 * (4 * 30 + 30 * 6 + 6 + 4 * 6)


def test_rounds_are_interleaved_and_medians_told():
    now, order = FakeClock(), []
    # Two to begin with, one to know how many; then in each round one not timed, and one timed.
    rounds = [100.0, 100.0, 100.0, 900.0, 100.0, 103.0]
    lasts = {
        "short": itertools.cycle([0.0, 0.0, 0.0, 9.0]),
        "long": itertools.chain([100.0] * 3, rounds, itertools.repeat(100.0)),
    }

    def subject(name):
        def run(times):
            order.append((name, times))
            now.seconds += sum(next(lasts[name]) for _ in range(times))

        return run

    took = interleaved({name: subject(name) for name in lasts}, 30.0, now)
    assert took["long"] == 104.0  # and the look at the clock
    timed = [name for name, _ in order[4:]]
    assert timed == ["short", "short", "long", "long"] * 3  # past the budget: the fewest rounds
    slow = {"one": subject("long")}
    order.clear()
    interleaved(slow, 100 * 102.0 + 1, now)
    assert len(order) > 20


def test_a_clock_tells_the_time_from_mark_to_mark():
    clock = Clock()
    clock.begin()
    for what, time in (("a", (1, 999_999_000)), ("b", (2, 1_000)), (None, (4, 0))):
        clock.mark(what)[:] = time
    assert clock.read() == [("a", pytest.approx(2e-6)), ("b", pytest.approx(1.999999))]


def test_a_part_is_bound_by_what_takes_longer():
    machine = Machine(threads=1, operations=100.0, bytes=10.0)
    assert machine.least_seconds(200, 10) == (2.0, "arithmetic")
    assert machine.least_seconds(200, 30) == (3.0, "memory")
    assert machine.least_seconds(None, 30) == (3.0, "memory")
    work = Work(0, "loop", (), 10, 20)
    assert (Part((work, work), 1.0).bytes, Part((work, work), 1.0).operations) == (20, 40)


@pytest.mark.parametrize(
    "wrong", [{"mode": "test"}, {"seconds": 0}, {"seconds": float("nan")}, {"batch_size": 0}]
)
def test_bad_settings_are_refused(wrong):
    model = cnn.Model(cnn.Sequential(cnn.Flatten(), cnn.Dense(2)), (2, 2))
    with pytest.raises(cnn.InvalidValueError, match=next(iter(wrong))):
        profile(model, **{"batch_size": 2, **wrong})
