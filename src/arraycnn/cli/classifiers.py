"""The models that the command line works with: those that tell one class an image."""

from pathlib import Path

from arraycnn.backends import Backend
from arraycnn.cli.user_code import naming_the_option, tell_of_other_code
from arraycnn.errors import InvalidValueError
from arraycnn.model.label_inputs import are_class_numbers
from arraycnn.model.model import Model
from arraycnn.networks.user_code import UserCode


def load_model(path: Path, backend: str | Backend, code: UserCode) -> Model:
    """The model of a file, as `Model.load` gives it, with a user's own classes."""
    with naming_the_option(code):
        model = Model.load(path, backend=backend, layers=code.layers, losses=code.losses)
    tell_of_other_code(path.parent, code)
    return model


def load_classifier(path: Path, backend: str | Backend, code: UserCode) -> Model:
    """The same, of a model whose predictions are one class an image; see `check_classifier`."""
    return check_classifier(path, load_model(path, backend, code))


def check_classifier(path: Path, model: Model) -> Model:
    """``model``, of the file ``path``, or InvalidValueError where it tells no class of an image."""
    if not are_class_numbers(model.loss, model.output_shape):
        message = (
            f"model file {path}: must be of a model that tells one class an image, was trained with "
            f"{type(model.loss).__name__}; use arraycnn.Model.load in Python, and its fit, evaluate "
            "and predict"
        )
        raise InvalidValueError(message)
    return model
