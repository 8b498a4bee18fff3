"""safetensors: the weights as a PyTorch user expects them, with a digest.

The file's metadata holds "format" ("pt"), "arraycnn" (as JSON the network, the input shape, the names
of the classes and, where it is not cross-entropy without settings, the loss) and "sha256": the SHA-256
of the whole file, the digest itself being 64 zeros.
The format alone would not notice a flipped bit. The file is written here, not by the safetensors
package: a header and the arrays' bytes, the same at each export; the package puts metadata into an
order of chance, and its version 0.8.0 writes arrays that are not contiguous wrongly.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from arraycnn.errors import CheckpointError
from arraycnn.export.channels_first import plan
from arraycnn.export.tensors import tensors
from arraycnn.layers.config import network_to_config
from arraycnn.losses.config import loss_to_config
from arraycnn.model.model import Model
from arraycnn.storage.atomic_writes import write_atomically
from arraycnn.storage.user_paths import user_path
from arraycnn.training.step import CROSS_ENTROPY

DIGEST, NETWORK = "sha256", "arraycnn"
_EMPTY = "0" * 64
_DTYPES = {"float32": "F32", "float64": "F64"}


def export_safetensors(model: Model, path: str | Path) -> None:
    """Write the parameters and state of ``model``, atomically.

    Keys are paths ("1.weight"; batch norm has "running_mean" and "running_var"), convolutions are
    (F, C, KH, KW), dense weights (outputs, inputs), after a `Flatten` in the order C, H, W: what an
    ``nn.Sequential`` of the same layers has in its ``state_dict()``.

    Raises
    ------
    InvalidTypeError
        A layer, a user's own, has no ``torch_module``, or a loss is no dataclass of plain settings.
    """
    write_atomically(user_path(path), to_safetensors(model))


def to_safetensors(model: Model) -> bytes:
    """The content of the file that `export_safetensors` writes."""
    layout = plan(model.network, model.input_shape)
    arrays = model.parameters | model.state
    about: dict[str, Any] = {
        "network": network_to_config(model.network),
        "input_shape": model.input_shape,
        "class_names": model.class_names,
    }
    if model.loss != CROSS_ENTROPY:
        about["loss"] = loss_to_config(model.loss)
    header: dict[str, Any] = {
        "__metadata__": {"format": "pt", NETWORK: json.dumps(about), DIGEST: _EMPTY}
    }
    data = b""
    for tensor in tensors(model.network, layout):
        array = tensor.to_torch(arrays[tensor.name])
        part = array.astype(array.dtype.newbyteorder("<")).tobytes()
        header[tensor.key] = {
            "dtype": _DTYPES[model.dtype],
            "shape": array.shape,
            "data_offsets": [len(data), len(data) + len(part)],
        }
        data += part
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays are aligned
    content = len(text).to_bytes(8, "little") + text + data
    return content.replace(_field(_EMPTY), _field(hashlib.sha256(content).hexdigest()), 1)


def check_digest(path: str | Path, content: bytes) -> dict[str, str]:
    """The metadata of a safetensors file, its digest checked where it has one.

    Raises CheckpointError where there is no readable header, or the digest is missing from a file
    of `export_safetensors`, or differs.
    """
    size = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + size])
        labels: Any = header.get("__metadata__", {})
    except (ValueError, AttributeError, RecursionError) as error:
        message = f"weights file {path}: is not a safetensors file ({error}); check the path"
        raise CheckpointError(message) from error
    if not isinstance(labels, dict) or DIGEST not in labels:
        if isinstance(labels, dict) and NETWORK not in labels:
            return labels
        message = f"weights file {path}: its digest is missing; take another copy of it"
        raise CheckpointError(message)
    written = content.replace(_field(labels[DIGEST]), _field(_EMPTY), 1)
    if hashlib.sha256(written).hexdigest() != labels[DIGEST]:
        message = (
            f"weights file {path}: its bytes have changed since it was written (the digest "
            "differs); take another copy of it, or save changed weights without this metadata"
        )
        raise CheckpointError(message)
    return labels


def _field(digest: Any) -> bytes:
    return f'"{DIGEST}":"{digest}"'.encode()
