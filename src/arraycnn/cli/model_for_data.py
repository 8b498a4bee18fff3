"""The model of a network that was chosen on the command line, for a data set."""

import click

from arraycnn.backends import Backend
from arraycnn.cli.losses import ChosenLoss
from arraycnn.cli.networks import ChosenNetwork, Texts
from arraycnn.data import DataSet
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.layers import Layer
from arraycnn.layers.layer import with_n
from arraycnn.layers.undrawn import Undrawn
from arraycnn.losses import Loss
from arraycnn.model.model import Model
from arraycnn.networks import PIXEL_NETWORKS, smallest_image


def model_for(
    data: DataSet, chosen: ChosenNetwork, texts: Texts, backend: Backend, seed: int, loss: Loss
) -> Model:
    """The model for the data's images and classes, named as those are.

    Raises InvalidValueError and InvalidTypeError that name the network, where it does not fit.
    """
    where, classes = f"network {chosen.name}", len(data.class_names)
    network = chosen.build(texts, classes=classes, input_shape=data.image_shape)
    try:
        model = Model(
            network,
            data.image_shape,
            backend=backend,
            seed=seed,
            class_names=data.class_names,
            loss=loss,
        )
    except (InvalidValueError, InvalidTypeError) as error:
        height, width, channels = data.image_shape
        smallest = None
        if chosen.code.sha256 is None:  # a user's layer may fail in its own way where it is tried
            smallest = smallest_image(network, channels)
        if smallest is not None and min(height, width) < smallest:
            message = (
                f"{where}: takes images of at least {smallest}x{smallest} pixels, "
                f"{data.name} has {height}x{width}; choose another --network or --dataset"
            )
            raise InvalidValueError(message) from error
        given = _outputs(network, data)
        if given not in (None, classes):
            message = (
                f"{where}: must end with one output for each of the {classes} classes of "
                f"{data.name}, has {given}; let the function take classes, and end with "
                "Dense(classes)"
            )
            raise InvalidValueError(message) from error
        raise type(error)(f"{where}: {error}") from error
    gives, takes = model.loss.label_form(model.output_shape)[0], data.train_labels.shape[1:]
    if gives != takes:
        message = (
            f"{where}: must give what the labels of {data.name} are, {with_n(takes)}, gives "
            f"{with_n(gives)}; choose a --network that does, such as unet_small where labels are "
            "images, or another --loss"
        )
        raise InvalidValueError(message)
    return model


def check_labels(chosen: ChosenNetwork, loss: ChosenLoss) -> None:
    """Refuse a named network whose outputs ``loss`` does not take. Raises click.UsageError."""
    if chosen.name in PIXEL_NETWORKS and loss.labels == "classes":
        message = (
            f"{chosen.name} gives numbers for each pixel, and --loss {loss.name} takes one class an "
            "image; choose --loss pixel-cross-entropy, or another network"
        )
        raise click.UsageError(message)


def _outputs(network: Layer, data: DataSet) -> int | None:
    """How many numbers the network ends with; None where it gives something else, or nothing."""
    try:
        shape = network.init(Undrawn(), data.image_shape)[2]
    except (InvalidValueError, InvalidTypeError):
        return None
    return shape[0] if len(shape) == 1 else None
