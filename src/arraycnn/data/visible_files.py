"""Which files people mean: not those that systems leave beside them."""

from pathlib import Path

_OF_THE_SYSTEM = frozenset(
    {"thumbs.db", "desktop.ini", "__macosx", "$recycle.bin", "system volume information"}
    | {"lost+found", "@eadir"}
)


def is_hidden(name: str) -> bool:
    """Whether nobody put the file or folder called ``name`` there on purpose, as far as names tell."""
    return name.startswith(".") or name.lower() in _OF_THE_SYSTEM


def visible_files(folder: Path) -> list[Path]:
    """The files in ``folder`` itself, in the order of their names, without hidden ones."""
    return sorted(path for path in folder.iterdir() if not is_hidden(path.name) and path.is_file())
