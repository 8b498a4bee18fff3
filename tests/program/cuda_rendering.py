"""Schedules rendered as CUDA C++ and run on the host: under the access checker, in several orders."""

import numpy as np

from arraycnn.ops.cuda.record import cuda_kernels
from arraycnn.program.render.cuda.launches import CudaLaunches
from host_cuda import HostLauncher

CHECKED = "checked"


def rendered(schedule, values, order="forward", shifted=0):
    """The outputs of a schedule on the host's CUDA; carried ones are those written over ``values``.

    Inputs begin ``shifted`` numbers behind where a device's memory would.
    """
    launcher = HostLauncher(checked=True) if order == CHECKED else HostLauncher(order, seed=1)
    arrays = {name: placed(launcher, np.asarray(a), shifted) for name, a in values.items()}
    launches = CudaLaunches(schedule)
    outputs, kept = launches(launcher, cuda_kernels(launcher), arrays)
    assert kept
    outputs = {name: np.array(array) for name, array in outputs.items()}
    for name, source in schedule.carried.items():
        outputs[name] = arrays[source]
    return outputs


def placed(launcher, array, shifted):
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
