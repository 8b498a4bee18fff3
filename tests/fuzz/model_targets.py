"""The reader of model files, and of the network that stands in one."""

import hashlib
import io
import json
import zipfile
from unittest import mock

import numpy as np

from arraycnn import Model, NumPy
from arraycnn.backends import numpy as numpy_backend
from arraycnn.errors import CheckpointError
from arraycnn.layers.config import network_from_config, network_to_config
from promises import FILE, bounded, refused, require

MARK = b"arraycnn sha256 "


def sealed(body: bytes) -> bytes:
    """``body`` as a model file whose digest is right."""
    return body + MARK + hashlib.sha256(body).hexdigest().encode()


def archive(entries: dict[str, bytes]) -> bytes:
    """A zip file with the comment of a model file, less the comment's bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in entries.items():
            file.writestr(zipfile.ZipInfo(name), content)
        file.comment = bytes(len(MARK) + 64)
    return buffer.getvalue()[: -len(MARK) - 64]


def npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def checkpoint(data: bytes) -> None:
    """The first byte says what the rest is.

    A file, the body of a file whose digest is made right, or the header of one whose arrays are
    those of a small network.
    """
    kind, rest = data[:1], data[1:]
    if not kind:
        return
    if kind[0] % 3 == 0:
        content = rest
    elif kind[0] % 3 == 1:
        content = sealed(rest)
    else:
        header = npy(np.frombuffer(rest, np.uint8))
        content = sealed(archive({"header.npy": header, **PARAMETERS}))
    FILE.write_bytes(content)
    try:
        # Compiling kernels takes longer than all else, and no parser needs them.
        with mock.patch.object(numpy_backend, "find_spec"), bounded(4 * len(content)):
            numpy_backend.find_spec.return_value = None
            model = Model.load(FILE, backend=NumPy(fast=False))
    except CheckpointError as error:
        refused(error)
        return
    require(content == sealed(content[:-80]), "a file with another digest is refused")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        names = {f"params/{name}" for name in model.parameters}
        require(names <= set(arrays.files), "all parameters are in the file", names)
        state = {name for name in arrays.files if name.startswith("state/")}
        require(set(arrays.files) == names | state | {"header"}, "no array is left over")
        for name, value in model.parameters.items():
            saved = arrays[f"params/{name}"]
            same = saved.dtype == value.dtype and saved.shape == value.shape
            require(same and saved.tobytes() == value.tobytes(), "values are the file's", name)


PARAMETERS = {
    "params/1.weight.npy": npy(np.ones((3, 3, 1, 2), np.float32)),
    "params/1.bias.npy": npy(np.ones(2, np.float32)),
    "params/3.weight.npy": npy(np.ones((8, 3), np.float32)),
    "params/3.bias.npy": npy(np.ones(3, np.float32)),
}


# --- networks as JSON


def config(data: bytes) -> None:
    """JSON, as it stands in a model file's header."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    try:
        with bounded(8 * len(data)):
            network = network_from_config(value)
    except CheckpointError as error:
        refused(error)
        return
    if not hasattr(network, "init"):
        return  # plain values come back as they are; `Model` refuses them
    require(isinstance(value, dict) and "class" in value, "only what names a class is a layer")
    described = json.loads(json.dumps(network_to_config(network)))
    again = network_from_config(described)
    require(network_to_config(again) == network_to_config(network), "a network survives", value)
    _check_settings(described)


def _check_settings(described: object) -> None:
    """No layer has a setting that its documentation rules out."""
    if isinstance(described, list):
        for part in described:
            _check_settings(part)
    if not isinstance(described, dict):
        return
    for name, value in described.items():
        if name in ("filters", "outputs"):
            require(type(value) is int and value >= 1, f"{name} is a positive int", value)
        elif name in ("kernel_size", "stride", "pool_size"):
            sizes = value if isinstance(value, list) else [value]
            good = all(type(size) is int and size >= 1 for size in sizes) and len(sizes) <= 2
            require(good or value is None, f"{name} is one or two positive ints", value)
        elif name == "rate":
            require(0 <= value < 1, "a dropout rate is in [0, 1)", value)
        else:
            _check_settings(value)
