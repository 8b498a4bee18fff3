"""What a reader of a data set returns: parts that are not checked yet, and what it leaves out."""

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arraycnn.data.file_kinds import kind_of
from arraycnn.data.visible_files import is_hidden
from arraycnn.errors import one_line

PARTS = ("train", "validation", "test")
_NAMES_SHOWN = 3


@dataclass
class LeftOut:
    """What was found and is not used, counted by reason.

    A reason is a noun with ``{s}`` where its plural has an s: "picture{s} without a label".
    """

    counts: Counter[str] = field(default_factory=Counter)
    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str = "", count: int = 1) -> None:
        self.counts[reason] += count
        if name:
            self.names.setdefault(reason, []).append(name)

    def take(self, other: "LeftOut") -> None:
        """What ``other`` counted, too."""
        self.counts.update(other.counts)
        for reason, names in other.names.items():
            self.names.setdefault(reason, []).extend(names)

    def add_path(self, path: Path, name: str = "") -> None:
        """A file, folder or link, by its kind."""
        self.add(_reason(path), "" if is_hidden(path.name) else name or path.name)

    def add_rest(self, folder: Path, used: Collection[Path]) -> None:
        """What lies in ``folder`` itself and is not among the ``used``."""
        for path in sorted(folder.iterdir()):
            if path not in used:
                self.add_path(path)

    def __str__(self) -> str:
        """Such as "3 hidden files, 2 linked folders (cat2, dog2)"; empty where there is nothing."""
        return ", ".join(self._told(reason) for reason in self.counts)

    def _told(self, reason: str) -> str:
        count, names = self.counts[reason], self.names.get(reason, [])
        text = f"{count} {reason.replace('{s}', '' if count == 1 else 's')}"
        if not names:
            return text
        more = ", ..." if len(names) > _NAMES_SHOWN else ""
        return f"{text} ({', '.join(map(one_line, names[:_NAMES_SHOWN]))}{more})"


@dataclass(frozen=True)
class FoundPart:
    """Images and labels as a file holds them, and the place of each for errors.

    ``images`` is (N, H, W), (N, H, W, C) or, one row an image, (N, H*W*C); an `ImageSource` is
    taken as it is. ``labels`` are whole numbers or texts. ``damaged``, (N,), marks the images that
    could not be read.
    """

    images: Any
    labels: Any
    images_where: str
    labels_where: str
    damaged: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Found:
    """The parts ("train", and perhaps "validation" and "test") of a set, as a reader found them."""

    parts: dict[str, FoundPart]
    class_names: Sequence[str] | None = None
    left_out: LeftOut = field(default_factory=LeftOut)


def _reason(path: Path) -> str:
    if is_hidden(path.name):
        return "hidden folder{s}" if path.is_dir() else "hidden file{s}"
    if path.is_dir():
        return "linked folder{s}" if path.is_symlink() else "folder{s}"
    if not path.exists():
        return "broken link{s}"
    if not path.is_file():
        return "pipe{s} or device{s}"
    kind = kind_of(path)
    if kind is not None:
        return f"{kind.name} file{{s}}"
    suffix = os.path.splitext(path.name)[1].lower()
    return f"{one_line(suffix)} file{{s}}" if suffix else "file{s} without a suffix"
