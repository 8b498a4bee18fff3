"""safetensors back: weights of a PyTorch module, or of `export_safetensors`, become a `Model`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arraycnn.backends import Backend
from arraycnn.errors import CheckpointError, InvalidValueError
from arraycnn.export.channels_first import plan
from arraycnn.export.safetensors import NETWORK, check_digest
from arraycnn.export.tensors import tensors
from arraycnn.export.torch_files import check_is_no_torch_file
from arraycnn.layers import Layer, Rescale, Sequential
from arraycnn.layers.config import network_from_config
from arraycnn.layers.sequential import first_in_inference
from arraycnn.losses import Loss
from arraycnn.losses.config import loss_from_config
from arraycnn.model.model import Model
from arraycnn.optional_packages import import_extra
from arraycnn.storage.user_paths import user_path
from arraycnn.training.step import CROSS_ENTROPY

# PyTorch's batch norm counts its batches; with a fixed momentum nothing depends on the count.
_IGNORED = "num_batches_tracked"


def import_safetensors(
    path: str | Path,
    network: Layer | None = None,
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
    network : Layer or None
        What the weights belong to; None takes what `export_safetensors` wrote into the file.
    input_shape : (H, W, C), (H, W) or None
        Needed with ``network``.
    rename : mapping of str to str, or None
        Names of modules in the file to paths in the network: {"conv1": "1", "fc": "4"}; an empty
        path takes a prefix away: {"module": ""}.
    scaling : Rescale or None
        How the weights were trained to see pixels, such as ``Rescale(mean=0.1307, std=0.3081)`` for
        torchvision's ``Normalize``; takes the place of the network's own `Rescale`.
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
        ``network`` comes without ``input_shape``, a name of ``rename`` is not in the file, or
        the network has no `Rescale` whose place ``scaling`` could take.
    MissingPackageError
        safetensors, of the extra ``safetensors``, is not installed.
    """
    library = import_extra("safetensors.numpy", "import safetensors", "safetensors")
    try:
        content = user_path(path).read_bytes()
    except OSError as error:
        message = f"weights file {path}: cannot be read ({error.strerror}); check the path"
        raise CheckpointError(message) from error
    check_is_no_torch_file(path, content)
    labels = check_digest(path, content)
    try:
        arrays = library.load(content)
    except Exception as error:  # SafetensorError, and what NumPy says of dtypes it does not have
        message = (
            f"weights file {path}: NumPy cannot hold its tensors ({error}); "
            "save them as float32, for example of module.float()"
        )
        raise CheckpointError(message) from error
    arrays = {key: array for key, array in arrays.items() if not key.endswith(_IGNORED)}
    if network is None:
        network, input_shape, class_names, own = _described(path, labels, class_names, layers)
        if loss is None and own is not None:
            loss = _loss_of(path, own, losses)
    if scaling is not None:
        network = _with_scaling(network, scaling)
    if input_shape is None:
        message = "import safetensors: a network needs its input_shape, got None; give (H, W, C)"
        raise InvalidValueError(message)
    model = Model(
        network,
        input_shape,
        backend=backend,
        dtype=_dtype(path, arrays),
        class_names=class_names,
        loss=CROSS_ENTROPY if loss is None else loss,
    )
    _fill(path, model, _renamed(path, arrays, rename or {}))
    return model


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
    path: str | Path, labels: dict[str, str], class_names: Any, layers: Iterable[type]
) -> tuple[Any, Any, Any, Any]:
    """Network, input shape, names and loss, as plain data, of the file; None where it has no loss."""
    if NETWORK not in labels:
        message = (
            f"weights file {path}: does not say which network it belongs to; "
            "give the network and its input shape"
        )
        raise InvalidValueError(message)
    try:
        about = json.loads(labels[NETWORK])
        names = about["class_names"] if class_names is None else class_names
        network = network_from_config(about["network"], layers)
        return network, about["input_shape"], names, about.get("loss")
    except (KeyError, TypeError, ValueError) as error:
        message = f"weights file {path}: its network cannot be read ({error})"
        raise CheckpointError(message) from error


def _loss_of(path: str | Path, described: Any, losses: Iterable[type]) -> Loss:
    try:
        return loss_from_config(described, losses)
    except (CheckpointError, AttributeError) as error:
        message = f"weights file {path}: its loss cannot be read ({error})"
        raise CheckpointError(message) from error


def _dtype(path: str | Path, arrays: dict[str, np.ndarray]) -> str:
    found = sorted({str(array.dtype) for array in arrays.values()})
    if found in (["float32"], ["float64"]):
        return found[0]
    message = (
        f"weights file {path}: tensors must be all float32 or all float64, "
        f"got {', '.join(found) or 'none'}; save them as one of these, for example module.float()"
    )
    raise CheckpointError(message)


def _renamed(
    path: str | Path, arrays: dict[str, np.ndarray], rename: Mapping[str, str]
) -> dict[str, np.ndarray]:
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
    return {names[key]: array for key, array in arrays.items()}


def _fill(path: str | Path, model: Model, arrays: dict[str, np.ndarray]) -> None:
    """Give ``model`` the arrays, in its own layouts."""
    layout = plan(model.network, model.input_shape)
    wanted = tensors(model.network, layout)
    lacks = [f"{t.key} {t.torch_shape}" for t in wanted if t.key not in arrays]
    has = [f"{key} {a.shape}" for key, a in arrays.items() if key not in {t.key for t in wanted}]
    if lacks or has:
        message = (
            f"weights file {path}: its tensors are not those of the network: "
            f"lacks {', '.join(lacks) or 'none'}; has besides {', '.join(has) or 'none'}; "
            "take another network, or rename modules"
        )
        raise CheckpointError(message)
    for tensor in wanted:
        if arrays[tensor.key].shape != tensor.torch_shape:
            message = (
                f"weights file {path}: {tensor.key} must have shape {tensor.torch_shape}, "
                f"got {arrays[tensor.key].shape}; take another network or input shape"
            )
            raise CheckpointError(message)
    own = {t.name: (t.learned, t.from_torch(arrays[t.key])) for t in wanted}
    model.assign(
        {name: array for name, (learned, array) in own.items() if learned},
        {name: array for name, (learned, array) in own.items() if not learned},
    )
