"""`with_augmentation`: a model whose images are changed while it is trained, otherwise the same."""

from dataclasses import replace

from arraycnn.errors import InvalidTypeError
from arraycnn.layers import Layer, Sequential
from arraycnn.layers.layer import check_layer
from arraycnn.model.model import Model
from arraycnn.tree import leaves, with_leaves


def with_augmentation(model: Model, *layers: Layer) -> Model:
    """A new model that has learned what ``model`` has, and begins with ``layers``.

    They take the place of augmentation that its network begins with; none at all takes that away. They
    and the network's first layer, mostly `Rescale`, become a `Sequential`, so that paths of parameters
    and the bits of dropout stay as they are behind it: "1.weight" is still "1.weight".

    Parameters
    ----------
    model : Model
        Stays as it is.
    *layers : Layer
        Those that act in training only: ``RandomShift(2)``, ``Mixup()``.

    Raises
    ------
    InvalidTypeError
        One of ``layers`` is at work outside of training, too.
    InvalidValueError
        As `Model`: the layers do not fit the images.
    """
    for layer in layers:
        check_layer("with_augmentation", "layers", layer)
        if not getattr(layer, "training_only", False):
            message = (
                "with_augmentation: layers must act in training only, such as RandomShift(2), got "
                f"{layer!r}"
            )
            raise InvalidTypeError(message)
    made = Model(
        beginning_with(model.network, layers),
        model.input_shape,
        model.backend,
        model.seed,
        model.dtype,
        model.class_names,
        model.loss,
    )
    params, state = (
        with_leaves(new, leaves(old)) for new, old in zip(made.trees, model.trees, strict=True)
    )
    made.standing = replace(made.standing, params=params, state=state)
    made.background, made.pixels = model.background, model.pixels
    return made


def beginning_with(network: Layer, layers: tuple[Layer, ...]) -> Layer:
    """``network`` with ``layers`` in place of the augmentation that it begins with."""
    bare = _bare(network)
    if bare is None:  # of nothing else
        return Sequential(*layers)
    return _behind(layers, bare) if layers else bare


def _behind(layers: tuple[Layer, ...], network: Layer) -> Layer:
    if isinstance(network, Sequential) and network.layers:
        first, *rest = network.layers
        return Sequential(_behind(layers, first), *rest)
    return Sequential(*layers, network)


def _bare(network: Layer) -> Layer | None:
    """``network`` without the augmentation that it begins with; None where that is all."""
    if not isinstance(network, Sequential):
        return None if getattr(network, "training_only", False) else network
    for place, layer in enumerate(network.layers):
        first = _bare(layer)
        if first is not None:
            rest = network.layers[place + 1 :]
            # A layer that `_behind` put behind others alone is again what it was.
            return first if place and not rest else Sequential(first, *rest)
    return None
