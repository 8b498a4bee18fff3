"""What a model file says beside its arrays: the model's settings, and a training's position."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arraycnn.errors import CheckpointError
from arraycnn.layers.config import network_from_config, network_to_config
from arraycnn.settings import check_count
from arraycnn.training import Carry
from arraycnn.training_state import TrainingState, training_state_from_plain

if TYPE_CHECKING:
    from arraycnn.model import Model


def model_header(model: Model, training: TrainingState | None) -> dict[str, Any]:
    """The settings of ``model`` for JSON; with ``training``, that too, and its epochs and steps.

    Raises InvalidTypeError where a user-defined layer is not a dataclass of plain settings.
    """
    at = model if training is None else training
    header: dict[str, Any] = {
        "network": network_to_config(model.network),
        "input_shape": list(model.input_shape),
        "dtype": model.dtype,
        "seed": model.seed,
        "class_names": model.class_names,
        "epochs_done": at.epochs_done,
        "steps_done": at.steps_done,
    }
    return header if training is None else {**header, "training": training.to_plain()}


def model_from_header(
    make: Callable[..., Model], path: str | Path, header: dict[str, Any], layers: Iterable[type]
) -> Model:
    """The model that `model_header` described, on NumPy, with its first parameters.

    Raises CheckpointError where the header describes none, or layers that are not known.
    """
    try:
        model = make(
            network_from_config(header["network"], layers),
            header["input_shape"],
            seed=header["seed"],
            dtype=header["dtype"],
            class_names=header["class_names"],
        )
        model.epochs_done = check_count("epochs_done:", header["epochs_done"], minimum=0)
        model.steps_done = check_count("steps_done:", header["steps_done"], minimum=0)
    except CheckpointError as error:
        message = f"model file {path}: {error}"
        raise CheckpointError(message) from error
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        message = f"model file {path}: its header does not describe a model ({error})"
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
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        message = f"model file {path}: its header does not describe a training ({error})"
        raise CheckpointError(message) from error
    return training
