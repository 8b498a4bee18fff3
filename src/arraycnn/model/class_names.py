"""Classes are the same where their names are: data in the numbers of the model that meets them."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from arraycnn.data.dataset import DataSet
from arraycnn.errors import DataError, one_line

_LISTED = 12


@dataclass(frozen=True, eq=False)
class Matching:
    """Which class of a model each class of some data is.

    Attributes
    ----------
    numbers : array, (K,), int32
        The model's number for each of the data's classes; -1 for one without images that the model
        does not know.
    names : tuple of str
        A name for each output of the model: its own, else the data's.
    said : str
        What a reader of the results should know of it; empty where names and order are the same.
    """

    numbers: npt.NDArray[np.int32]
    names: tuple[str, ...]
    said: str


def match_classes(
    where: str,
    known: Sequence[str] | None,
    outputs: int,
    shown: Sequence[str],
    used: Iterable[int],
    named: bool = True,
) -> Matching:
    """Match the classes of the data ``where`` with those of a model, by name.

    Names that are numbers are compared as numbers, so that 07 is 7; others as they are read, without
    spaces around them and in one normal form of Unicode. Where one side has no names, classes are
    taken by number, and that is said.

    Parameters
    ----------
    known : sequence of str or None
        The model's class names; None where it has none.
    outputs : int
        How many classes the model has.
    shown : sequence of str
        The data's class names, in the order of their numbers.
    used : iterable of int
        The classes that have images: only these must be known.
    named : bool
        False where the data have numbers only, of which ``shown`` consists.

    Raises
    ------
    DataError
        A class with images is not one of the model's; the message has both lists.
    """
    occurring = sorted({int(number) for number in used})
    if known is not None and (named or all(map(str.isdecimal, known))):
        numbers = _by_name(known, shown)
        by_number = False
    else:
        places = range(len(shown)) if named else map(int, shown)
        numbers = np.array([place if place < outputs else -1 for place in places], np.int32)
        by_number = known is not None or named
    names = tuple(known) if known is not None else _names_of_outputs(outputs, shown, numbers)
    unknown = [shown[number] for number in occurring if numbers[number] < 0]
    if unknown:
        has = f"knows {listed(known)}" if known else f"has {outputs} classes without names"
        message = (
            f"{where}: the classes must be those of the model, which {has}; got "
            f"{listed([shown[number] for number in occurring])}, of which it does not know "
            f"{listed(unknown)}; rename the classes, or take a model that was trained on them"
        )
        raise DataError(message)
    return Matching(
        numbers, names, _said(where, known, shown, numbers, by_number) if named or by_number else ""
    )


def in_the_models_numbers(
    data: DataSet, known: Sequence[str] | None, outputs: int
) -> tuple[DataSet, str]:
    """``data`` with the names and numbers of the model's classes, and what is to be said of it.

    Parameters and errors are those of `match_classes`.
    """
    if data.kind != "classes":
        return _in_the_models_order(data, known, outputs)
    used = np.unique(np.concatenate([labels for _, labels in data.parts.values()]))
    found = match_classes(data.name, known, outputs, data.class_names, used, data.named)
    renumbered = {
        part: (images, found.numbers[labels]) for part, (images, labels) in data.parts.items()
    }
    named = data.named or known is not None
    return data.with_parts(renumbered, class_names=found.names, named=named), found.said


def _in_the_models_order(
    data: DataSet, known: Sequence[str] | None, outputs: int
) -> tuple[DataSet, str]:
    """``data`` of labels that are no classes, with those of each image in the model's order."""
    shown = data.class_names
    if data.kind == "pixels" and len(shown) <= outputs:
        names = (
            tuple(known) if known is not None else (*shown, *map(str, range(len(shown), outputs)))
        )
        return data.with_parts({}, class_names=names), ""
    places = _by_name(known, shown) if known is not None and data.named else np.arange(len(shown))
    if len(shown) != outputs or sorted(places.tolist()) != list(range(outputs)):
        has = f"are {listed(known)}" if known else f"are {outputs} without names"
        message = (
            f"{data.name}: the labels must be those of the model, which {has}; got {listed(shown)}; "
            "rename the columns, or take a model that was trained on them"
        )
        raise DataError(message)
    names = tuple(known) if known is not None else shown
    if (np.diff(places) > 0).all():
        return data.with_parts({}, class_names=names), ""
    order = np.argsort(places)
    sorted_parts = {
        part: (images, labels[..., order]) for part, (images, labels) in data.parts.items()
    }
    said = f"{data.name}: its labels are in another order than the model's: matched by name"
    return data.with_parts(sorted_parts, class_names=names), said


def listed(names: Iterable[str]) -> str:
    """The names on one line; the first dozen where there are more."""
    every = list(names)
    text = ", ".join(one_line(name) if name.strip() else repr(name) for name in every[:_LISTED])
    return text if len(every) <= _LISTED else f"{text} and {len(every) - _LISTED} more"


def _by_name(known: Sequence[str], shown: Sequence[str]) -> npt.NDArray[np.int32]:
    alike = _alike(known), _alike(shown)
    if any(len(set(keys)) < len(keys) for keys in alike):  # 7 and 07 are two classes here
        alike = list(known), list(shown)
    places = {key: place for place, key in enumerate(alike[0])}
    return np.array([places.get(key, -1) for key in alike[1]], np.int32)


def _alike(names: Sequence[str]) -> list[str]:
    """The names in a form in which those that a reader takes for the same are equal."""
    plain = [unicodedata.normalize("NFC", name).strip() for name in names]
    return [str(int(name)) if name.isdecimal() else name for name in plain]


def _names_of_outputs(
    outputs: int, shown: Sequence[str], numbers: npt.NDArray[np.int32]
) -> tuple[str, ...]:
    names = [str(number) for number in range(outputs)]
    for name, number in zip(shown, numbers, strict=True):
        if number >= 0:
            names[number] = name
    return tuple(names)


def _said(
    where: str,
    known: Sequence[str] | None,
    shown: Sequence[str],
    numbers: npt.NDArray[np.int32],
    by_number: bool,
) -> str:
    if by_number:
        who, names = ("the model", shown) if known is None else ("the data set", known)
        numbered = listed(f"{number} is {name}" for number, name in enumerate(names))
        return f"{where}: {who} has no class names, so classes are taken by number: {numbered}"
    matched = numbers[numbers >= 0]
    if (np.diff(matched) < 0).any():
        return f"{where}: its classes are in another order than the model's: matched by name"
    return ""
