"""Reading a table of text in which each row is an image, a label and its pixels; some rows at a time.

The kinds that are around: with a header such as label,pixel0,...,pixel783 (Kaggle), or label,1x1,...,
or pixel0000,...,label; without one, the label first; without labels. Commas, semicolons or tabs;
plain or gzipped. (RFC 4180 says what quotes mean.)
"""

import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arraycnn.data.flat_rows import Size, is_row_of
from arraycnn.data.idx import MAX_BYTES
from arraycnn.data.label_kinds import LabelKind
from arraycnn.errors import DataFileError, one_line

_ROWS_AT_A_TIME = 512
_LONGEST_LINE = 2**22
# All labels take as much memory as the longest.
LONGEST_LABEL = 200
_FEWEST_PIXELS = 4
# There are fewer bytes than that: a row of so many different numbers is one of names.
_MOST_PIXEL_VALUES = 257
_LABEL_NAMES = {"label", "labels", "class", "target", "y", "digit", "category", "letter"}
_ID_NAMES = {"", "id", "index", "imageid", "image_id", "unnamed: 0"}
_PIXEL_NAME = re.compile(r"(pixel|pix|px|p|x|col|column|v|attr)?[ _-]?[0-9]+([x_][0-9]+)*")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
_REMEDY = "correct that row"
BETWEEN = "\t"


@dataclass(frozen=True)
class Layout:
    """What the columns of a table are.

    Attributes
    ----------
    columns : int
    label : int or None
        Which column holds the labels.
    others : tuple of int
        Columns that are neither labels nor pixels.
    names : tuple of str, or None
        What the header says.
    delimiter : str
    more_labels : tuple of int
        Further columns of labels, behind ``label``, where there are several.
    """

    columns: int
    label: int | None
    others: tuple[int, ...]
    names: tuple[str, ...] | None
    delimiter: str
    more_labels: tuple[int, ...] = ()

    @property
    def labels(self) -> tuple[int, ...]:
        """All columns of labels, in order."""
        return () if self.label is None else (self.label, *self.more_labels)

    @property
    def unused(self) -> set[int]:
        """The columns that are no pixels."""
        return {*self.labels, *self.others}

    @property
    def pixels(self) -> int:
        return self.columns - len(self.unused)

    def column(self, place: int) -> str:
        name = "" if self.names is None else f" ({one_line(self.names[place])})"
        return f"column {place + 1}{name}"


@dataclass
class Table:
    """Pixels, (N, K) uint8 or, where they have fractions, float32; labels as texts, (N,) or none.

    Of several columns a label is the texts of all, with `BETWEEN` between them.
    """

    layout: Layout
    pixels: npt.NDArray[Any]
    labels: list[str] = field(default_factory=list)


def find_layout(path: Path, size: Size | None = None, kind: LabelKind = "classes") -> Layout | None:
    """The columns of the table in ``path``; None where it is no table of pixels.

    For several "labels", or "numbers", all columns with a name of their own are labels.

    Raises `DataFileError` where the file cannot be read.
    """
    with _lines(path) as lines:
        first = next(lines, None)
    if first is None:
        return None
    text = first[1]
    delimiter = max(",;\t", key=text.count)
    cells = tuple(cell.strip() for cell in _cells(text, delimiter))
    if len(cells) < _FEWEST_PIXELS + 1:
        return None
    if _is_header(cells):
        return _of_header(cells, delimiter, several=kind in ("labels", "numbers"))
    numbers = [cell for cell in cells if NUMBER.fullmatch(cell)]
    if len(numbers) < len(cells) - 1:
        return None
    count = len(cells)
    unlabelled = len(numbers) == count and is_row_of(count, size) and not is_row_of(count - 1, size)
    return Layout(count, None if unlabelled else 0, (), None, delimiter)


def read_table(path: Path, layout: Layout) -> Table:
    """All rows of ``path``, in little more memory than its pixels take.

    Raises `DataFileError` where the file cannot be read, a row has another number of columns, a
    pixel is no number from 0 to 255, or the pixels take more than 1 GiB.
    """
    parts: list[npt.NDArray[Any]] = []
    labels: list[str] = []
    taken = 0
    for rows in _chunks(path, layout):
        made = [_divided(path, row, layout) for row in rows]
        if layout.label is not None:
            _check_labels(path, layout, rows, [label for label, _ in made])
        part = _numbers(path, layout, rows, [text for _, text in made])
        parts.append(part)
        labels += [label for label, _ in made]
        taken += part.nbytes
        if taken > MAX_BYTES:
            reason = f"pixels may take at most {MAX_BYTES} bytes, there are more"
            raise DataFileError(path, reason, "save them as .npy, which is mapped")
    if not parts:
        raise DataFileError(
            path, "must have at least one row of pixels, has none", "fetch it again"
        )
    kind = np.result_type(*{part.dtype for part in parts})
    pixels = np.empty((sum(map(len, parts)), layout.pixels), kind)
    done = len(pixels)
    while parts:  # each is given back as it is copied
        part = parts.pop()
        pixels[done - len(part) : done] = part
        done -= len(part)
    return Table(layout, pixels, labels if layout.label is not None else [])


def count_rows(path: Path, layout: Layout) -> int:
    """How many rows of images the table has."""
    return sum(len(rows) for rows in _chunks(path, layout))


_Line = tuple[int, str]
"""The byte at which a line begins, and its text."""


@contextmanager
def _lines(path: Path) -> Iterator[Iterator[_Line]]:
    """The lines of ``path`` that are not empty, all that can go wrong as `DataFileError`."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            yield _decoded(path, gzip.GzipFile(fileobj=file) if packed else file)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        reason = f"must be an intact gzip file, is damaged ({one_line(error)})"
        raise DataFileError(path, reason, "fetch it again") from None
    except OSError as error:
        reason = f"must be readable, the system says: {error.strerror or error}"
        raise DataFileError(path, reason, "check the file's permissions and the disk") from None


def _decoded(path: Path, stream: Any) -> Iterator[_Line]:
    offset = 0
    while line := stream.readline(_LONGEST_LINE + 1):
        if len(line) > _LONGEST_LINE:
            reason = f"a row may have at most {_LONGEST_LINE} bytes, has more"
            raise DataFileError(path, reason, "one image a line", offset)
        try:
            text = line.decode("utf-8-sig" if offset == 0 else "utf-8").strip("\r\n")
        except UnicodeDecodeError:
            raise DataFileError(path, "must be text, is not", "save it as UTF-8", offset) from None
        if text.strip():
            yield offset, text
        offset += len(line)


def _chunks(path: Path, layout: Layout) -> Iterator[list[_Line]]:
    with _lines(path) as lines:
        if layout.names is not None:
            next(lines)
        rows: list[_Line] = []
        for line in lines:
            rows.append(line)
            if len(rows) == _ROWS_AT_A_TIME:
                yield rows
                rows = []
        if rows:
            yield rows


def _cells(text: str, delimiter: str) -> list[str]:
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader([text], delimiter=delimiter))
    except csv.Error:  # a cell longer than csv takes
        return text.split(delimiter)


def _is_header(cells: tuple[str, ...]) -> bool:
    """Whether these are names: none but the label is a number, or all numbers differ."""
    texts = sum(not NUMBER.fullmatch(cell) for cell in cells)
    return texts > 1 or (len(cells) > _MOST_PIXEL_VALUES and len(set(cells)) == len(cells))


def _of_header(cells: tuple[str, ...], delimiter: str, several: bool) -> Layout | None:
    if all(NUMBER.fullmatch(cell) for cell in cells):
        # A program took the first row for names, and made each of them another.
        return Layout(len(cells), 0, (), cells, delimiter)
    names = [cell.lower() for cell in cells]
    labels = [place for place, name in enumerate(names) if name in _LABEL_NAMES]
    others = tuple(place for place, name in enumerate(names) if name in _ID_NAMES)
    odd = [
        place
        for place, name in enumerate(names)
        if place not in labels and place not in others and not _PIXEL_NAME.fullmatch(name)
    ]
    if several or (not labels and len(odd) == 1):
        labels, odd = sorted(labels + odd), []
    if odd or (len(labels) > 1 and not several):
        return None
    first = labels[0] if labels else None
    layout = Layout(len(cells), first, others, cells, delimiter, tuple(labels[1:]))
    return layout if layout.pixels >= _FEWEST_PIXELS else None


def _divided(path: Path, row: _Line, layout: Layout) -> tuple[str, str]:
    """The label of a row, and its pixels as text."""
    offset, text = row
    delimiter, label = layout.delimiter, layout.label
    is_plain = '"' not in text and not layout.others and not layout.more_labels
    if is_plain and text.count(delimiter) == layout.columns - 1:
        if label is None:
            return "", text
        if label == 0:
            first, _, rest = text.partition(delimiter)
            return first.strip(), rest
    cells = _cells(text, delimiter)
    if len(cells) != layout.columns:
        reason = f"every row must have {layout.columns} columns, one has {len(cells)}"
        raise DataFileError(path, reason, _REMEDY, offset)
    unused = layout.unused
    pixels = delimiter.join(cell for place, cell in enumerate(cells) if place not in unused)
    labels = [cells[place].strip() for place in layout.labels]
    if layout.more_labels:
        labels = [label.replace(BETWEEN, " ") for label in labels]
    return BETWEEN.join(labels), pixels


def _check_labels(path: Path, layout: Layout, rows: list[_Line], labels: list[str]) -> None:
    for (offset, _), texts in zip(rows, labels, strict=True):
        cells = texts.split(BETWEEN) if layout.more_labels else [texts]
        for place, label in zip(layout.labels, cells, strict=False):
            if 0 < len(label) <= LONGEST_LABEL:
                continue
            told = "an empty cell" if not label else f"{len(label)} letters"
            reason = f"labels must be numbers or short texts, {layout.column(place)} has"
            raise DataFileError(path, f"{reason} {told}", _REMEDY, offset)


def _numbers(path: Path, layout: Layout, rows: list[_Line], texts: list[str]) -> npt.NDArray[Any]:
    """The pixels of these rows: uint8 where all are whole, else float32."""
    for kind in (np.int64, np.float64):
        try:
            values = np.loadtxt(
                texts, kind, delimiter=layout.delimiter, comments=None, ndmin=2, encoding="utf-8"
            )
        except (ValueError, OverflowError):
            continue
        # A comparison with NaN is false.
        if (
            values.shape != (len(rows), layout.pixels)
            or not ((values >= 0) & (values <= 255)).all()
        ):
            break
        whole = kind is np.int64 or bool((values == np.rint(values)).all())
        return values.astype(np.uint8 if whole else np.float32)
    raise _wrong_pixel(path, layout, rows)


def _wrong_pixel(path: Path, layout: Layout, rows: list[_Line]) -> DataFileError:
    """Which cell it was."""
    unused = layout.unused
    for offset, text in rows:
        for place, cell in enumerate(_cells(text, layout.delimiter)):
            # Stripped: float() does not take all that Python and NumPy hold for blanks, such as \x1e.
            bare = cell.strip()
            number = float(bare) if NUMBER.fullmatch(bare) else float("nan")
            if place not in unused and not 0 <= number <= 255:
                told = repr(one_line(cell)[:40]) if bare else "an empty cell"
                reason = f"pixels must be numbers 0 to 255, {layout.column(place)} has {told}"
                return DataFileError(path, reason, _REMEDY, offset)
    reason = "rows cannot be read as numbers"
    return DataFileError(path, reason, "write pixels as whole numbers 0 to 255", rows[0][0])
