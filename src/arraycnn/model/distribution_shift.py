"""Are these the kind of images and labels that a model was trained on? Noticed, never refused."""

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from arraycnn.data.image_source import ImageSource, part
from arraycnn.data.pixel_rules import doubt_of_bits
from arraycnn.data.polarity import Background, background
from arraycnn.training.batch_size import images_at_once

_LOOKED_AT = 256
_AT_A_TIME = 16
_FEWEST = 16  # a single image may look like anything
# Of bytes: a set that reaches an eighth of the other's values is scaled in another way.
_BYTES_APART = 8
# Of floating numbers: how far means may lie apart, in standard deviations, and how far these.
_SHIFT, _SPREAD = 1.2, 1.8


@dataclass(frozen=True)
class PixelStatistics:
    """Of the values that a network is given: whether they are bytes; mean, deviation, range."""

    bytes: bool
    mean: float
    std: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.4g} to {self.high:.4g}, {self.mean:.3g} on average"


@np.errstate(over="ignore", invalid="ignore")  # what overflows is not finite, and so is None
def pixel_statistics(images: Any) -> PixelStatistics | None:
    """Those of up to 256 of ``images``, an array or source (N, H, W, C); None where not finite."""
    count = int(images.shape[0])
    step = -(-count // _LOOKED_AT)
    at_once = images_at_once(images.shape[1:], _AT_A_TIME)
    sums, low, high, seen = np.zeros(2), math.inf, -math.inf, 0
    for start in range(0, count, step * at_once):
        stop = min(start + step * at_once, count)
        values = part(images, slice(start, stop, step))
        seen += values.size
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
            numbers = values.astype(np.float64)
            sums += numbers.sum(), np.square(numbers).sum()
    if not seen:
        return None
    mean, square = sums / seen
    deviation = math.sqrt(max(0.0, square - mean * mean)) if math.isfinite(square) else square
    is_bytes = str(images.dtype).endswith("uint8")
    found = PixelStatistics(is_bytes, float(mean), float(deviation), low, high)
    return found if all(map(math.isfinite, astuple(found))) else None


def check_pixels(value: Any) -> PixelStatistics | None:
    """``value`` as it stands in a file, or ValueError, TypeError."""
    if value is None:
        return None
    found = PixelStatistics(bool(value["bytes"]), *(float(value[name]) for name in _NUMBERS))
    if not all(map(math.isfinite, astuple(found))):
        message = f"pixels must be finite, got {value!r}"
        raise ValueError(message)
    return found


class Trained(Protocol):
    """What is asked of a model: what it knows of the images and labels that it was trained on."""

    background: Background | None
    pixels: PixelStatistics | None
    classes: int
    class_names: tuple[str, ...] | None

    @property
    def steps_done(self) -> int: ...


_NUMBERS = ("mean", "std", "low", "high")


def look_of(model: "Trained", x: ImageSource) -> tuple[Background | None, PixelStatistics | None]:
    """What ``model`` keeps of the look of its training images: that of the first set, else of ``x``."""
    return model.background or background(x), model.pixels or pixel_statistics(x)


def tell_strange(
    who: str,
    model: "Trained",
    say: Callable[[str, str], None],
    x: ImageSource,
    y: ImageSource | None = None,
) -> None:
    """Say what about images ``x`` and labels ``y`` is unlike those that ``model`` was trained on.

    ``who`` is "fit", "evaluate" or "predict"; ``say`` is called with a line and its kind.
    """
    ground = None if who == "predict" else model.background  # who shows pictures minds it
    say(strange_pixels(model.pixels, ground, x), "pixels")
    if who == "fit" and model.pixels is None and int(x.shape[0]) >= _FEWEST:
        seen = pixel_statistics(x)
        doubt = doubt_of_bits(seen.high) if seen is not None and seen.bytes else ""
        say(f"images: {doubt}" if doubt else "", "pixels")
    if y is not None and str(y.dtype).endswith("int32") and len(y.shape) == 1:
        anew = who == "fit" and not model.steps_done
        labels = part(y, slice(None))
        say(strange_labels(who, labels, model.classes, model.class_names, anew), f"{who}: labels")


def strange_pixels(known: PixelStatistics | None, ground: Background | None, images: Any) -> str:
    """A line where ``images`` are scaled or coloured unlike those trained on; else empty.

    ``known`` and ``ground`` are of the images trained on; a ``ground`` of None is not compared.
    """
    if int(images.shape[0]) < _FEWEST:
        return ""
    if ground is not None:
        found = background(images)
        if found not in (None, ground):
            return (
                f"images: their background is {found}, that of the training images {ground}: "
                "nothing is inverted here, and what is told of them means little; pass 255 - images"
            )
    shown = None if known is None else pixel_statistics(images)
    if known is None or shown is None or shown.bytes != known.bytes or not _differ(known, shown):
        return ""
    return f"images: values are {shown}; of the training images {known}: scale both in one way"


def _differ(known: PixelStatistics, shown: PixelStatistics) -> bool:
    if known.bytes:
        low, high = sorted((known.high, shown.high))
        return low * _BYTES_APART <= high
    spread = max(known.std, 1e-12) / max(shown.std, 1e-12)
    shift = abs(shown.mean - known.mean) / max(known.std, 1e-12)
    return shift > _SHIFT or not 1 / _SPREAD < spread < _SPREAD


def strange_labels(
    who: str, labels: npt.NDArray[Any], classes: int, names: Sequence[str] | None, anew: bool
) -> str:
    """A line where ``labels``, (N,), are of one class, or leave some out of a training ``anew``."""
    counts = np.bincount(labels, minlength=classes)
    named = names or [str(number) for number in range(classes)]
    occurring = np.flatnonzero(counts)
    if len(labels) > 1 and len(occurring) == 1 and classes > 1:
        meaning = (
            "whatever is shown later will be taken for it"
            if who == "fit"
            else "the accuracy does not show that it is told from any other"
        )
        return f"{who}: all {len(labels)} images are of class {named[occurring[0]]!r}: {meaning}"
    if anew and len(labels) >= max(_FEWEST, classes) and len(occurring) < classes:
        absent = [repr(named[number]) for number in np.flatnonzero(counts == 0)[:8]]
        more = "" if len(absent) == classes - len(occurring) else ", ..."
        return (
            f"{who}: {classes - len(occurring)} of {classes} classes have no images "
            f"({', '.join(absent)}{more}): the model will not know them"
        )
    return ""
