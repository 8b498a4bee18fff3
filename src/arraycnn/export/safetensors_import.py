"""safetensors back: weights of a PyTorch module, or of `export_safetensors`, become a `Model`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from arraycnn.backends import Backend
from arraycnn.errors import CheckpointError, InvalidValueError, UnknownClassError
from arraycnn.export.channels_first import plan
from arraycnn.export.checkpoint_keys import KnownCheckpoint
from arraycnn.export.known_checkpoints import known_checkpoint
from arraycnn.export.safetensors import NETWORK
from arraycnn.export.tensors import Tensor, tensors
from arraycnn.export.weights_file import WeightsFile, read_weights
from arraycnn.layers import Layer, Rescale, Sequential
from arraycnn.layers.config import check_parameter_count, network_from_config
from arraycnn.layers.sequential import first_in_inference
from arraycnn.losses import Loss
from arraycnn.losses.config import loss_from_config
from arraycnn.model.model import Model
from arraycnn.training.step import CROSS_ENTROPY

_SHOWN = 8
"""Tensors that a message names."""

_PARTS = 4
"""How many times what a file holds its network may have, so that what is missing can be told."""


def import_safetensors(
    path: str | Path,
    network: Layer | str | None = None,
    input_shape: Sequence[int] | None = None,
    *,
    class_names: Sequence[str] | None = None,
    rename: Mapping[str, str] | None = None,
    scaling: Rescale | None = None,
    backend: str | Backend = "numpy",
    layers: Iterable[type] = (),
    loss: Loss | None = None,
    losses: Iterable[type] = (),
) -> Model:
    """A `Model` with the weights of a safetensors file, in the layouts that PyTorch has.

    Parameters
    ----------
    network : Layer, str or None
        What the weights belong to. None takes what `export_safetensors` wrote into the file, or the
        network of torchvision or of a usual checkpoint for CIFAR that the keys are of
        (`known_checkpoints`); a name, such as "resnet18", says which of these it must be.
    input_shape : (H, W, C), (H, W) or None
        Needed with a ``network`` that is a layer. A known checkpoint has the size that it is usually
        trained on unless another is given.
    rename : mapping of str to str, or None
        Names of modules in the file to paths in the network: {"conv1": "1", "fc": "4"}; an empty
        path takes a prefix away: {"module": ""}.
    scaling : Rescale or None
        How the weights were trained to see pixels, such as ``Rescale(mean=0.1307, std=0.3081)`` for
        torchvision's ``Normalize``; takes the place of the network's own `Rescale`. A known
        checkpoint for three channels has that of its project.
    backend : str or Backend
    layers : classes
        A user's own layers that the network in the file has, as for `Model.load`.
    loss : Loss or None
        The model's; None takes that of the file where ``network`` is None, too, and otherwise
        `SoftmaxCrossEntropy`.
    losses : classes
        A user's own loss that the file has.

    Raises
    ------
    CheckpointError
        The file is missing or damaged, its digest differs, or its tensors are not the network's.
    InvalidValueError
        ``network`` comes without ``input_shape``, a name of ``rename`` is not in the file, the file
        is not of the network that is named, or the network has no `Rescale` whose place ``scaling``
        could take.
    MissingPackageError
        safetensors, of the extra ``safetensors``, is not installed.
    """
    return model_of_weights(
        renamed(read_weights(path), rename or {}),
        network,
        input_shape,
        class_names=class_names,
        scaling=scaling,
        backend=backend,
        layers=layers,
        loss=loss,
        losses=losses,
    )


def model_of_weights(
    weights: WeightsFile,
    network: Layer | str | None,
    input_shape: Sequence[int] | None,
    *,
    class_names: Sequence[str] | None = None,
    scaling: Rescale | None = None,
    backend: str | Backend = "numpy",
    layers: Iterable[type] = (),
    loss: Loss | None = None,
    losses: Iterable[type] = (),
) -> Model:
    """What `import_safetensors` gives, of a file that was read, and its modules `renamed`."""
    known = None
    if isinstance(network, str) or (network is None and not weights.describes_itself):
        known = _known(weights, network)
        layer: Layer = known.network
        _check_size(weights, known)
        input_shape = _with_channels(weights, known, input_shape)
        scaling = known.scaling if scaling is None else scaling
    elif network is None:
        layer, input_shape, class_names, own = _described(weights, class_names, layers)
        if loss is None and own is not None:
            loss = _loss_of(weights, own, losses)
    else:
        layer = network
    if scaling is not None:
        layer = _with_scaling(layer, scaling)
    if input_shape is None:
        message = "import safetensors: a network needs its input_shape, got None; give (H, W, C)"
        raise InvalidValueError(message)
    model = Model(
        layer,
        input_shape,
        backend=backend,
        dtype=weights.dtype,
        class_names=class_names,
        loss=CROSS_ENTROPY if loss is None else loss,
    )
    _fill(weights, model, known)
    return model


def _known(weights: WeightsFile, name: str | None) -> KnownCheckpoint:
    known = known_checkpoint(weights)
    if known is None:
        message = (
            f"weights file {weights.path}: does not say which network it belongs to; "
            "give the network and its input shape"
        )
        raise InvalidValueError(message)
    if name not in (None, known.name):
        message = (
            f"weights file {weights.path}: is of {known.title} by its keys and sizes, not of "
            f"{name}; take that network, or leave it out"
        )
        raise InvalidValueError(message)
    return known


def _check_size(weights: WeightsFile, known: KnownCheckpoint) -> None:
    """Make no network of which the file holds a small part: few bytes can ask for much memory."""
    most = _PARTS * sum(array.size for array in weights.arrays.values())
    try:
        check_parameter_count(known.network, known.input_shape, most)
    except CheckpointError as error:
        message = (
            f"weights file {weights.path}: holds a small part of {known.title} alone, of its sizes; "
            "take the whole checkpoint"
        )
        raise CheckpointError(message) from error


def _with_channels(
    weights: WeightsFile, known: KnownCheckpoint, shape: Sequence[int] | None
) -> Sequence[int]:
    """The wanted size of images, whose channels must be those of the weights."""
    if shape is None:
        return known.input_shape
    channels = known.input_shape[2]
    if (*shape, 1)[2:3] != (channels,):
        right = (*shape[:2], channels)
        message = (
            f"weights file {weights.path}: is for images of {channels} channels, got "
            f"{tuple(shape)}; give {right}"
        )
        raise InvalidValueError(message)
    return shape


def scaling_of(network: Layer) -> Rescale | None:
    """The `Rescale` that ``network`` begins with, None where it takes numbers as they are."""
    first = first_in_inference(network)
    return first if isinstance(first, Rescale) else None


def _with_scaling(network: Layer, scaling: Rescale) -> Layer:
    before = scaling_of(network)
    if before is None:
        message = (
            "import: mean and std are settings of the Rescale that a network begins with, "
            "and this network has none; begin it with Rescale()"
        )
        raise InvalidValueError(message)
    return _replaced(network, before, scaling)


def _replaced(network: Layer, before: Layer, after: Layer) -> Layer:
    """``network`` with ``after`` in the place of the very layer ``before``."""
    if network is before:
        return after
    if not isinstance(network, Sequential):
        return network
    return Sequential(*(_replaced(layer, before, after) for layer in network.layers))


def _described(
    weights: WeightsFile, class_names: Any, layers: Iterable[type]
) -> tuple[Any, Any, Any, Any]:
    """Network, input shape, names and loss, as plain data, of the file; None where it has no loss."""
    try:
        about = json.loads(weights.labels[NETWORK])
        names = about["class_names"] if class_names is None else class_names
        network = network_from_config(about["network"], layers)
        return network, about["input_shape"], names, about.get("loss")
    except UnknownClassError as error:
        raise error.within(f"weights file {weights.path}") from error
    except (KeyError, TypeError, ValueError) as error:
        message = f"weights file {weights.path}: its network cannot be read ({error})"
        raise CheckpointError(message) from error


def _loss_of(weights: WeightsFile, described: Any, losses: Iterable[type]) -> Loss:
    try:
        return loss_from_config(described, losses)
    except UnknownClassError as error:
        raise error.within(f"weights file {weights.path}") from error
    except (CheckpointError, AttributeError) as error:
        message = f"weights file {weights.path}: its loss cannot be read ({error})"
        raise CheckpointError(message) from error


def renamed(weights: WeightsFile, rename: Mapping[str, str]) -> WeightsFile:
    """``weights`` with other names for modules, {"conv1": "1"}.

    Raises InvalidValueError where there is no such module, or two would have one name.
    """
    path, arrays = weights.path, weights.arrays
    changed = dict.fromkeys(arrays, "")
    for old, new in rename.items():
        of_old = [key for key in arrays if key == old or key.startswith(f"{old}.")]
        if not of_old:
            message = f"weights file {path}: has no {old!r} to rename, it has {', '.join(arrays)}"
            raise InvalidValueError(message)
        for key in of_old:
            changed[key] = (new + key.removeprefix(old)).removeprefix(".")
    names = {key: name or key for key, name in changed.items()}
    twice = sorted({name for name in names.values() if list(names.values()).count(name) > 1})
    if twice:
        message = f"weights file {path}: several tensors would be called {', '.join(twice)}"
        raise InvalidValueError(message)
    return replace(weights, arrays={names[key]: array for key, array in arrays.items()})


def _fill(weights: WeightsFile, model: Model, known: KnownCheckpoint | None) -> None:
    """Give ``model`` the arrays, in its own layouts."""
    arrays = weights.arrays
    wanted = _wanted(model, known)
    lacks = [
        f"{key} {t.torch_shape}{_at(t, known)}" for key, t in wanted.items() if key not in arrays
    ]
    has = [f"{key} {array.shape}" for key, array in arrays.items() if key not in wanted]
    if lacks or has:
        if known is not None:
            message = (
                f"weights file {weights.path}: its tensors are not those of {known.title}: lacks "
                f"{_some(lacks)}; has besides {_some(has)}; take a whole checkpoint of one network"
            )
            raise CheckpointError(message)
        message = (
            f"weights file {weights.path}: its tensors are not those of the network: lacks "
            f"{_some(lacks)}; has besides {_some(has)}; take another network, or rename modules"
        )
        raise CheckpointError(message)
    for key, tensor in wanted.items():
        if arrays[key].shape != tensor.torch_shape:
            message = (
                f"weights file {weights.path}: {key}{_at(tensor, known)} must have shape "
                f"{tensor.torch_shape}, got {arrays[key].shape}; take another network or input shape"
            )
            raise CheckpointError(message)
    own = {t.name: (t.learned, t.from_torch(arrays[key])) for key, t in wanted.items()}
    model.assign(
        {name: array for name, (learned, array) in own.items() if learned},
        {name: array for name, (learned, array) in own.items() if not learned},
    )


def _wanted(model: Model, known: KnownCheckpoint | None) -> dict[str, Tensor]:
    """The network's tensors by the keys that a file has for them."""
    layout = plan(model.network, model.input_shape)
    found = tensors(model.network, layout)
    if known is None:
        return {tensor.key: tensor for tensor in found}
    layers = dict.fromkeys(tensor.layer for tensor in found)
    modules = dict(zip(layers, known.modules, strict=True))
    return {modules[t.layer] + t.key.removeprefix(t.layer): t for t in found}


def _at(tensor: Tensor, known: KnownCheckpoint | None) -> str:
    """Where the tensor belongs, if the key does not say it."""
    return "" if known is None else f" of layer {tensor.layer}"


def _some(words: list[str]) -> str:
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return f"{', '.join(words[:_SHOWN])}{more}" if words else "none"
