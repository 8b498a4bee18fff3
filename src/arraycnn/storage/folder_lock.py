"""`FolderLock`: one process at a time works in a folder."""

import os
import platform
from datetime import datetime
from pathlib import Path
from types import TracebackType

from arraycnn.errors import RunFolderError

try:
    import fcntl
except ImportError:  # Windows; there, nothing is locked
    fcntl = None  # type: ignore[assignment]


class FolderLock:
    """Holds a folder from its making until `release`, or the end of the process, however it comes.

    The lock is one of the operating system (flock) on the file ``.lock``, which names the holder.

    Raises
    ------
    RunFolderError
        Another process holds it; the message says which.
    OSError
        The file cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".lock"
        self._descriptor = self._acquire()
        os.ftruncate(self._descriptor, 0)
        since = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
        holder = f"process {os.getpid()} on {platform.node()} since {since}"
        os.write(self._descriptor, holder.encode())

    def release(self) -> None:
        """Let others in; again and again does no harm."""
        if self._descriptor < 0:
            return
        if self.is_ours():
            self._path.unlink()
        os.close(self._descriptor)
        self._descriptor = -1

    def is_ours(self) -> bool:
        """Whether the folder is the one that is held: another one may have come to its place."""
        return self._descriptor >= 0 and self._is_file_of(self._descriptor)

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _acquire(self) -> int:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                if fcntl is not None:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(descriptor, 200).decode(errors="replace") or "another process"
                os.close(descriptor)
                message = (
                    f"run folder {self._path.parent}: is in use by {holder}; "
                    "wait until that ends, or stop it"
                )
                raise RunFolderError(message) from None
            except BaseException:
                os.close(descriptor)
                raise
            if self._is_file_of(descriptor):
                return descriptor
            os.close(descriptor)  # its holder removed the file after we had opened it

    def _is_file_of(self, descriptor: int) -> bool:
        """Whether the file of that name is the one that is open, and not a later one."""
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        except (FileNotFoundError, NotADirectoryError):
            return False
