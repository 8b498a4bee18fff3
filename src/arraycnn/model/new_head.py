"""`with_head`: what a model has learned, for another task."""

from collections.abc import Sequence
from dataclasses import replace

from arraycnn.errors import InvalidTypeError
from arraycnn.layers import Layer, Sequential
from arraycnn.layers.layer import check_layer
from arraycnn.losses import Loss
from arraycnn.model.model import Model


def with_head(
    model: Model,
    head: Layer,
    *,
    class_names: Sequence[str] | None = None,
    loss: Loss | None = None,
    seed: int | None = None,
) -> Model:
    """A new model that begins with what ``model`` has learned, and ends with ``head``, untrained.

    All layers of its network but the last are the body. The new network is ``Sequential(body, head)``:
    the paths of its parameters begin with "0." in the body, and with "1." in the head, as for
    ``Group("0", frozen=True)``. Its body and head are replaced in turn by another call.

    Parameters
    ----------
    model : Model
        Stays as it is.
    head : Layer
        What takes the place of the last layer: ``Dense(5)``, or a `Sequential`.
    class_names, loss, seed : as `Model` takes them
        None is no names, the loss of ``model``, its seed. Size, dtype and backend are its own.

    Raises
    ------
    InvalidTypeError
        The network of ``model`` is no `Sequential` of at least two layers.
    InvalidValueError
        As `Model`: the head does not fit the body or the loss.
    """
    check_layer("with_head", "head", head)
    network = model.network
    if not isinstance(network, Sequential) or len(network.layers) < 2:
        message = (
            "with_head: the model's network must be a Sequential of at least two layers, got "
            f"{network!r}; make a Model of Sequential(network, head), and give it the arrays by assign"
        )
        raise InvalidTypeError(message)
    *names, _ = (name for name, _ in network.named_layers())
    is_body = len(names) == 1  # as this function leaves it: paths stay as they are
    body = network.layers[0] if is_body else Sequential(*network.layers[:-1])
    made = Model(
        Sequential(body, head),
        model.input_shape,
        model.backend,
        model.seed if seed is None else seed,
        model.dtype,
        class_names,
        model.loss if loss is None else loss,
    )
    known = [{name: tree[name] for name in names} for tree in model.trees]
    params, state = (
        {**new, "0": old["0"] if is_body else old}
        for new, old in zip(made.trees, known, strict=True)
    )
    made.standing = replace(made.standing, params=params, state=state)
    made.background, made.pixels = model.background, model.pixels
    return made
