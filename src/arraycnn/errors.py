"""The errors a user can cause. Every message says who, the rule, the value and the remedy.

Each class also derives from the built-in that fits its kind, so ``except ValueError`` and
``except TypeError`` work as Python programmers expect; the command line catches `ArraycnnError`.
"""


def one_line(reason: object) -> str:
    """``reason`` as one short, printable line, where its words are a file's or a server's own."""
    text = " ".join(str(reason).split()) or type(reason).__name__
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:200]


class ArraycnnError(Exception):
    """Base of every error that input, settings, files or the machine can cause."""


class InvalidValueError(ArraycnnError, ValueError):
    """A value or a shape breaks a rule."""


class InvalidTypeError(ArraycnnError, TypeError):
    """A kind of object or a dtype breaks a rule."""


class BackendUnavailableError(ArraycnnError, RuntimeError):
    """A backend cannot run on this machine; the message names the cause and the remedy."""


class DataError(ArraycnnError, ValueError):
    """A data set, an image or a download is missing or not what it should be."""


class DataFileError(DataError):
    """A file is not what its format asks for.

    Attributes
    ----------
    path : str
    offset : int or None
        The byte where the fault is, counted in the decompressed data of a compressed file; None
        where it is the file as a whole.
    reason : str
    """

    def __init__(
        self, path: object, reason: str, remedy: str = "", offset: int | None = None
    ) -> None:
        self.path, self.reason, self.remedy, self.offset = str(path), reason, remedy, offset
        place = f"{path}" if offset is None else f"{path}, byte {offset}"
        super().__init__(f"{place}: {reason}; {remedy}" if remedy else f"{place}: {reason}")

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.path, self.reason, self.remedy, self.offset)


class CheckpointError(ArraycnnError, ValueError):
    """A model file is damaged, or describes something this version cannot build."""


class UnknownClassError(CheckpointError):
    """A file has a layer or a loss of a class that this library does not have.

    Attributes
    ----------
    what : str
        "layer 'Gate'".
    file : str
        "model file m.npz", or empty where that is not known yet.
    """

    def __init__(self, message: str, what: str, file: str = "") -> None:
        super().__init__(message)
        self.what, self.file = what, file

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (str(self), self.what, self.file)

    def within(self, file: str) -> "UnknownClassError":
        """The same with the name of the file in front."""
        return UnknownClassError(f"{file}: {self}", self.what, file)


class MissingPackageError(ArraycnnError, ImportError):
    """An optional package is not installed; the message names the command that installs it."""


class RunFolderError(ArraycnnError, RuntimeError):
    """A run folder is in use, holds no run or another one, or cannot be written."""


class OutOfMemoryError(ArraycnnError, MemoryError):
    """Memory did not suffice. Attribute ``batch_size``: one that would fit; None if unknown."""

    def __init__(self, message: str, batch_size: int | None) -> None:
        super().__init__(message)
        self.batch_size = batch_size

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (str(self), self.batch_size)


class DeviceLostError(ArraycnnError, RuntimeError):
    """A device stopped answering; what was on it is lost."""


class NonFiniteError(ArraycnnError, ArithmeticError):
    """Training met NaN or infinity. Attributes ``epoch`` and ``step`` (both from 1) say where."""

    def __init__(self, message: str, epoch: int, step: int) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.step = step
