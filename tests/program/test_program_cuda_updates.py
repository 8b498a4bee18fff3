"""Updates in the kernel of the gradient that they follow."""

import numpy as np
import pytest

import arraycnn as cnn
import program_cases
import test_program_passes
from arraycnn.ops.conv2d import cuda_direct
from arraycnn.ops.cuda.record import cuda_kernels
from arraycnn.program.render.cuda.launches import CudaLaunches
from cuda_rendering import check_rendered
from host_cuda import HostLauncher
from program_cases import OPTIMIZERS


def _network(filters, classes=10, *others):
    first = cnn.Conv2d(filters, 3, padding=(1, 1))
    return cnn.Sequential(first, cnn.MaxPool2d(2), *others, cnn.Flatten(), cnn.Dense(classes))


def _kernels(schedule, step):
    launcher, started = HostLauncher(), []
    launcher.start = lambda file, kernel, *rest: started.append(kernel)
    values = {name: np.array(value) for name, value in step.values().items()}
    CudaLaunches(schedule)(launcher, cuda_kernels(launcher), values)
    return started


@pytest.mark.parametrize("optimizer", ["SGD", "momentum", "Adam"])
def test_updates_end_the_gradient_of_a_direct_convolution(optimizer):
    """Those of other layers run beside it, its own after its sums."""
    step = program_cases.trial(_network(8), (9, 8, 1), OPTIMIZERS[optimizer], images=5)
    schedule = test_program_passes.schedule_of(step, 5)
    check_rendered(schedule, step.values(), step.eager())
    assert _kernels(schedule, step)[-1].startswith("sum_gradients_and_ending")


OTHERS = {
    "no whole quads": (_network(5), (9, 8, 1)),
    "sums of another convolution": (
        _network(8, 10, cnn.Conv2d(5, 3, padding=(1, 1))),
        (24, 22, 1),
    ),
    "many classes": (_network(4, 300), (15, 14, 1)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_cannot_end_it_is_a_kernel_of_its_own(name, monkeypatch):
    step = program_cases.trial(*OTHERS[name], OPTIMIZERS["momentum"], images=5)
    schedule = test_program_passes.schedule_of(step, 5)
    if name == "many classes":
        monkeypatch.setattr(cuda_direct, "_MOST_BYTES_OF_ONE", 1000)
    check_rendered(schedule, step.values(), step.eager())
    assert not any(kernel.startswith("sum_gradients_and") for kernel in _kernels(schedule, step))
