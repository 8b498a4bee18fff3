"""bench/cuda_cold_start.py: the kernels of a step, compiled without a device, and found again."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from optional import needs

BENCH = Path(__file__).parent.parent.parent / "bench"
pytestmark = needs("cupy")


@pytest.fixture(autouse=True, scope="module")
def _compiler():
    nvrtc = import_module("cupy_backends.cuda.libs.nvrtc")
    try:
        nvrtc.getVersion()
    except RuntimeError:
        pytest.skip("nvidia-cuda-nvrtc is not installed")


def test_what_one_process_compiled_the_next_one_finds(tmp_path):
    command = [sys.executable, str(BENCH / "cuda_cold_start.py"), "--one", "a", "fp32", "4", "90"]
    environment = os.environ | {"CUPY_CACHE_DIR": str(tmp_path)}
    found = [
        json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
        for _ in range(2)
    ]
    kernels = found[0]["kernels"]
    assert kernels >= 4  # nodes of the step
    assert [(one["kernels"], one["compiled"]) for one in found] == [
        (kernels, kernels),
        (kernels, 0),
    ]
    assert len(list(tmp_path.iterdir())) == kernels
