"""The sets that people have as pickles: mnist.pkl.gz, and dicts of arrays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arraycnn.data.cifar import is_cifar_batch, one_batch
from arraycnn.data.csv_table import LONGEST_LABEL
from arraycnn.data.flat_rows import Size, row_shape
from arraycnn.data.named_arrays import find_named
from arraycnn.data.pickled import read_pickle, text_of
from arraycnn.data.pickled_arrays import PickledArray
from arraycnn.data.reader_result import PARTS, Found, FoundPart
from arraycnn.errors import DataFileError


def find_pickled(
    path: Path, class_names: Sequence[str] | None, image_size: Size | None = None
) -> Found:
    """The set in one pickle.

    That is ((images, labels), ...) of two or three parts, as mnist.pkl.gz has them (training,
    validation and test; of two, training and test); a batch of CIFAR; or a dict of arrays, named as
    in an .npz file.
    """
    value = read_pickle(path)
    if is_cifar_batch(value):
        return one_batch(path, value, class_names)
    if type(value) is dict:
        arrays = {
            text_of(name): array
            for name, held in value.items()
            if (array := array_of(held)) is not None
        }
        return find_named(path, arrays, class_names)
    pairs = value if type(value) in (tuple, list) else ()
    parts = PARTS if len(pairs) == 3 else ("train", "test")
    found: dict[str, FoundPart] = {}
    for place, (part, pair) in enumerate(zip(parts, pairs, strict=False)):
        if type(pair) not in (tuple, list) or len(pair) != 2:
            continue
        images, labels = map(array_of, pair)
        if images is not None and labels is not None:
            where = f"{path}: part {place + 1}"
            images = _bytes_of_256ths(_rows_shaped(images, image_size, where))
            found[part] = FoundPart(images, labels, f"{where}, images", f"{where}, labels")
    if not pairs or len(found) != len(pairs):
        reason = (
            "must hold ((images, labels), ...) of two or three parts, a batch of CIFAR, or a dict "
            f"of arrays called images and labels, holds another {type(value).__name__}"
        )
        raise DataFileError(path, reason, "save the arrays with numpy.savez under these names")
    return Found(found, class_names)


def _rows_shaped(images: npt.NDArray[Any], size: Size | None, where: str) -> npt.NDArray[Any]:
    if images.ndim != 2 or not images.shape[1]:
        return images
    return images.reshape(-1, *row_shape(images.shape[1], size, where))


def _bytes_of_256ths(images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Pixels k / 256, as mnist.pkl.gz has them, as the bytes k; others as they are."""
    if images.dtype.kind != "f" or not images.size:
        return images
    pixels = np.empty(images.shape, np.uint8)
    for place, image in enumerate(images):
        values = image * 256
        with np.errstate(invalid="ignore"):  # of NaN, which is not equal to itself
            pixels[place] = values.clip(0, 255)
        if not np.array_equal(values, pixels[place]):
            return images
    return pixels


def array_of(value: Any) -> npt.NDArray[Any] | None:
    """``value`` as an array, where it is one or a plain list of numbers or of texts."""
    if isinstance(value, PickledArray):
        return value.array
    if type(value) not in (list, tuple) or not value:
        return None
    # Looked at one by one: lists of lists that share their parts are larger than memory.
    if all(type(one) is int and abs(one) < 2**63 for one in value):
        return np.array(value)
    if all(type(one) in (str, bytes) and len(one) <= LONGEST_LABEL for one in value):
        return np.array([text_of(one) for one in value])
    return None
