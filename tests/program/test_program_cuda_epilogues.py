"""What the kernel of a head does with its numbers before they are stored, and sums of parts on CUDA."""

import numpy as np
import pytest

import arraycnn as cnn
import program_cases
import test_program_passes
from arraycnn.errors import InvalidValueError
from arraycnn.ops import Window, array_namespace
from arraycnn.ops.cuda.record import cuda_kernels
from arraycnn.ops.cuda.tiles import Late, bias_relu
from arraycnn.program.compose import inference_schedule
from arraycnn.program.heads import HEADS
from arraycnn.program.interpret import interpret
from arraycnn.program.passes import schedule as passes_schedule
from arraycnn.program.passes.epilogues import with_epilogues as with_relus
from arraycnn.program.passes.schedule import scheduled
from arraycnn.program.passes.simplify import simplified
from arraycnn.program.render.cuda.launches import CudaLaunches
from cuda_rendering import check_rendered
from host_cuda import HostLauncher
from program_cases import NETWORKS, OPTIMIZERS
from test_program_trace import traced


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
    "what a loop reads": lambda xp, y, full, each: (
        *(xp.exp(y), xp.sum(y[:, 1:, :, :] * full[:, 1:, :, :], axis=3)),
    ),
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
