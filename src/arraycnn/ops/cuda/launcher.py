"""What stands between a kernel in a .cu file and the memory it runs on.

The launch code beside each .cu file (grid, block, arguments) calls a `Launcher` and knows nothing
else: on a device that is CuPy's (`arraycnn.ops.cuda.cupy`), in the tests one that runs the same
source on the CPU (`tests/host_cuda`). So what the tests prove is what a device is given.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.sources import generated

WARP = 32
MOST_THREADS = 1024
MOST_BLOCKS = (2**31 - 1, 65535, 65535)
MOST_STATIC_SHARED = 48 * 1024
"""Bytes of shared memory, static and dynamic, a block may use without asking the driver for more."""
COUNTERS = 132
"""Of blocks that end a launch: as many as tiles, each of which several blocks share."""
MOST_SHARED = 99 * 1024
"""Bytes it may ask for: every device has them from compute capability 8.0 on, and two blocks fit."""

_C_NAMES = {
    "f4": "float",
    "f8": "double",
    "u2": "Bfloat16",
    "u4": "TensorFloat32",
    "u1": "unsigned char",
    "i4": "int",
    "b1": "bool",
}


Argument: TypeAlias = Any
"""Array, int, np.float32, np.float64, `Struct` or None."""


@dataclass(frozen=True)
class Struct:
    """Arguments, one at least and no structs, that a kernel takes as one: by value, in this order.

    ``name`` is the C++ type, for a kernel whose text is made for it.
    """

    members: tuple[Argument, ...]
    name: str = ""

    def __post_init__(self) -> None:
        if not self.members:  # an empty struct has a byte in C++, and none in NumPy
            message = "Struct: a struct needs a member at least, got none; pass an int"
            raise InvalidValueError(message)


Size: TypeAlias = tuple[int, ...]


class NotRecordedError(Exception):
    """What a step does besides starting kernels cannot be recorded; says what CUDA said."""


class Sender(Protocol):
    """Sends rows of a set on the host, while kernels started before still run."""

    def send(self, rows: np.ndarray, target: Array) -> None:
        """Make ``rows`` the first of ``target``, for kernels started from now on."""


class Launcher(ABC):
    """Makes arrays and starts kernels on one kind of memory.

    The kernel's side of the agreement: a pointer for an array or None (null), ``long long`` for an
    int, ``float`` or ``double`` for a NumPy scalar of that size, a struct of such for a `Struct`.
    """

    sends = True
    """Images on the host must be sent to this memory."""

    atomic = False
    """Whether a recording whose replay was begun is run to its end, whatever signals come."""

    @abstractmethod
    def owns(self, array: Any) -> bool:
        """Whether ``array`` lies in this launcher's memory."""

    @abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """A new array, not initialised: the kernel must write all of it."""

    @abstractmethod
    def contiguous(self, array: Array) -> Array:
        """``array`` itself where it lies in C order, else a copy that does."""

    @abstractmethod
    def address(self, array: Array) -> int:
        """Where ``array``, in C order, begins in memory."""

    @abstractmethod
    def start(
        self, file: str, kernel: str, grid: Size, block: Size, args: tuple[Any, ...], shared: int
    ) -> None:
        """Start a kernel whose launch has been checked; `source` has the text of ``file``."""

    def counter(self) -> Array:
        """int32, (COUNTERS,), that are 0 before a kernel, and that a kernel must leave at 0.

        One for all kernels that run one after the other: of a stream, or of a recording.
        """
        raise NotImplementedError

    def view(self, array: Array) -> Array:
        """The memory of ``array`` without a hold on it."""
        raise NotImplementedError

    def call(self, function: Callable[[], None]) -> None:
        """Call ``function`` between what is started before and after, or note that in a recording."""
        raise NotImplementedError

    def asarray(self, array: np.ndarray) -> Array:
        """A copy of ``array`` in this launcher's memory."""
        raise NotImplementedError

    def to_numpy(self, array: Array) -> np.ndarray:
        """``array`` on the host, once all that was started before has ended."""
        raise NotImplementedError

    def sender(self, shape: tuple[int, ...], dtype: Any) -> Sender:
        """What sends up to ``shape[0]`` rows at a time."""
        raise NotImplementedError

    def rehearse(self, work: Callable[[], None]) -> None:
        """Run ``work`` so that all kernels it starts are there: compiled together, and loaded.

        It may run more than once: without starting any, too, on zeros for what they would write.
        """
        work()

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record the kernels that ``work`` starts; the result starts them all again.

        Recorded are addresses and numbers as they are now: what ``work`` allocates stays in use,
        and what is to differ from one time to the next must be read from an array. All kernels
        must have run once before. Raises NotRecordedError where ``work`` does what cannot be recorded.
        """
        raise NotImplementedError

    def release(self, recording: Callable[[], None]) -> None:  # noqa: B027
        """Give back the memory of a recording that will not be started again.

        Arrays that ``work`` has made, and somebody holds, must be dropped before. On the host there is
        nothing to do: memory goes with the last that refers to it.
        """

    def launch(
        self,
        file: str,
        kernel: str,
        grid: Size,
        block: Size,
        args: tuple[Argument, ...],
        shared: int = 0,
    ) -> None:
        """Start ``kernel``, a name such as "im2col<float>", of ``file``.cu.

        Parameters
        ----------
        grid, block : up to three ints
            A grid with a zero in it starts nothing: there is no work.
        args : see the class
            Arrays must lie in C order.
        shared : int
            Bytes of dynamic shared memory.
        """
        if 0 in grid:
            return
        _check_launch(f"{file}.{kernel}", grid, block, shared)
        for argument in flat(args):
            flags = getattr(argument, "flags", None)  # of arrays: `owns` is a call for each
            if flags is not None and not flags.c_contiguous:
                message = f"{file}.{kernel}: arrays must lie in C order; use launcher.contiguous"
                raise InvalidValueError(message)
        self.start(file, kernel, grid, block, args, shared)

    def launch_source(
        self,
        text: str,
        kernel: str,
        grid: Size,
        block: Size,
        args: tuple[Argument, ...],
        shared: int = 0,
    ) -> None:
        """`launch` of a kernel that is in no file: of generated ``text``, compiled once.

        ``text`` is CUDA C++ as of a .cu file, and may include our headers; from there on it is
        known by its digest, as a file by its name.
        """
        self.launch(generated(text), kernel, grid, block, args, shared)

    def launch_shared(
        self,
        grids: tuple[Size, ...],
        text: str,
        kernel: str,
        grid: Size,
        block: Size,
        args: tuple[Argument, ...],
        shared: int = 0,
    ) -> None:
        """`launch_source` of a kernel whose blocks are, one after another, those of several grids."""
        self.launch_source(text, kernel, grid, block, args, shared)

    def floating(self, owner: str, *arrays: Array) -> tuple[Array, ...]:
        """``arrays`` in C order; InvalidTypeError unless ours and all float32 or all float64."""
        self.ours(owner, *arrays)
        kinds = {array.dtype.str for array in arrays}  # the name takes seven calls of functions
        if len(kinds) != 1 or not kinds <= {"<f4", "<f8"}:
            message = (
                f"{owner} on CUDA: arrays must all be float32 or all float64, "
                f"got {', '.join(str(array.dtype) for array in arrays)}"
            )
            raise InvalidTypeError(message)
        return tuple(self.contiguous(array) for array in arrays)

    def ours(self, owner: str, *arrays: Array) -> None:
        """InvalidTypeError unless all ``arrays`` lie in this launcher's memory."""
        for array in arrays:
            if not self.owns(array):
                kind = f"{type(array).__module__}.{type(array).__qualname__}"
                message = f"{owner} on CUDA: arrays must lie on the backend's device, got {kind}"
                raise InvalidTypeError(message)


def c_name(array: Array) -> str:
    """The C type of ``array``'s elements, as kernels are named by it."""
    return _C_NAMES[array.dtype.str[1:]]


def blocks(count: int, per_block: int) -> int:
    """How many blocks cover ``count`` things."""
    return -(-count // per_block)


def flat(args: tuple[Argument, ...]) -> list[Argument]:
    """``args`` with the members of structs in their places."""
    found: list[Argument] = []
    for argument in args:
        found += argument.members if isinstance(argument, Struct) else (argument,)
    return found


def _check_launch(name: str, grid: Size, block: Size, shared: int) -> None:
    threads = int(np.prod(block))
    if any(size < 0 or size > most for size, most in zip(grid, MOST_BLOCKS, strict=False)):
        message = f"{name}: a grid may have {MOST_BLOCKS} blocks, got {grid}; use a smaller batch"
        raise InvalidValueError(message)
    if threads > MOST_THREADS or threads % WARP:
        message = f"{name}: a block must be whole warps of at most {MOST_THREADS}, got {block}"
        raise InvalidValueError(message)
    if shared > MOST_SHARED:
        message = f"{name}: dynamic shared memory is at most {MOST_SHARED} B, got {shared}"
        raise InvalidValueError(message)
