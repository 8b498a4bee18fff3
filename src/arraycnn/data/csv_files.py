"""A labelled set from tables of text: one file, or the files of a folder by their names."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arraycnn.data.class_files import CLASS_FILES, class_file
from arraycnn.data.csv_table import BETWEEN, NUMBER, Layout, count_rows, find_layout, read_table
from arraycnn.data.flat_rows import Size, row_shape
from arraycnn.data.label_kinds import LabelKind
from arraycnn.data.reader_result import PARTS, Found, FoundPart, LeftOut
from arraycnn.data.visible_files import visible_files
from arraycnn.errors import DataError, DataFileError, one_line

_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
# Which part a file is, by a word in its name.
_WORDS = {
    "train": r"train|training",
    "validation": r"val|valid|validation|dev",
    "test": r"test|t10k",
}
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,9}(\.0*)?")


def is_csv_file(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(_ENDINGS)


def is_csv_folder(folder: Path, size: Size | None, kind: LabelKind = "classes") -> bool:
    """Whether ``folder`` holds a table of pixels, not only lists of names."""
    return any(
        is_csv_file(path) and find_layout(path, size, kind) for path in visible_files(folder)
    )


def find_csv_folder(
    folder: Path,
    class_names: Sequence[str] | None,
    size: Size | None,
    kind: LabelKind = "classes",
) -> Found:
    """The set of the tables in ``folder``. Raises `DataError` where there are two for one part."""
    left_out = LeftOut()
    tables: dict[str, tuple[Path, Layout]] = {}
    used = [folder / name for name in CLASS_FILES]
    for path in visible_files(folder):
        layout = find_layout(path, size, kind) if is_csv_file(path) else None
        if layout is None:
            continue
        used.append(path)
        if layout.label is None:
            left_out.add("image{s} without a label", path.name, count_rows(path, layout))
            continue
        part = _part(path)
        if part in tables:
            message = (
                f"{folder}: must hold one table to {part} with, holds {tables[part][0].name} and "
                f"{path.name}; name the file itself"
            )
            raise DataError(message)
        tables[part] = (path, layout)
    left_out.add_rest(folder, used)
    if "train" not in tables:
        message = (
            f"{folder}: must hold a table with labels to train on, holds {left_out}"
            f"{' and one to test on: name that file itself' if 'test' in tables else ''}"
        )
        raise DataError(message)
    return _read(tables, class_names or class_file(folder), size, left_out, kind)


def find_csv_file(
    path: Path,
    class_names: Sequence[str] | None,
    size: Size | None,
    kind: LabelKind = "classes",
) -> Found:
    """The set of one table, and of those beside it that have "test" for "train" in their name."""
    layout = find_layout(path, size, kind)
    if layout is None or layout.label is None:
        has = "holds another kind of table" if layout is None else "has no labels"
        if layout is not None and layout.names is None:
            has += (
                f" (its {layout.columns} columns are an image: train --image-size can say another)"
            )
        reason = f"must have a column of labels and columns of pixels, {has}"
        remedy = "name the file that has: such as label,pixel0,...,pixel783, one image a row"
        raise DataFileError(path, reason, remedy)
    left_out = LeftOut()
    tables = {"train": (path, layout)}
    for part in ("validation", "test") if _part(path) == "train" else ():
        for word in _WORDS[part].split("|"):
            beside = path.with_name(path.name.replace("train", word))
            if part in tables or beside == path or not is_csv_file(beside):
                continue
            other = find_layout(beside, size, kind)
            if other is not None and other.label is None:
                left_out.add("image{s} without a label", beside.name, count_rows(beside, other))
            elif other is not None:
                tables[part] = (beside, other)
    return _read(tables, class_names or class_file(path.parent), size, left_out, kind)


def _part(path: Path) -> str:
    """Which part a table is, by the words in its name; one without such a word is to train on."""
    words = re.split("[^a-z0-9]+", path.name.lower())
    for part in PARTS:
        if any(re.fullmatch(f"({_WORDS[part]})[0-9]*", word) for word in words):
            return part
    return "train"


def _read(
    tables: dict[str, tuple[Path, Layout]],
    class_names: Sequence[str] | None,
    size: Size | None,
    left_out: LeftOut,
    kind: LabelKind,
) -> Found:
    parts = {}
    for part, (path, layout) in tables.items():
        table = read_table(path, layout)
        shape = row_shape(layout.pixels, size, str(path))
        images = table.pixels.reshape(-1, *shape)
        parts[part] = FoundPart(images, table.labels, str(path), str(path))
        for place in layout.others:
            left_out.add("column{s}", layout.names[place] if layout.names else "")
    if kind in ("labels", "numbers"):
        _check_columns(tables)
        layout = tables["train"][1]
        if layout.names is not None:
            class_names = class_names or [layout.names[place] for place in layout.labels]
        several = {
            part: replace(found, labels=_numbers(found.labels, *tables[part]))
            for part, found in parts.items()
        }
        return Found(_with_test(several), class_names, left_out)
    whole = all(_WHOLE_NUMBER.fullmatch(label) for part in parts.values() for label in part.labels)
    numbered = {
        part: FoundPart(
            found.images, _labels(found.labels, whole), found.images_where, found.labels_where
        )
        for part, found in parts.items()
    }
    return Found(_with_test(numbered), class_names, left_out)


def _with_test(parts: dict[str, FoundPart]) -> dict[str, FoundPart]:
    """Images of validation are the test where there is none."""
    if "test" not in parts and "validation" in parts:
        return {"test": parts["validation"]} | {
            part: found for part, found in parts.items() if part != "validation"
        }
    return parts


def _check_columns(tables: dict[str, tuple[Path, Layout]]) -> None:
    """Refuse tables whose columns of labels are others, or in another order."""
    path, train = tables["train"]
    for other, layout in tables.values():
        one, two = ([one.column(place) for place in one.labels] for one in (train, layout))
        if [name.partition(" ")[2] for name in one] != [name.partition(" ")[2] for name in two]:
            reason = f"must have the columns of labels of {path.name}, {', '.join(one)}"
            raise DataFileError(other, f"{reason}, has {', '.join(two)}", "write both alike")


def _numbers(texts: list[str], path: Path, layout: Layout) -> npt.NDArray[np.float64]:
    """Labels of several columns, (N, columns)."""
    rows = [text.split(BETWEEN) for text in texts]
    for number, cells in enumerate(rows, start=1):
        for place, cell in zip(layout.labels, cells, strict=True):
            if not NUMBER.fullmatch(cell):
                reason = (
                    f"labels must be numbers, {layout.column(place)} has {one_line(cell)[:40]!r}"
                )
                raise DataFileError(path, f"{reason} for image {number}", "correct that row")
    return np.array(rows, np.float64)


def _labels(labels: list[str], whole: bool) -> npt.NDArray[Any]:
    """Numbers of classes where all labels are, else texts."""
    return np.array([int(float(label)) for label in labels]) if whole else np.array(labels)
