"""bench/gpu.py without a GPU: its dry run takes every path but the device's own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from arraycnn.ops.cuda.record import cuda_kernels

BENCH = Path(__file__).parent.parent.parent / "bench"


def run(*arguments, **changes):
    # No commit is named: it might be another one by the time that a run goes on.
    environment = {**os.environ, "GIT_DIR": os.devnull, **changes}
    return subprocess.run(
        [sys.executable, str(BENCH / "gpu.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def dry(path, *arguments):
    tiny = ("--device", "cpu", "--nets", "a", "--images", "64", "--batches", "16", "--rounds", "2")
    return run(*tiny, "--precisions", "fp32", "--out", str(path), *arguments)


def test_a_dry_run_takes_every_section(tmp_path):
    path = tmp_path / "dry.json"
    done = dry(path, "--contenders", "arraycnn,arraycnn-eager")
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text())
    assert result["dry_run"]
    assert result["device"] == "CPU"
    assert list(result["cells"]) == [
        *("latency a fp32 1", "train a fp32 16", "memory a fp32 16", "cold a fp32 16"),
        "kernels a fp32 16",
    ]
    assert result["left"] == []
    assert result["not_measured"] == {}
    trained = result["cells"]["train a fp32 16"]
    assert trained["steps"] == 4
    for measured in trained["contenders"].values():
        assert len(measured["rounds"]) == 2
        assert min(measured["rounds"]) > 0
        assert len(measured["losses"]) == 4
    cold = result["cells"]["cold a fp32 16"]["contenders"]["arraycnn"]
    assert cold["empty"] > 0 < cold["full"]
    rows = {row["kernel"]: row for row in result["cells"]["kernels a fp32 16"]["rows"]}
    products = 16 * 26 * 26 * 9 * 8  # of the convolution
    assert rows["conv2d_max_pool2d"]["flop"] == 2 * products
    assert rows["conv2d_max_pool2d_backward"]["flop"] == 2 * products // 4
    assert rows["dense_backward"]["bytes"] > 2 * 4 * 13520  # reads weights, writes gradients
    # Nothing of it may be taken for a device's figure.
    assert "floor" not in done.stdout
    assert "goal" not in done.stdout
    assert "dry run" in done.stdout.splitlines()[0]


def test_a_dry_run_has_every_contender_agree_with_numpy(monkeypatch):
    """The only one of them all: each is a process, and PyTorch compiles in one."""
    for name in ("torch", "jax"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    monkeypatch.syspath_prepend(str(BENCH))
    from gpu import SAME_IN_A_DRY_RUN
    from gpu_cells import CONTENDERS

    done = run("--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not measured" not in done.stdout
    cells = re.split(r"^(?=\S)", done.stdout, flags=re.MULTILINE)
    for section in ("train a fp32 4\n", "latency a fp32 1\n"):
        (cell,) = (part for part in cells if part.startswith(section))
        shown = [line.split()[0] for line in cell.splitlines()[1:]]
        assert shown == [name for name in CONTENDERS if name not in SAME_IN_A_DRY_RUN]


def test_the_plan_fits_the_time_of_a_lent_device():
    done = run("--plan")
    calls = [line for line in done.stdout.splitlines() if "--minutes" in line]
    minutes = [float(line.split("--minutes ")[1].split()[0]) for line in calls]
    assert max(minutes) < 9
    assert sum(minutes) < 28
    assert all("--goals" in line and "--out goals.json" in line for line in calls)


def test_a_broken_off_run_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "dry.json"
    first = dry(path, "--contenders", "arraycnn", "--sections", "train")
    assert first.returncode == 0, first.stderr
    before = json.loads(path.read_text())
    assert list(before["cells"]) == ["train a fp32 16"]
    second = dry(path, "--contenders", "arraycnn", "--sections", "train,memory")
    assert second.returncode == 0, second.stderr
    after = json.loads(path.read_text())
    assert after["cells"]["train a fp32 16"] == before["cells"]["train a fp32 16"]
    assert "memory a fp32 16" in after["cells"]


class OnKernels:
    """Runs our kernels on the CPU, and takes no time."""

    def __init__(self):
        from host_cuda import HostLauncher  # which skips the module on other machines

        launcher = HostLauncher()
        self.record = lambda precision: cuda_kernels(launcher, precision)
        self.place = launcher.asarray

    def seconds(self, work):
        work()
        return 1.0


OF_A_STEP = {
    "a": {"conv2d_max_pool2d", "conv2d_max_pool2d_backward"},
    "b": {
        *("conv2d_relu", "conv2d_relu_backward", "dense_relu"),
        *("conv2d_max_pool2d", "conv2d_max_pool2d_backward", "dense_relu_backward"),
    },
}


@pytest.mark.parametrize("net", OF_A_STEP)
def test_rows_are_of_the_kernels_that_a_step_starts(net, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    from gpu_kernels import kernel_rows

    rates = {"copy": 1e12, "fp32": 1e13}
    rows = {row["kernel"]: row for row in kernel_rows(OnKernels(), net, 2, "fp32", rates)}
    assert set(rows) == OF_A_STEP[net] | {"dense", "dense_backward"}
    assert all(row["bytes"] > 2 * 28 * 28 for row in rows.values())
    assert all(row["share"] > 0 for row in rows.values())


def test_another_run_does_not_overwrite_a_result(tmp_path):
    path = tmp_path / "dry.json"
    path.write_text(json.dumps({"device": "another", "cells": {}}))
    done = dry(path, "--contenders", "arraycnn", "--sections", "train")
    assert done.returncode == 0, done.stderr
    assert json.loads(path.read_text()) == {"device": "another", "cells": {}}
    assert "train a fp32 16" in json.loads((tmp_path / "dry-2.json").read_text())["cells"]


def test_without_a_device_it_says_so_in_one_line(tmp_path):
    done = run("--out", str(tmp_path / "none.json"), CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("bench/gpu.py: nothing was measured: BackendUnavailableError")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--nets", "c"), "takes of a, b, norm, resnet20, cifar, got 'c'"),
        (("--batches", "0"), "takes whole numbers of at least 1, got '0'"),
        (("--contenders", "keras"), "got 'keras'"),
    ],
)
def test_bad_options(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
