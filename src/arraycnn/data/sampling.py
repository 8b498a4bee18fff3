"""A few of many images, drawn within classes; and what a set with too few of a class cannot show."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from arraycnn.data.label_kinds import LabelKind
from arraycnn.errors import DataError, one_line

_LISTED = 12


def sample_by_class(
    labels: npt.NDArray[np.integer[Any]], count: int, seed: Sequence[int]
) -> npt.NDArray[np.int64]:
    """Which ``count`` of the images to keep: sorted int64 indices, all where there are fewer.

    Classes are shared among as they are in ``labels``, (N,), by largest remainder, and each keeps
    at least one image where ``count`` allows it. The same seed draws the same images.
    """
    if count >= labels.size:
        return np.arange(labels.size)
    _, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    rng = np.random.default_rng(list(seed))
    kept = np.zeros(labels.size, np.bool_)
    for position, share in enumerate(_shares([int(size) for size in sizes], count)):
        members = np.flatnonzero(inverse == position)
        kept[rng.permutation(members)[:share]] = True
    return np.flatnonzero(kept)


def check_can_be_learned(name: str, class_names: Sequence[str], labels: npt.ArrayLike) -> None:
    """Refuse training images that are all of one class: whatever is shown, it would be that."""
    found = np.unique(np.asarray(labels))
    if len(found) > 1:
        return
    message = (
        f"{name}: training needs images of at least two classes, got "
        f"{np.size(labels)} of {one_line(class_names[found[0]])!r} and none of another; add a class, "
        "leave out --limit, or name the folder whose subfolders are the classes"
    )
    raise DataError(message)


def gaps(
    name: str,
    class_names: Sequence[str],
    train: npt.ArrayLike,
    validation: npt.ArrayLike,
    test: npt.ArrayLike,
) -> list[str]:
    """What cannot be learned or judged for want of images, a line each; from the parts' labels."""
    trained, tested = (_counts(labels, len(class_names)) for labels in (train, test))
    trained = trained + _counts(validation, len(class_names))
    lines = []

    def say(where: npt.NDArray[np.bool_], has: str, what: str) -> None:
        if where.any():
            verb = "has" if where.sum() == 1 else "have"
            lines.append(f"{name}: {_classes(class_names, where)} {verb} {has}: {what}")

    say((trained == 0) & (tested == 0), "no images", "an output of which nothing is known")
    say((trained == 0) & (tested > 0), "no training images", "tested, but never learned")
    once = (trained == 1) & (tested == 0)
    say(once, "1 image", "trained on, never tested")
    say((trained > 0) & (tested == 0) & ~once, "no test images", "trained on, never tested")
    if one := one_class(name, "validation", class_names, validation):
        lines.append(one)
    return lines


def nothing_to_learn(
    name: str, output_names: Sequence[str], labels: npt.NDArray[Any], kind: LabelKind
) -> list[str]:
    """A line on outputs that are the same for all training images, ``labels`` of another kind."""
    if kind == "pixels":
        constant = _counts(labels.reshape(-1), len(output_names)) == 0
        what, then = "no training pixels", "an output of which nothing is known"
    else:
        of_each = labels.reshape(-1, labels.shape[-1])
        constant = np.ptp(of_each, axis=0) == 0
        what, then = "one value in all training images", "there is nothing to learn"
    if not constant.any():
        return []
    verb = "has" if constant.sum() == 1 else "have"
    whose = _classes(output_names, constant, kind="class" if kind == "pixels" else "label")
    return [f"{name}: {whose} {verb} {what}: {then}"]


def one_class(name: str, part: str, class_names: Sequence[str], labels: npt.ArrayLike) -> str:
    """A line on images that are all of one class, which no accuracy means anything on; else ""."""
    found = np.unique(np.asarray(labels))
    if len(found) != 1:
        return ""
    return (
        f"{name}: every {_image(part)} is of class {one_line(class_names[found[0]])!r}: "
        "the accuracy does not show that it is told from any other"
    )


def unmeasured(name: str, part: str, class_names: Sequence[str], labels: npt.ArrayLike) -> str:
    """A line on what images with these ``labels`` do not measure; empty where all classes occur."""
    if one := one_class(name, part, class_names, labels):
        return one
    absent = _counts(labels, len(class_names)) == 0
    if not absent.any():
        return ""
    verb = "has" if absent.sum() == 1 else "have"
    return f"{name}: {_classes(class_names, absent)} {verb} no {_image(part)}s: not measured"


def _image(part: str) -> str:
    return f"{part} image" if part else "image"


def _counts(labels: npt.ArrayLike, classes: int) -> npt.NDArray[np.intp]:
    return np.bincount(np.asarray(labels, dtype=np.intp), minlength=classes)


def _classes(names: Sequence[str], where: npt.NDArray[np.bool_], kind: str = "class") -> str:
    """class 'a', or 2 of 10 classes (a, b)."""
    chosen = [one_line(name) for name, here in zip(names, where, strict=True) if here]
    if len(chosen) == 1:
        return f"{kind} {chosen[0]!r}"
    more = f" and {len(chosen) - _LISTED} more" if len(chosen) > _LISTED else ""
    several = "classes" if kind == "class" else f"{kind}s"
    return f"{len(chosen)} of {len(names)} {several} ({', '.join(chosen[:_LISTED])}{more})"


def _shares(sizes: list[int], count: int) -> list[int]:
    """How many of ``count`` images each class gives, in integers: a float quota could lose one."""
    least = 1 if count >= len(sizes) else 0
    room = [size - least for size in sizes]
    whole, rest = sum(room), count - least * len(sizes)
    shares = [size * rest // whole for size in room]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (-(room[i] * rest % whole), i))
    for position in by_remainder[: rest - sum(shares)]:
        shares[position] += 1
    return [least + share for share in shares]
