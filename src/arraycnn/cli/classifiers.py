"""Loading the model that a command names, with a user's own classes."""

from pathlib import Path

from arraycnn.backends import Backend
from arraycnn.cli.user_code import naming_the_option, tell_of_other_code
from arraycnn.model.model import Model
from arraycnn.networks.user_code import UserCode


def load_model(path: Path, backend: str | Backend, code: UserCode) -> Model:
    """The model of a file, as `Model.load` gives it, with a user's own classes."""
    with naming_the_option(code):
        model = Model.load(path, backend=backend, layers=code.layers, losses=code.losses)
    tell_of_other_code(path.parent, code)
    return model
