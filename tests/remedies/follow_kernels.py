"""Remedies of launchers and of kernels for CUDA, run on the host."""

import numpy as np

from host_cuda import HostLauncher
from remedies.following import Here, follows


@follows("ops/cuda/launcher.py", "use launcher.contiguous")
def a_launch_of_another_order(here: Here) -> None:
    launcher = HostLauncher()
    x = np.asfortranarray(np.ones((4, 5), "float32"))
    with here.refused():
        launcher.launch("windows", "none", (1,), (32,), (x,))
    assert launcher.contiguous(x).flags.c_contiguous


@follows("ops/cuda/launcher.py", "use a smaller batch")
def a_grid_too_large(here: Here) -> None:
    from arraycnn.ops.cuda.launcher import MOST_BLOCKS, _check_launch

    launcher = HostLauncher()
    with here.refused():
        launcher.launch("windows", "none", (1, MOST_BLOCKS[1] + 1), (32,), ())
    _check_launch("none", (1, MOST_BLOCKS[1]), (32,), 0)


@follows("ops/cuda/launcher.py", "pass an int")
def a_struct_of_nothing(here: Here) -> None:
    from arraycnn.ops.cuda.launcher import Struct

    with here.refused():
        Struct(())
    assert Struct((0,)).members == (0,)


@follows("ops/cuda/cupy.py", "pass at most {} as shared")
def a_kernel_whose_static_memory_leaves_too_little(here: Here) -> None:
    from types import SimpleNamespace

    from arraycnn.ops.cuda.cupy import _make_room
    from arraycnn.ops.cuda.launcher import MOST_SHARED

    kernel = SimpleNamespace(shared_size_bytes=2048)
    with here.refused():
        _make_room(kernel, "kernel", MOST_SHARED - 2047)
    assert _make_room(kernel, "kernel", MOST_SHARED - 2048) == MOST_SHARED - 2048
    assert kernel.max_dynamic_shared_size_bytes == MOST_SHARED - 2048


@follows("ops/cuda/products.py", "use smaller arrays")
def a_sum_too_long_for_a_block(here: Here) -> None:
    from unittest.mock import patch

    from arraycnn.ops.cuda import products
    from arraycnn.ops.dense.cuda import matmul

    a, b = np.ones((4, 96), "float32"), np.ones((96, 4), "float32")
    with patch.object(products, "_MOST_STEPS", 95):
        with here.refused():
            matmul(HostLauncher(), a, b, precision="fp32")
        matmul(HostLauncher(), a[:, :80].copy(), b[:80], precision="fp32")


@follows("ops/host_launcher.py", "copy them before")
def a_recording_of_another_order(here: Here) -> None:
    from arraycnn.execution.thread_pool import thread_pool
    from arraycnn.ops.numpy.launcher import Launcher

    launcher = Launcher(thread_pool(1))
    x = np.asfortranarray(np.ones((4, 5), "float32"))
    with here.refused():
        launcher.capture(lambda: launcher.contiguous(x))
    copied = x.copy("C")
    launcher.capture(lambda: launcher.contiguous(copied))
