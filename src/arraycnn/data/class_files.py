"""The names of the classes, in a file of text beside the data."""

from pathlib import Path

from arraycnn.errors import DataFileError

CLASS_FILES = ("class_names.txt", "classes.txt")
# Ten thousand classes with names of a hundred letters.
_MOST_BYTES = 2**20


def class_file(folder: Path) -> tuple[str, ...] | None:
    """The lines of class_names.txt or classes.txt, in the order of the class numbers."""
    path = next((folder / name for name in CLASS_FILES if (folder / name).is_file()), None)
    return None if path is None else lines_of(path)


def lines_of(path: Path) -> tuple[str, ...]:
    """The lines of a small file of text, without the empty ones.

    Raises `DataFileError` where it cannot be read, is no UTF-8 or has more than 1 MiB.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            reason = f"class names must be lines of text, {_MOST_BYTES} bytes at most, has more"
            raise DataFileError(path, reason, "write one name a line")
        lines = content.decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = f"class names must be lines of text, cannot be read ({error})"
        raise DataFileError(path, reason, "save it as UTF-8") from None
    return tuple(line.strip() for line in lines if line.strip())
