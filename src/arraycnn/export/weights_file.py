"""The arrays of a safetensors file, whoever wrote it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arraycnn.errors import CheckpointError
from arraycnn.export.safetensors import NETWORK, check_digest
from arraycnn.export.torch_files import check_is_no_torch_file
from arraycnn.optional_packages import import_extra
from arraycnn.storage.user_paths import user_path

# PyTorch's batch norm counts its batches; with a fixed momentum nothing depends on the count.
_IGNORED = "num_batches_tracked"


@dataclass(frozen=True, eq=False)
class WeightsFile:
    """What a file holds.

    Attributes
    ----------
    path : str or Path
        As it was given.
    labels : dict of str to str
        Its metadata.
    arrays : dict of str to array
        By the keys of the file, in its layouts.
    """

    path: str | Path
    labels: dict[str, str]
    arrays: dict[str, np.ndarray]

    @property
    def describes_itself(self) -> bool:
        """Whether `export_safetensors` wrote it, with the network that it belongs to."""
        return NETWORK in self.labels

    @property
    def dtype(self) -> str:
        """Of all arrays. Raises CheckpointError where it is not float32 or float64."""
        found = sorted({str(array.dtype) for array in self.arrays.values()})
        if found in (["float32"], ["float64"]):
            return found[0]
        message = (
            f"weights file {self.path}: tensors must be all float32 or all float64, got "
            f"{', '.join(found) or 'none'}; save them as one of these, for example module.float()"
        )
        raise CheckpointError(message)


def read_weights(path: str | Path) -> WeightsFile:
    """What the safetensors file ``path`` holds.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, no safetensors, or its digest differs.
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
    return WeightsFile(path, labels, arrays)
