"""The whole record of CUDA kernels, on the CPU: each against the generic one in float64."""

import dataclasses

import numpy as np
import pytest

from arraycnn.ops import GENERIC, Kernels
from arraycnn.ops.cuda.record import cuda_kernels
from host_cuda import HostLauncher
from kernel_cases import KERNEL_CASES, TOLERANCES, check_case, strided


def test_every_kernel_has_a_case():
    fields = {field.name for field in dataclasses.fields(Kernels)}
    assert {case.op for case in KERNEL_CASES} == fields


def test_no_two_cases_are_called_the_same():
    assert len({str(case) for case in KERNEL_CASES}) == len(KERNEL_CASES)


@pytest.mark.parametrize("case", KERNEL_CASES, ids=str)
def test_the_generic_kernels_pass(case):
    """Else a table that is wrong would show on a device only."""
    if getattr(GENERIC, case.op) is not None:
        check_case(case, GENERIC, np.asarray, np.asarray, "float64", "fp32")


def has_kernel(case):
    ops = cuda_kernels(HostLauncher())
    return getattr(ops, case.op) is not getattr(GENERIC, case.op)


@pytest.mark.parametrize(("dtype", "precision"), TOLERANCES)
@pytest.mark.parametrize("case", [c for c in KERNEL_CASES if has_kernel(c)], ids=str)
def test_kernels(case, dtype, precision):
    launcher = HostLauncher()
    ops = cuda_kernels(launcher, precision)
    for place in (launcher.asarray, strided):
        check_case(case, ops, place, launcher.to_numpy, dtype, precision)
