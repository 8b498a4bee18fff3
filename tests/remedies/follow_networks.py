"""Remedies about networks of a user's own file, their arguments, and weights known by their keys."""

import shlex
from pathlib import Path

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.networks import resnet18
from remedies.following import Here, follows

_CODE = """
from dataclasses import dataclass
import arraycnn as cnn

@dataclass(frozen=True)
class Half(cnn.Activation):
    "Half of it."
    def function(self, xp, x): return x / 2
    def derivative(self, xp, x): return xp.ones_like(x) / 2

def build(classes, width: int = 2):
    layers = cnn.Rescale(), cnn.Conv2d(width, 3), Half(), cnn.Flatten()
    return cnn.Sequential(*layers, cnn.Dense(classes))
"""
_QUICK = ("train", "--backend", "numpy", "--no-fast", "--limit", 60, "--epochs", 1, "--out", "run")


def _file(here: Here, code: str = _CODE) -> None:
    here.patch.syspath_prepend(here.path)  # and what running the file adds to the path goes
    (here.path / "net.py").write_text(code)


def _train(here: Here, *arguments) -> None:
    here.accepted_command(*_QUICK, *arguments)


def _resume(*arguments) -> tuple:
    return "train", "--resume", "run", "--epochs", 2, "--override", *arguments


@follows("cli/networks.py", "write {}:FUNCTION, such as {}:build")
def a_file_without_its_function(here: Here) -> None:
    _file(here)
    here.refused_command(*_QUICK, "--network", "net.py")
    _train(here, "--network", here.message.rpartition("such as ")[2].split()[0])


@follows("cli/networks.py", "add --network {}")
def a_run_whose_code_is_not_named(here: Here) -> None:
    _file(here)
    _train(here, "--network", "net.py:build")
    here.refused_command(*_resume())
    told = here.message.rpartition("; add ")[2].partition(" (")[0]
    here.accepted_command(*_resume(*shlex.split(told)))


@follows("cli/user_code.py", "name the file that defines it, which is then run: --layers FILE.py")
def a_model_with_layers_of_ones_own(here: Here) -> None:
    _file(here)
    _train(here, "--network", "net.py:build")
    evaluate = ("evaluate", "run/last.npz", "--backend", "numpy", "--no-fast")
    here.refused_command(*evaluate)
    here.accepted_command(*evaluate, "--layers", "net.py")


@follows("cli/resume.py", "restore it, or add --override if it still builds the same network")
def a_file_that_has_changed(here: Here) -> None:
    _file(here)
    _train(here, "--network", "net.py:build")
    (here.path / "net.py").write_text(f"{_CODE}\n# more\n")
    again = ("train", "--resume", "run", "--network", "net.py:build")
    here.refused_command(*again)
    _file(here)
    here.accepted_command(*again)
    (here.path / "net.py").write_text(f"{_CODE}\n# more\n")
    here.accepted_command(*again, "--override")


@follows("cli/resume.py", "restore the network file as it was")
def a_layer_that_is_called_otherwise(here: Here) -> None:
    _file(here)
    _train(here, "--network", "net.py:build")
    _file(here, _CODE.replace("Half", "Other"))
    here.refused_command(*_resume("--network", "net.py:build"))
    _file(here)
    here.accepted_command(*_resume("--network", "net.py:build"))


@follows("cli/model_for_data.py", "let the function take classes, and end with Dense(classes)")
def a_network_for_other_classes(here: Here) -> None:
    _file(here, _CODE.replace("(classes, ", "(").replace("Dense(classes)", "Dense(7)"))
    here.refused_command(*_QUICK, "--network", "net.py:build")
    _file(here)
    _train(here, "--network", "net.py:build")


def _refused_then_trained(file: str, words: str, wrong: str, right: str, *arguments: str) -> None:
    """A file that is refused, and the same with ``right`` in place of ``wrong``."""

    @follows(file, words)
    def case(here: Here) -> None:
        _file(here, _CODE.replace(right, wrong))
        here.refused_command(*_QUICK, "--network", "net.py:build", *arguments)
        _file(here)
        _train(here, "--network", "net.py:build", *arguments)


_USER = "networks/user_code.py"
_refused_then_trained(_USER, "correct it", "import arraycnn an cnn", "import arraycnn as cnn")
_refused_then_trained(_USER, "end it with return", "cnn.Sequential(*", "return cnn.Sequential(*")
_refused_then_trained(
    _USER, "write def {}(classes): return ...", "build = 3\n\n\ndef other", "def build"
)


@follows(_USER, "correct it, --debug shows the traceback")
def a_file_that_fails(here: Here) -> None:
    _file(here, _CODE.replace("cnn.Flatten()", "cnn.Flaten()"))
    train = (*_QUICK, "--network", "net.py:build")
    here.refused_command(*train)
    lines = here.cli(*train, "--debug")[2]
    assert any("in build" in line for line in lines)
    _file(here)
    _train(here, "--network", "net.py:build")


@follows(_USER, "check the path")
def a_file_elsewhere(here: Here) -> None:
    _file(here)
    here.refused_command(*_QUICK, "--network", "nets/net.py:build")
    _train(here, "--network", "net.py:build")


_ARGUMENTS = "networks/arguments.py"


@follows(_ARGUMENTS, "add --network-arg {}=VALUE")
def an_argument_without_a_default(here: Here) -> None:
    _file(here, _CODE.replace("width: int = 2", "width: int"))
    train = (*_QUICK, "--network", "net.py:build")
    here.refused_command(*train)
    told = here.message.rpartition("; add ")[2].replace("VALUE", "3")
    here.accepted_command(*train, *shlex.split(told))


@follows(_ARGUMENTS, "leave it out")
def classes_that_the_data_have(here: Here) -> None:
    named = ("--network", "scratch", "--network-arg", "ties=all")
    here.refused_command(*_QUICK, *named, "--network-arg", "classes=10")
    _train(here, *named)


@follows(_ARGUMENTS, "give it once")
def an_argument_given_twice(here: Here) -> None:
    named = ("--network", "scratch", "--network-arg", "ties=all")
    here.refused_command(*_QUICK, *named, "--network-arg", "ties=first")
    _train(here, *named)


# --- weights ---------------------------------------------------------------------------------------


def _checkpoint(here: Here, **changes: np.ndarray | None) -> Path:
    """Weights with torchvision's keys for a narrow resnet18 of images of 3 channels."""
    library = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    from arraycnn.export.channels_first import plan
    from arraycnn.export.known_resnets import _modules
    from arraycnn.export.tensors import tensors

    network = resnet18(3, width=2)
    found = tensors(network, plan(network, (32, 32, 3)))
    names = ["conv1", "bn1", *_modules((2, 2, 2, 2), False, "downsample"), "fc"]
    modules = dict(zip(dict.fromkeys(t.layer for t in found), names, strict=True))
    arrays = {
        modules[t.layer] + t.key.removeprefix(t.layer): np.ones(t.torch_shape, np.float32)
        for t in found
    }
    path = here.path / "w.safetensors"
    arrays |= changes
    library.save_file({k: a for k, a in arrays.items() if a is not None}, path)
    return path


def _import(path: Path, *arguments, **given) -> cnn.Model:
    from arraycnn.export import import_safetensors

    return import_safetensors(path, *arguments, **given)


def _whole(words: str, key: str) -> None:
    file = "checkpoint_keys" if key.startswith("fc") else "safetensors_import"

    @follows(f"export/{file}.py", words)
    def case(here: Here) -> None:
        path = _checkpoint(here, **{key: None})
        with here.refused():
            _import(path)
        _import(_checkpoint(here))


_whole("take the whole checkpoint", "fc.weight")


@follows("export/safetensors_import.py", "take the whole checkpoint")
def a_small_part_of_a_network(here: Here) -> None:
    wide = {"conv1.weight": np.ones((9_000, 3, 7, 7), np.float32)}
    path = _checkpoint(here, **wide)
    with here.refused():
        _import(path)
    _import(_checkpoint(here))


_whole("take a whole checkpoint of one network", "layer2.0.bn1.weight")


@follows("export/checkpoint_keys.py", "give the network itself, and rename modules")
def a_network_with_other_keys(here: Here) -> None:
    library = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    shapes = {"features.0": (2, 1, 3, 3), "classifier": (3, 2)}
    arrays = {f"{name}.weight": np.ones(shape, "float32") for name, shape in shapes.items()}
    path = here.path / "w.safetensors"
    library.save_file(arrays, path)
    with here.refused():
        _import(path)
    conv, pool = cnn.Conv2d(2, 3, bias=False), cnn.GlobalAvgPool2d()
    network = cnn.Sequential(conv, pool, cnn.Dense(3, bias=False))
    _import(path, network, (8, 8), rename={"features": "", "classifier": "2"})


@follows("export/safetensors_import.py", "take that network, or leave it out")
def another_network_than_the_keys_say(here: Here) -> None:
    path = _checkpoint(here)
    with here.refused():
        _import(path, "resnet34")
    _import(path, "resnet18")
    _import(path)


@follows("export/safetensors_import.py", "give {}")
def images_of_other_channels(here: Here) -> None:
    path = _checkpoint(here)
    with here.refused():
        _import(path, input_shape=(40, 40))
    _import(path, input_shape=here.done_as_told("; give "))
