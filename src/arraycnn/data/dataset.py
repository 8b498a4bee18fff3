"""`DataSet`, the value every source returns, and the split that holds images out for validation."""

import math
import numbers
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from arraycnn.data.image_source import Images, as_source, select
from arraycnn.data.label_kinds import LabelKind, strata
from arraycnn.data.sampling import sample_by_class
from arraycnn.errors import DataError, one_line

TEST_SHARE = 0.2
# Folded into the seed: these streams are not the one that shuffles batches under the same seed.
_SPLIT_STREAM = 0x5B117
_TEST_STREAM = 0x7E57
_LIMIT_STREAM = 0x11317
_PARTS = ("train", "test", "validation")


@dataclass(frozen=True, eq=False)
class DataSet:
    """Images and labels for training and testing, on the host.

    ``train_images`` and ``test_images`` are uint8 arrays of shape (N, H, W, C), always with the
    channel axis, or an `ImageSource` of such images; ``train_labels`` and ``test_labels`` are int32
    arrays of shape (N,) whose values index ``class_names``. The parts may differ in N only.
    Of another ``kind`` than "classes" labels are (N, ..., K) float32, "labels" of 0 to 1 or "numbers"
    of any size, and ``class_names`` are of the K; of "pixels" (N, H, W) int32.
    ``has_test_part`` is False where the test images were held out of one set by `split_test`.
    ``validation_images`` and ``validation_labels`` are there where the set has such a part of its
    own, to watch a training with; else None. ``named`` is False where the classes have no names but
    the numbers that the labels are.

    Raises `DataError` where an array breaks one of these rules, a part is empty or two classes
    have one name.
    """

    name: str
    train_images: Images
    train_labels: npt.NDArray[Any]
    test_images: Images
    test_labels: npt.NDArray[Any]
    class_names: tuple[str, ...]
    has_test_part: bool = True
    validation_images: Images | None = None
    validation_labels: npt.NDArray[Any] | None = None
    named: bool = True
    kind: LabelKind = "classes"

    def __post_init__(self) -> None:
        if len(set(self.class_names)) < len(self.class_names):
            twice = next(n for n in self.class_names if self.class_names.count(n) > 1)
            raise DataError(
                f"{self.name}: class names must differ, got {one_line(twice)!r} for two classes; "
                "correct the names"
            )
        for part, (images, labels) in self.parts.items():
            _check_images(f"{self.name}: {part}_images", images)
            if self.kind == "classes":
                _check_labels(f"{self.name}: {part}_labels", labels, len(self.class_names))
            else:
                _check_others(f"{self.name}: {part}_labels", labels, self)
            if images.shape[0] != labels.shape[0]:
                raise DataError(
                    f"{self.name}: every {part} image must have one label, got {images.shape[0]} "
                    f"images and {labels.shape[0]} labels; take both from the same set"
                )
            if images.shape[1:] != self.train_images.shape[1:]:
                raise DataError(
                    f"{self.name}: train and {part} images must have one size, got "
                    f"{self.train_images.shape[1:]} and {images.shape[1:]} (H, W, C); "
                    "take both from the same set"
                )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (H, W, C) of one image."""
        _, height, width, channels = self.train_images.shape
        return height, width, channels

    @property
    def parts(self) -> dict[str, tuple[Images, npt.NDArray[Any]]]:
        """(images, labels) of "train", "test" and, where there is one, "validation"."""
        found = {
            "train": (self.train_images, self.train_labels),
            "test": (self.test_images, self.test_labels),
        }
        if self.validation_images is not None and self.validation_labels is not None:
            found["validation"] = (self.validation_images, self.validation_labels)
        return found

    def with_parts(
        self, parts: dict[str, tuple[Images, npt.NDArray[Any]]], **changes: Any
    ) -> "DataSet":
        """The same set with other (images, labels) for the ``parts``, and other ``changes``."""
        for part, (images, labels) in parts.items():
            changes |= {f"{part}_images": images, f"{part}_labels": labels}
        return replace(self, **changes)

    def limited(self, n: int, seed: int = 0) -> "DataSet":
        """The same set with at most ``n`` images in each part, drawn within classes where it has such.

        Classes keep their shares, and at least one image each where ``n`` allows it; the same seed
        draws the same images. Raises `DataError` unless ``n`` is an integer of at least 1.
        """
        count = self._limit(n)
        places = {
            part: sample_by_class(strata(labels), count, [seed, _LIMIT_STREAM, _PARTS.index(part)])
            for part, (_, labels) in self.parts.items()
        }
        return self._selected(places)

    def first(self, n: int) -> "DataSet":
        """The same set with the first ``n`` images of each part, whatever they are.

        Errors are those of `limited`.
        """
        count = self._limit(n)
        return self._selected(
            {part: np.arange(min(count, len(labels))) for part, (_, labels) in self.parts.items()}
        )

    def _limit(self, n: int) -> int:
        if isinstance(n, bool) or not isinstance(n, numbers.Integral) or n < 1:
            raise DataError(
                f"{self.name}: the limit must be an integer of at least 1, got {n!r}; "
                "leave the limit out to use every image"
            )
        return int(n)

    def _selected(self, places: dict[str, npt.NDArray[Any]]) -> "DataSet":
        chosen = {
            part: (_rows(images, places[part]), labels[places[part]])
            for part, (images, labels) in self.parts.items()
        }
        return self.with_parts(chosen)


def split_validation(
    labels: npt.ArrayLike, fraction: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split the indices of ``labels`` into (train_indices, validation_indices), class by class.

    ``labels`` is an integer array of shape (N,). Both results are sorted int64 arrays; together
    they hold each of 0..N-1 once. The validation part has round(fraction * N) indices, shared
    among the classes in proportion by largest remainder, but every class keeps at least one
    training image: so a tiny set may give fewer, or none. Fraction 0 gives an empty validation
    part. The same labels, fraction and seed give the same split.

    Raises `DataError` where ``fraction`` is not a number in [0, 1), ``seed`` is not an integer
    of at least 0, or ``labels`` is empty, not of one axis or not of integers.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.size == 0 or labels.dtype.kind not in "iu":
        raise DataError(
            "validation split: labels must be a non-empty integer array with one axis, got shape "
            f"{labels.shape} and dtype {labels.dtype}; pass the class numbers, one an image"
        )
    # `not (0 <= nan)` is true: the comparison refuses what is not finite as well.
    if (
        isinstance(fraction, bool)
        or not isinstance(fraction, numbers.Real)
        or not 0 <= float(fraction) < 1
    ):
        raise DataError(
            "validation split: the fraction must be a number of at least 0 and below 1, got "
            f"{fraction!r}; 0.1 holds out one image in ten"
        )
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or seed < 0:
        raise DataError(
            f"validation split: the seed must be an integer of at least 0, got {seed!r}; pass 0"
        )

    return _split(labels, float(fraction), [int(seed), _SPLIT_STREAM])


def split_test(
    labels: npt.NDArray[Any], seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(train_indices, test_indices) of a set without a test part: as `split_validation`, one fifth.

    Another draw than the validation split of the same seed.
    """
    return _split(labels, TEST_SHARE, [seed, _TEST_STREAM])


def _split(
    labels: npt.NDArray[Any], fraction: float, seed: list[int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    shares = _share(counts, math.floor(fraction * labels.size + 0.5))
    rng = np.random.default_rng(seed)
    in_validation = np.zeros(labels.size, dtype=bool)
    for class_position, share in enumerate(shares):
        members = np.flatnonzero(inverse == class_position)
        in_validation[rng.permutation(members)[:share]] = True
    train = np.flatnonzero(~in_validation).astype(np.int64, copy=False)
    return train, np.flatnonzero(in_validation).astype(np.int64, copy=False)


def _share(counts: npt.NDArray[np.intp], total: int) -> list[int]:
    """How many of ``total`` each class gives: by largest remainder, never its last image.

    In integers throughout: a float quota of 29.999... would lose an image to rounding.
    """
    sizes = [int(count) for count in counts]
    whole = sum(sizes)
    shares = [min(size * total // whole, size - 1) for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (-(sizes[i] * total % whole), i))
    for position in by_remainder:
        if sum(shares) >= total:
            break
        shares[position] += shares[position] < sizes[position] - 1
    return shares


def _rows(images: Images, indices: npt.NDArray[Any]) -> Images:
    """The images at ``indices``, none copied where these are all."""
    return images if len(indices) == images.shape[0] else select(images, indices)


def _check_images(what: str, images: Images) -> None:
    array = as_source(images).resident
    if not (array is None or isinstance(array, np.ndarray)) or images.dtype != np.uint8:
        raise DataError(
            f"{what} must be a NumPy array of dtype uint8, got "
            f"{getattr(images, 'dtype', type(images).__name__)}; pixels are whole numbers 0 to 255"
        )
    if len(images.shape) != 4 or 0 in images.shape:
        raise DataError(
            f"{what} must have 4 axes (N, H, W, C), none of length 0, got shape {images.shape}; "
            "add the channel axis with images[..., None]"
        )


def _check_labels(what: str, labels: npt.NDArray[np.int32], class_count: int) -> None:
    if not isinstance(labels, np.ndarray) or labels.dtype != np.int32:
        raise DataError(
            f"{what} must be a NumPy array of dtype int32, got "
            f"{getattr(labels, 'dtype', type(labels).__name__)}; use labels.astype('int32')"
        )
    if labels.ndim != 1 or labels.size == 0:
        raise DataError(
            f"{what} must have 1 axis (N,) and at least one label, got shape {labels.shape}; "
            "pass one class number an image"
        )
    outside = np.flatnonzero((labels < 0) | (labels >= class_count))
    if outside.size:
        first = int(outside[0])
        raise DataError(
            f"{what} must lie in 0..{class_count - 1} ({class_count} class names), got "
            f"{int(labels[first])} at index {first}; correct the labels or the class names"
        )


def _check_others(what: str, labels: npt.NDArray[Any], data: DataSet) -> None:
    names = len(data.class_names)
    if data.kind == "pixels":
        fits = labels.dtype == np.int32 and labels.ndim == 3 and labels.size > 0
        fits = fits and 0 <= int(labels.min()) <= int(labels.max()) < names
        rule = f"int32 of shape (N, H, W), 0 to {names - 1} ({names} class names)"
    else:
        fits = labels.dtype == np.float32 and labels.ndim in (2, 4) and labels.size > 0
        fits = fits and labels.shape[-1] == names
        fits = fits and labels.shape[1:] == data.train_labels.shape[1:]
        rule = f"float32 of shape (N, ..., {names}), one for each class name"
    if not fits:
        message = f"{what} must be {rule}, got {labels.dtype} of shape {labels.shape}"
        raise DataError(f"{message}; correct the labels or the names")
