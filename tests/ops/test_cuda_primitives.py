"""The stand-ins for device.cuh, by the checks that a device has to pass as well."""

import re
from pathlib import Path

import pytest

from arraycnn.ops.cuda import launcher
from cuda_primitives import CHECKS
from host_cuda import HostLauncher


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("name", CHECKS)
def test_stand_ins_do_what_the_manual_says(name, checked):
    CHECKS[name](HostLauncher(checked=checked))


def test_every_function_is_checked():
    header = (Path(launcher.__file__).parent / "device.cuh").read_text()
    functions = set(re.findall(r"^DEVICE \w+ (\w+)\(", header, re.MULTILINE))
    helpers = {"copy_async_commit", "copy_async_wait"}  # of copy_async
    assert functions - helpers == set(CHECKS) - {"DYNAMIC_SHARED", "Bfloat16", "TensorFloat32"}
