"""Model files: arrays, and beside them the model's settings and a training's position."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arraycnn.backends import Backend, NumPy, get_backend
from arraycnn.data.polarity import check_background
from arraycnn.errors import CheckpointError, UnknownClassError, one_line
from arraycnn.layers.config import check_parameter_count, network_from_config, network_to_config
from arraycnn.losses.config import loss_from_config, loss_to_config
from arraycnn.model.distribution_shift import check_pixels
from arraycnn.model.inputs import check_input_shape
from arraycnn.model.standing import Standing, standing_at
from arraycnn.optimizers.evaluated import Apart, put_together, taken_apart
from arraycnn.setting_checks import check_count
from arraycnn.storage.checkpoint import LOSS_VERSION, read_checkpoint, take_tree, write_checkpoint
from arraycnn.storage.provenance import versions
from arraycnn.training.state import TrainingState, training_state_from_plain
from arraycnn.training.step import CROSS_ENTROPY, Carry
from arraycnn.tree import flatten, unflatten

if TYPE_CHECKING:
    from arraycnn.model.model import Model

_OPTIMIZER, _TRAINED = "optimizer", "trained"
"""Kinds of a training's arrays; a file's params are those that are evaluated."""
_log = logging.getLogger("arraycnn")


def model_header(
    model: Model, at: Standing, training: TrainingState | None = None
) -> dict[str, Any]:
    """The settings of ``model`` for JSON, and its epochs and steps; with ``training``, that too.

    Raises InvalidTypeError where a user-defined layer is not a dataclass of plain settings.
    """
    other: dict[str, Any] = {}
    if model.loss != CROSS_ENTROPY:
        other = {"format_version": LOSS_VERSION, "loss": loss_to_config(model.loss)}
    header: dict[str, Any] = {
        "network": network_to_config(model.network),
        **other,
        "input_shape": list(model.input_shape),
        "dtype": model.dtype,
        "seed": model.seed,
        "class_names": model.class_names,
        "background": model.background,
        "pixels": None if model.pixels is None else asdict(model.pixels),
        "epochs_done": at.epochs_done,
        "steps_done": at.steps_done,
    }
    if training is None:
        return header
    return {**header, "training": training.to_plain(), "versions": _versions()}


def write_model(model: Model, path: str | Path, training: TrainingState | None) -> None:
    """Write ``model``, or what it was at ``training``, to a file; see `Model.save`."""
    at = model.standing if training is None else standing_at(training)
    apart = Apart({}, {})
    if training is not None:
        apart = taken_apart(training.carry.params, training.carry.optimizer_state)
    trees = {"params": at.params, "state": at.state, _OPTIMIZER: apart.optimizer_state}
    trees[_TRAINED] = apart.trained
    arrays = {
        f"{kind}/{name}": np.asarray(model.backend.to_numpy(array), order="C")
        for kind, tree in trees.items()
        for name, array in sorted(flatten(tree).items())
    }
    write_checkpoint(path, model_header(model, at, training), arrays)


def read_model(
    make: Callable[..., Model],
    path: str | Path,
    backend: str | Backend,
    layers: Iterable[type],
    losses: Iterable[type] = (),
) -> tuple[Model, dict[str, Any], dict[str, np.ndarray]]:
    """(model, header, the arrays of its training by kind and name) of a file; see `Model.load`."""
    chosen = get_backend(backend)
    header, arrays = read_checkpoint(path)
    numbers = sum(array.size for array in arrays.values())
    model = model_from_header(make, path, header, layers, numbers, losses)
    chosen.check_dtype(model.dtype)
    model.backend = chosen
    found = [
        flatten(take_tree(path, kind, tree, arrays, model.dtype))
        for kind, tree in zip(("params", "state"), model.trees, strict=True)
    ]
    model.assign(*found)
    kinds = (f"{_OPTIMIZER}/", f"{_TRAINED}/") if "training" in header else ()
    if surplus := [name for name in arrays if not name.startswith(kinds)]:
        names = one_line(", ".join(surplus))
        message = f"model file {path}: has arrays its network does not have: {names}"
        raise CheckpointError(message)
    return model, header, arrays


def read_training(
    make: Callable[..., Model],
    path: str | Path,
    backend: str | Backend,
    layers: Iterable[type],
    losses: Iterable[type] = (),
) -> tuple[Model, TrainingState]:
    """(model, the training to go on with) of a file; see `Model.load_training`."""
    model, header, arrays = read_model(make, path, backend, layers, losses)
    _tell_other_versions(path, header.get("versions"))
    for name, array in arrays.items():
        if array.dtype != model.dtype:
            message = f"model file {path}: {name} must be {model.dtype}, got {array.dtype}"
            raise CheckpointError(message)
    params, state = model.trees
    known = {n: tuple(array.shape) for n, array in flatten(params).items()}
    trees: dict[str, dict[str, Any]] = {_OPTIMIZER: {}, _TRAINED: {}}
    for place, array in arrays.items():
        kind, _, name = place.partition("/")
        if kind == _TRAINED and known.get(name) != array.shape:
            message = (
                f"model file {path}: {place} must be of a parameter of its network, and of its "
                f"shape, got shape {array.shape}"
            )
            raise CheckpointError(message)
        trees[kind][name] = model.backend.asarray(array)
    apart = Apart(*map(unflatten, trees.values()))
    trained, optimizer_state = put_together(params, apart)
    carry = Carry(trained, state, optimizer_state)
    return model, training_from_header(path, header, model, carry)


@cache
def _versions() -> dict[str, str]:
    """What decides how sums round: where one is another, bits may be."""
    return {name: version for name, version in versions().items() if name != "python"}


def _tell_other_versions(path: str | Path, saved: Any) -> None:
    """Warn on the logger "arraycnn" where a training was saved by versions other than these."""
    if saved == _versions():
        return
    before = "a version of arraycnn that did not note itself"
    if isinstance(saved, dict):  # llvmlite may be there or not without having been used
        before = ", ".join(f"{one_line(name)} {one_line(saved[name])}" for name in saved)
    now = ", ".join(f"{name} {version}" for name, version in _versions().items())
    _log.warning(
        "model file %s: was saved by %s; this is %s: its training goes on, but may not go on to "
        "the same bit",
        path,
        before,
        now,
    )


def model_from_header(
    make: Callable[..., Model],
    path: str | Path,
    header: dict[str, Any],
    layers: Iterable[type],
    numbers: int,
    losses: Iterable[type] = (),
) -> Model:
    """The model that `model_header` described, on NumPy, with its first parameters.

    ``numbers`` is how many the file's arrays hold: no more parameters are made than that.

    Raises CheckpointError where the header describes none, or layers that are not known.
    """
    try:
        network = network_from_config(header["network"], layers)
        shape = check_input_shape(header["input_shape"])
        check_parameter_count(network, shape, numbers)
        model = make(
            network,
            shape,
            backend=NumPy(fast=False),  # llvmlite may be broken, which is no matter here
            seed=header["seed"],
            dtype=header["dtype"],
            class_names=header["class_names"],
            loss=loss_from_config(header["loss"], losses) if "loss" in header else CROSS_ENTROPY,
        )
        model.background = check_background(header.get("background"))
        model.pixels = check_pixels(header.get("pixels"))
        epochs = check_count("epochs_done:", header["epochs_done"], minimum=0)
        steps = check_count("steps_done:", header["steps_done"], minimum=0)
        model.standing = replace(model.standing, epochs_done=epochs, steps_done=steps)
    except UnknownClassError as error:
        raise error.within(f"model file {path}") from error
    except CheckpointError as error:
        message = f"model file {path}: {error}"
        raise CheckpointError(message) from error
    except (KeyError, AttributeError, TypeError, ValueError, OverflowError) as error:
        message = f"model file {path}: its header does not describe a model ({one_line(error)})"
        raise CheckpointError(message) from error
    return model


def training_from_header(
    path: str | Path, header: dict[str, Any], model: Model, carry: Carry
) -> TrainingState:
    """The training that `model_header` described, which ``model`` must be at.

    Raises CheckpointError where the header describes none, or that of another model.
    """
    if "training" not in header:
        message = (
            f"model file {path}: holds a model and no training to resume; "
            "take a file written by Checkpoint, such as a run's last.npz"
        )
        raise CheckpointError(message)
    try:
        training = training_state_from_plain(header["training"], carry)
        position = (training.epochs_done, training.steps_done, training.course.seed)
        if position != (model.epochs_done, model.steps_done, model.seed):
            message = "its epochs, steps and seed must be the model's"
            raise ValueError(message)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        message = f"model file {path}: its header does not describe a training ({one_line(error)})"
        raise CheckpointError(message) from error
    return training
