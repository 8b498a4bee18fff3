"""Which loops share a kernel on CUDA, how wide they read, and how many kernels a step is."""

import numpy as np
import pytest

import arraycnn as cnn
import program_cases
import test_program_passes
import test_program_trace
from arraycnn import networks
from arraycnn.networks import NETWORKS as NAMED
from arraycnn.ops import GENERIC, array_namespace
from arraycnn.ops.cuda.record import cuda_kernels
from arraycnn.program.compose import training_schedule
from arraycnn.program.interpret import interpret
from arraycnn.program.passes.schedule import scheduled
from arraycnn.program.passes.simplify import simplified
from arraycnn.program.render.cuda.grouping import beforehand, groups
from arraycnn.program.render.cuda.launches import CudaLaunches
from arraycnn.program.render.cuda.walk import walked
from arraycnn.program.render.layout import UnsupportedError
from arraycnn.program.steps import Form
from arraycnn.training.step import CLASSIFICATION, Carry, Objective
from arraycnn.tree import map_leaves
from cuda_rendering import check_rendered, placed
from host_cuda import HostLauncher
from program_cases import NETWORKS
from test_program_trace import traced


def test_small_loops_that_need_nothing_of_each_other_share_a_kernel():
    arrays = [np.random.default_rng(n).normal(size=(n + 3,)) for n in range(20)]
    program, values = traced(lambda *arrays: tuple(2.0 * a + 1.0 for a in arrays), *arrays)
    schedule = scheduled(simplified(program))
    (group,) = groups(schedule)
    assert len(group.beside) == 20
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
        place = placed(launcher, x, shifted)
        outputs, _ = launches(launcher, cuda_kernels(launcher), {"0": place})
        np.testing.assert_array_equal(outputs["0"], 2 * x)
    assert started[0] == started[2] != started[1]


@pytest.mark.parametrize("shifted", [0, 1])
def test_what_is_written_over_may_lie_anywhere(shifted):
    """What is read begins at whole packs, as a device needs it, and what is written does not."""
    x, y = (np.random.default_rng(n).normal(size=(64, 12)).astype("float32") for n in (3, 4))
    program, _ = traced(lambda x, y: y * 2.0, x, y)
    program = simplified(program)
    schedule = scheduled(program, {"0": "0"})
    assert schedule.memory_of[program.outputs["0"]] is program.inputs["0"]
    launches, launcher = CudaLaunches(schedule), HostLauncher(checked=True)
    place = placed(launcher, x, shifted)
    launches(launcher, cuda_kernels(launcher), {"0": place, "1": placed(launcher, y, 0)})
    np.testing.assert_array_equal(place, 2 * y)


def test_rows_that_begin_at_whole_packs_are_moved_in_packs():
    """Of a part of wider rows, too, unless these lie anywhere."""
    found = []
    for width in (16, 18, 17):
        x = np.zeros((64, width), np.float32)
        schedule = scheduled(traced(lambda x: 2.0 * x[:, :12] + 1.0, x)[0])
        (step,) = schedule.steps
        found.append(walked(step.roots, schedule.held, wide=True).lanes)
    assert found == [4, 2, 1]


def test_what_is_done_beforehand_is_there_for_all_that_read_it():
    rng = np.random.default_rng(4)

    def function(x, weight):
        raised = array_namespace(x).exp(weight)
        return x * raised, raised[:, None] * raised

    program, values = traced(function, rng.normal(size=(3000, 7)), rng.normal(size=7))
    schedule = scheduled(simplified(program))
    assert len(beforehand(schedule)) == 2
    check_rendered(schedule, values, interpret(program, values), orders=("random",))


def test_what_several_steps_write_is_not_there_before_the_last_of_them():
    rng = np.random.default_rng(5)

    def function(x, weight):
        xp = array_namespace(x)
        joined = xp.concat([xp.exp(weight), xp.sum(x, axis=0)], axis=0)
        return joined[:, None] * xp.exp(-joined)

    program, values = traced(function, rng.normal(size=(3000, 7)), rng.normal(size=7))
    schedule = scheduled(simplified(program))
    check_rendered(schedule, values, interpret(program, values), orders=("random",))


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
