"""Remedies of backends and optional packages."""

import builtins
import importlib
import importlib.util
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.backends import get_backend
from remedies import making
from remedies.following import Here, follows

_PROJECT = Path(__file__).parent.parent.parent / "pyproject.toml"


def _without(here: Here, package: str) -> None:
    """From here on, ``package`` cannot be imported."""
    original = builtins.__import__
    import_module = importlib.import_module

    def refuse(name: str) -> None:
        if name.partition(".")[0] == package:
            message = f"No module named {package!r}"
            raise ModuleNotFoundError(message, name=package)

    def replaced(name: str, *rest: Any, **keywords: Any) -> Any:
        refuse(name)
        return original(name, *rest, **keywords)

    def replaced_module(name: str, *rest: Any) -> Any:
        refuse(name)
        return import_module(name, *rest)

    here.patch.setattr(builtins, "__import__", replaced)
    here.patch.setattr(importlib, "import_module", replaced_module)
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        here.patch.delitem(sys.modules, name)


def _missing(file: str, words: str, package: str, extra: str | None) -> Callable:
    """A case: without ``package``, use says the install command; that extra does bring it."""

    def register(use: Callable[[Here], None]) -> Callable:
        @follows(file, words)
        def case(here: Here) -> None:
            with pytest.MonkeyPatch.context() as patch:
                here.patch = patch
                _without(here, package)
                with here.refused():
                    use(here)
            if extra is None:  # a package of its own, named as it is on the index
                assert package.replace("_", "-") in here.message
                return
            assert f'pip install "arraycnn[{extra}]"' in here.message
            extras = tomllib.loads(_PROJECT.read_text())["project"]["optional-dependencies"]
            names = {"PIL": "pillow", "sklearn": "scikit-learn"}
            wanted = names.get(package, package).lower()
            assert any(line.lower().startswith(wanted) for line in extras[extra])

        return use

    return register


@_missing("backends/jax.py", 'pip install "arraycnn[jax]"', "jax", "jax")
def _use_jax(here: Here) -> None:
    get_backend("jax")


@_missing("backends/torch.py", 'pip install "arraycnn[torch]"', "torch", "torch")
def _use_torch(here: Here) -> None:
    get_backend("torch")


@_missing("backends/numpy.py", 'pip install "arraycnn[fast]"', "llvmlite", "fast")
def _use_llvmlite(here: Here) -> None:
    cnn.NumPy(fast=True).check()


@_missing(
    "backends/array_api_strict.py", 'pip install "array-api-strict"', "array_api_strict", None
)
def _use_strict(here: Here) -> None:
    get_backend("array-api-strict")


@_missing(
    "callbacks/tensorboard.py", 'pip install "arraycnn[tensorboard]"', "tensorboardX", "tensorboard"
)
def _use_tensorboard(here: Here) -> None:
    cnn.TensorBoard(here.path / "events")


@_missing("data/image_files.py", 'pip install "arraycnn[images]"', "PIL", "images")
def _use_pillow(here: Here) -> None:
    from arraycnn.data.image_files import read_image

    path = here.path / "x.png"
    path.write_bytes(b"\x89PNG")
    read_image(path, (8, 8, 1))


@_missing("report/figures.py", 'pip install "arraycnn[plot]"', "matplotlib", "plot")
def _use_matplotlib(here: Here) -> None:
    from arraycnn.report import plot_confusion_matrix

    plot_confusion_matrix(np.eye(2, dtype=int), ("a", "b"))


@_missing("optional_packages.py", 'pip install "arraycnn[{}]"', "onnx", "onnx")
def _use_onnx(here: Here) -> None:
    from arraycnn.export import export_onnx

    export_onnx(making.model(), here.path / "m.onnx")


@_missing("estimator/__init__.py", 'pip install "arraycnn[sklearn]"', "sklearn", "sklearn")
def _use_sklearn(here: Here) -> None:
    for name in [name for name in sys.modules if name.startswith("arraycnn.estimator")]:
        here.patch.delitem(sys.modules, name)
    cnn.CNNClassifier()


@follows("backends/array_api_strict.py", 'use dtype="float32" or another device')
def strict_without_float64(here: Here) -> None:
    device = cnn.ArrayAPIStrict(device="no_float64")
    with here.refused():
        cnn.Model(making.small(), (8, 8), backend=device, dtype="float64")
    cnn.Model(making.small(), (8, 8), backend=device, dtype="float32")
    other = cnn.ArrayAPIStrict(device="device1")
    cnn.Model(making.small(), (8, 8), backend=other, dtype="float64")


@follows(
    "backends/array_api_strict.py",
    'take one that array-api-strict has, for example "CPU_DEVICE" or "device1"',
)
def strict_on_no_device(here: Here) -> None:
    with here.refused():
        cnn.Model(making.small(), (8, 8), backend=cnn.ArrayAPIStrict(device="tpu"))
    for name in ("CPU_DEVICE", "device1"):
        cnn.Model(making.small(), (8, 8), backend=cnn.ArrayAPIStrict(device=name))


@follows("backends/torch.py", 'take one that PyTorch has here, for example Torch(device="cpu")')
def torch_on_no_device(here: Here) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    with here.refused():
        cnn.Model(making.small(), (8, 8), backend=cnn.Torch(device="cuda:7"))
    cnn.Model(making.small(), (8, 8), backend=cnn.Torch(device="cpu"))


@follows(
    "backends/jax.py",
    'call jax.config.update("jax_enable_x64", True) or set JAX_ENABLE_X64=1',
)
def jax_in_float64(here: Here) -> None:
    jax = pytest.importorskip("jax", reason="jax is not installed")
    before = jax.config.jax_enable_x64
    try:
        jax.config.update("jax_enable_x64", False)
        with here.refused():
            cnn.Model(making.small(), (8, 8), backend="jax", dtype="float64")
        eval(here.message.partition("; call ")[2].partition(" or set")[0], {"jax": jax})
        cnn.Model(making.small(), (8, 8), backend="jax", dtype="float64")
    finally:
        jax.config.update("jax_enable_x64", before)


@follows("backends/jax.py", "unset JAX_PLATFORMS, or add cpu to it")
def jax_without_the_cpu(here: Here) -> None:
    pytest.importorskip("jax", reason="jax is not installed")
    import subprocess

    def ended(platforms: str | None) -> str:
        program = (
            "import arraycnn\ntry: arraycnn.get_backend('jax')\nexcept Exception as e: print(e)"
        )
        import os

        environment = {k: v for k, v in os.environ.items() if k != "JAX_PLATFORMS"}
        environment |= {} if platforms is None else {"JAX_PLATFORMS": platforms}
        command = [sys.executable, "-c", program]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout

    here._see(ended("tpu"))
    assert ended(None) == ""
    assert ended("cpu") == ""


@follows("backends/backend.py", "copy it to the host as a NumPy array first")
def an_array_of_elsewhere(here: Here) -> None:
    strict = pytest.importorskip("array_api_strict")
    images, labels = making.some()
    there = strict.asarray(images, device=strict.Device("device1"))
    with here.refused():
        making.model().fit(there, labels)
    host = np.from_dlpack(strict.asarray(there, device=strict.Device("CPU_DEVICE")))
    making.model().fit(host, labels)


@follows("ops/host_launcher.py", "keep all arrays of a model on its own backend")
def an_array_of_another_library_in_a_kernel(here: Here) -> None:
    strict = pytest.importorskip("array_api_strict")
    kernels = cnn.NumPy(fast=False).kernels
    x, weight = np.ones((2, 3), "float32"), np.ones((3, 4), "float32")
    with here.refused():
        kernels.dense(kernels, strict.asarray(x), weight, None)
    kernels.dense(kernels, x, weight, None)


def _in_a_pool(here: Here, backend: str) -> None:
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    chosen = get_backend(backend)
    x, window = np.ones((1, 2, 2, 1), "float32"), cnn.MaxPool2d(2).window(2, 2)
    with here.refused():
        chosen.kernels.avg_pool2d_backward(x, (1, 4, 4, 1), window)
    chosen.kernels.avg_pool2d_backward(chosen.asarray(x), (1, 4, 4, 1), window)


@follows("ops/jax_kernels.py", "keep all arrays of a model on its own backend")
def an_array_of_another_library_in_a_kernel_of_jax(here: Here) -> None:
    _in_a_pool(here, "jax")


@follows("ops/torch_kernels.py", "keep all arrays of a model on its own backend")
def an_array_of_another_library_in_a_kernel_of_pytorch(here: Here) -> None:
    _in_a_pool(here, "torch")


@follows(
    "backends/numpy.py",
    "update it (numba, where it is installed, too), uninstall it, or take NumPy(fast=False), "
    "as train --no-fast does",
)
def llvmlite_that_does_not_work(here: Here) -> None:
    pytest.importorskip("llvmlite", reason="llvmlite is not installed")
    from arraycnn.backends import numpy as backend

    def broken(threads: int) -> None:
        message = "a library is missing"
        raise ImportError(message)

    here.patch.setattr(backend, "_compiled", broken)
    with here.refused():
        cnn.Model(making.small(), (8, 8), backend="numpy")
    cnn.Model(making.small(), (8, 8), backend=cnn.NumPy(fast=False))
    train = ("train", "--backend", "numpy", "--limit", 60, "--epochs", 1, "--network", "scratch")
    here.refused_command(*train, "--out", "run")
    here.accepted_command(*train, "--no-fast", "--out", "run")


@follows(
    "data/file_kinds.py",
    "in PyTorch, save its images and labels with numpy.savez('{stem}.npz', images=x.numpy(), "
    "labels=y.numpy())",
)
def a_set_that_torch_saved(here: Here) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from arraycnn.data import load_dataset

    images, labels = making.some(24)
    x, y = torch.tensor(images), torch.tensor(labels)
    torch.save((x, y), here.path / "set.pt")
    with here.refused(by="data/reader_choice.py"):
        load_dataset(here.path / "set.pt")
    here.patch.chdir(here.path)
    told = "numpy.savez" + here.message.rpartition("numpy.savez")[2]
    eval(told, {"numpy": np, "x": x, "y": y})
    assert len(load_dataset(here.path / "set.npz").train_images) == 19
