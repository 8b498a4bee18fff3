"""The models that the command line works with: those that tell one class an image."""

from pathlib import Path

from arraycnn.backends import Backend
from arraycnn.errors import InvalidValueError
from arraycnn.model.label_inputs import are_class_numbers
from arraycnn.model.model import Model


def load_classifier(path: str | Path, backend: str | Backend = "numpy") -> Model:
    """The model of a file, as `Model.load` gives it.

    Raises InvalidValueError where its predictions are not one class an image.
    """
    model = Model.load(path, backend=backend)
    if not are_class_numbers(model.loss, model.output_shape):
        message = (
            f"model file {path}: must be of a model that tells one class an image, was trained with "
            f"{type(model.loss).__name__}; use arraycnn.Model.load in Python, and its fit, evaluate "
            "and predict"
        )
        raise InvalidValueError(message)
    return model
