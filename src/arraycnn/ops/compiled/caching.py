"""Where compiled kernels are kept between runs, on a machine that may let us write nowhere.

numba keeps them in NUMBA_CACHE_DIR, else beside the source, else in the user's cache. It raises where
it can write to none of these, and takes what it finds there for its own. What is kept is machine code:
the folders that are added here are only used where nobody else can have written to them.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numba.core.caching

from arraycnn.errors import one_line

_log = logging.getLogger("arraycnn")

_numba: Any = numba.core.caching
# By name: older versions begin them with an underscore.
_NUMBAS = {
    place.__name__.lstrip("_"): place for place in _numba.CompileResultCacheImpl._locator_classes
}
_UserWide: Any = _NUMBAS["UserWideCacheLocator"]

_NOBODY = 65534
"""The owner that a container shows for files of users it does not know, as those of its host's root."""


def kernel_cache(function: Any) -> Any:
    """What keeps the machine code of ``function``; nothing does where there is no place for it."""
    try:
        return _KernelCache(function)
    except Exception:  # numba's own for "nowhere" is a bare RuntimeError
        _tell(
            "numba: no cache can be written and be this user's alone; kernels are compiled anew in "
            "each run; set NUMBA_CACHE_DIR to a folder that you may write"
        )
        return _numba.NullCache()


def is_kept(compiled: Any) -> bool:
    """Whether the machine code of ``compiled`` is there for the next process."""
    return isinstance(compiled._cache, _KernelCache)


@cache
def _tell(message: str) -> None:
    """Once a process, as it holds for every kernel."""
    _log.warning("%s", message)


class _PrivateFolder(_UserWide):
    """A locator in a folder that is this user's alone."""

    def ensure_cache_path(self) -> None:
        make_private(Path(self._cache_path))
        super().ensure_cache_path()

    @staticmethod
    def root() -> Path | None:
        """Where the folder is to be; None where this account has no such place."""
        raise NotImplementedError

    @classmethod
    def from_function(cls, function: Any, file: str) -> Any:
        root = cls.root()
        if root is None or not os.path.exists(file):
            return None
        locator = cls(function, file)
        locator._cache_path = str(root / cls.get_suitable_cache_subpath(file))
        try:
            locator.ensure_cache_path()
        except OSError:
            return None
        return locator


class _InUsersCache(_PrivateFolder):
    """$XDG_CACHE_HOME or ~/.cache. numba's own would make a folder called ~ where there is no home."""

    @staticmethod
    def root() -> Path | None:
        base = os.environ.get("XDG_CACHE_HOME", "")
        folder = Path(base if os.path.isabs(base) else os.path.expanduser("~/.cache"))
        return folder / "arraycnn" / "kernels" if folder.is_absolute() else None


class _InTemporaryFolder(_PrivateFolder):
    """A folder for each user in that for temporary files."""

    @staticmethod
    def root() -> Path | None:
        user = os.getuid() if hasattr(os, "getuid") else "user"
        try:
            return Path(tempfile.gettempdir()).absolute() / f"arraycnn-{user}"
        except OSError:  # not even a temporary file can be written
            return None

    @classmethod
    def from_function(cls, function: Any, file: str) -> Any:
        locator = super().from_function(function, file)
        if locator is not None:
            _tell(
                f"numba: no cache can be written; compiled kernels are kept in {cls.root()}, which "
                "may not last; set NUMBA_CACHE_DIR to a folder that you may write"
            )
        return locator


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


class _Implementation(_numba.CompileResultCacheImpl):
    _locator_classes = (
        *(_NUMBAS["UserProvidedCacheLocator"], _NUMBAS["InTreeCacheLocator"]),
        *(_InUsersCache, _InTemporaryFolder),
    )


class _KernelCache(_numba.FunctionCache):
    """numba's, for which a damaged file is one that is missing, and a full disk no reason to stop."""

    _impl_class = _Implementation

    def load_overload(self, signature: Any, context: Any) -> Any:
        try:
            return super().load_overload(signature, context)
        except Exception:  # whatever unpickling garbage raises
            self._forget()
            return None

    def save_overload(self, signature: Any, result: Any) -> None:
        try:
            super().save_overload(signature, result)
        except Exception as error:
            _tell(
                f"numba: a compiled kernel cannot be kept ({one_line(error)}); it runs all the same"
            )

    def _forget(self) -> None:
        try:
            self.flush()
        except Exception:
            self.disable()
