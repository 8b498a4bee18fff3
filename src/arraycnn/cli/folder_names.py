"""What the folders that pictures lie in say of the classes told; compared, never relied on."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from arraycnn.cli.console import counted
from arraycnn.model.class_names import listed, match_classes


class FolderNames:
    """Counts, for the pictures in subfolders of the folders named, which class each was told to be.

    ``classes`` are the names of the model's, or their numbers.
    """

    def __init__(self, arguments: Sequence[str], classes: Sequence[str]) -> None:
        self._folders = [Path(argument) for argument in arguments if Path(argument).is_dir()]
        self._classes = classes
        self._told: Counter[tuple[str, int]] = Counter()

    def add(self, name: str, told: int) -> None:
        """The picture at the path ``name`` was told to be of that class."""
        for folder in self._folders:
            if Path(name).is_relative_to(folder):
                inner = Path(name).relative_to(folder).parts[:-1]
                if inner:
                    self._told[inner[0], told] += 1
                return

    def said(self) -> str:
        """The line to say; empty where folders say nothing, as a single one of another name."""
        names = sorted({name for name, _ in self._told})
        found = match_classes("folders", self._classes, len(self._classes), names, ())
        numbers = dict(zip(names, found.numbers.tolist(), strict=True))
        unknown = [name for name in names if numbers[name] < 0]
        if len(names) < 2 and unknown == names:
            return ""
        known = sum(n for (name, _), n in self._told.items() if numbers[name] >= 0)
        agree = sum(n for (name, told), n in self._told.items() if numbers[name] == told)
        parts = []
        if known:
            parts.append(
                f"{agree} of {counted(known, 'picture')} in the folder of the class told, "
                "which evaluate measures"
            )
        if unknown:
            parts.append(f"folders that are no class of the model: {listed(unknown)}")
        return ", ".join(parts)
