"""What EMNIST's IDX files have of their own: images on their side, and the names of the classes.

G. Cohen et al., "EMNIST: an extension of MNIST to handwritten letters", 2017, arXiv:1702.05373.
"""

from pathlib import Path
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Any

import numpy as np
import numpy.typing as npt

from arraycnn.data.class_files import lines_of
from arraycnn.errors import DataFileError

_MERGED = digits + ascii_uppercase + "abdefghnqrt"
# For each split the names of its classes, and the label of the first.
_CLASSES = {
    "byclass": (digits + ascii_uppercase + ascii_lowercase, 0),
    "bymerge": (_MERGED, 0),
    "balanced": (_MERGED, 0),
    "letters": (ascii_uppercase, 1),
    "digits": (digits, 0),
    "mnist": (digits, 0),
}


def split_of(images: Path) -> str | None:
    """The split, such as "letters", that a file of images is of; None where it is not EMNIST's."""
    words = images.name.split("-")
    return words[1] if words[0] == "emnist" and len(words) > 1 and words[1] in _CLASSES else None


def upright(images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``images``, (N, W, H) or (N, W, H, C) as they are stored, as (N, H, W) or (N, H, W, C)."""
    return images.swapaxes(1, 2) if images.ndim in (3, 4) else images


def mapping_file(images: Path, split: str) -> Path | None:
    path = images.with_name(f"emnist-{split}-mapping.txt")
    return path if path.is_file() else None


def classes(images: Path, split: str) -> dict[int, str]:
    """{label: name of the class}, in the order of the labels; the mapping file's where it is there.

    Raises `DataFileError` where that is none.
    """
    path = mapping_file(images, split)
    if path is None:
        names, first = _CLASSES[split]
        return dict(enumerate(names, start=first))
    found: dict[int, str] = {}
    for number, line in enumerate(lines_of(path), start=1):
        cells = line.split()
        if not 2 <= len(cells) <= 3 or not all(c.isascii() and c.isdecimal() for c in cells):
            reason = f"must have lines of a label and character codes, line {number} is another"
            raise DataFileError(path, reason, "fetch it again")
        label, code = int(cells[0][:9]), int(cells[1][:9])
        if not 32 < code < 127 or label in found:
            reason = f"line {number} has a label twice, or a code that is no letter"
            raise DataFileError(path, reason, "fetch it again")
        found[label] = chr(code)
    return dict(sorted(found.items()))


def numbered(labels: npt.NDArray[Any], known: dict[int, str], where: Path) -> npt.NDArray[Any]:
    """``labels`` with the first class as 0: those of the letters begin with 1."""
    order = np.array(list(known), np.int64)
    if not len(order):
        raise DataFileError(where, "must have labels of a class, the mapping file has none")
    places = np.searchsorted(order, labels).clip(0, len(order) - 1)
    unknown = np.flatnonzero(order[places] != labels)
    if unknown.size:
        reason = f"labels must be among those of the set, {labels[unknown[0]]} is none"
        raise DataFileError(where, reason, "is it the file of another split?")
    return places
