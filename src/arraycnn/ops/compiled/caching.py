"""Where compiled kernels are kept between runs, on a machine that may let us write nowhere.

In ARRAYCNN_KERNELS, else beside the source, else in the user's cache, else among temporary files.
What is kept is machine code: the last two are only used where nobody else can have written to them.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from functools import cache
from pathlib import Path

from arraycnn.errors import one_line

_log = logging.getLogger("arraycnn")

_NOBODY = 65534
"""The owner that a container shows for files of users it does not know, as those of its host's root."""


@cache
def cache_folder() -> Path | None:
    """The folder of this process; None where there is no place for one."""
    for place in (_chosen(), _beside_the_source()):
        if place is not None and _is_writable(place):
            return place
    for root, lasts in ((users_root(), True), (_temporary_root(), False)):
        if root is None or not _is_private(root / "code"):
            continue
        if not lasts:
            _tell(
                f"numpy: no cache can be written; compiled kernels are kept in {root}, which "
                "may not last; set ARRAYCNN_KERNELS to a folder that you may write"
            )
        return root / "code"
    _tell(
        "numpy: no cache can be written and be this user's alone; kernels are compiled anew in "
        "each run; set ARRAYCNN_KERNELS to a folder that you may write"
    )
    return None


def tell_not_kept(error: OSError) -> None:
    """Say, once a process, that what was compiled could not be written."""
    _tell(f"numpy: a compiled kernel cannot be kept ({one_line(error)}); it runs all the same")


@cache
def _tell(message: str) -> None:
    """Once a process, as it holds for every kernel."""
    _log.warning("%s", message)


def _chosen() -> Path | None:
    """The user's choice; NUMBA_CACHE_DIR is what earlier versions read."""
    own, earlier = (os.environ.get(name, "") for name in ("ARRAYCNN_KERNELS", "NUMBA_CACHE_DIR"))
    if own or not earlier:
        return Path(own).absolute() if own else None
    return Path(earlier).absolute() / "arraycnn"


def _beside_the_source() -> Path:
    return Path(__file__).parent / "__pycache__"


def users_root() -> Path | None:
    """In $XDG_CACHE_HOME or ~/.cache; None where this account has no home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(base if os.path.isabs(base) else os.path.expanduser("~/.cache"))
    return folder / "arraycnn" / "kernels" if folder.is_absolute() else None


def _temporary_root() -> Path | None:
    """A folder for each user in that for temporary files."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    try:
        return Path(tempfile.gettempdir()).absolute() / f"arraycnn-{user}"
    except OSError:  # not even a temporary file can be written
        return None


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _is_private(folder: Path) -> bool:
    """Whether ``folder`` is this user's alone, and can be written."""
    try:
        make_private(folder)
    except OSError:
        return False
    return _is_writable(folder)


def make_private(folder: Path) -> None:
    """Make ``folder``, and its parent, this user's alone, or raise OSError where it is not.

    Whoever else could have written to it, or could put another one in its place, could have us run
    their code: it must be our own, no link, and closed to others for writing, and so must be what it
    lies in, or sticky.
    """
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    own = hasattr(os, "getuid")  # on Windows such folders lie in the user's profile
    around = folder.parent.parent.resolve()
    for place in (around, *around.parents) if own else ():
        found = place.stat()
        open_to_all = found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX
        if found.st_uid not in (0, os.getuid(), _NOBODY) or open_to_all:
            raise PermissionError(f"{place}: others may put another folder into it")
    for place in (folder.parent, folder):
        place.mkdir(mode=0o700, exist_ok=True)
        found = place.lstat()
        mine = stat.S_ISDIR(found.st_mode) and (not own or found.st_uid == os.getuid())
        if not mine or (own and found.st_mode & 0o022):
            raise PermissionError(f"{place}: is not this user's alone")
