"""What stands between Python and the compiled kernels: memory, launches, recordings."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

from arraycnn.errors import InvalidTypeError
from arraycnn.ops.aligned_memory import LINE, aligned_empty
from arraycnn.ops.compiled.chains import NO_SCRATCH, ChainOfLaunches, Launch, side_by_side
from arraycnn.ops.compiled.kernels.run_launches import Entry
from arraycnn.ops.compiled.launch_struct import LaunchStruct
from arraycnn.ops.compiled.launches import STATE, address, run
from arraycnn.ops.compiled.translation.functions import Function
from arraycnn.ops.host_launcher import HostLauncher, Pool, check_arrays

ELEMENTS = 2**15
"""Numbers in a block of elementwise work."""

WORTH = 2**18
"""Multiply-adds a block should have, some ten microseconds: less does not pay for sharing it."""


_BLOCKS = Entry.FIELDS["blocks"].word

_REALS = (np.dtype("float32"), np.dtype("float64"))  # in this machine's order of bytes


class Launcher(HostLauncher):
    """Runs compiled kernels on NumPy arrays, or records them.

    What a block of a launch does, and so every bit of a result, does not depend on how many threads
    share the blocks.
    """

    atomic = True
    """Compiled code runs it, and the pool lets no thread be left at work.

    Where it is cut by calls, what a step changes is launched after its last one.
    """

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self._recording: list[list[int] | Callable[[], None]] | None = None
        self._chain: ChainOfLaunches | None = None
        self._beside: list[Launch] | None = None
        self._tables: list[np.ndarray] = []
        self._room = 0
        self._kinds: set[str] = set()
        self._arena = _Arena()
        self._scratch_bytes = 0

    @property
    def is_recording(self) -> bool:
        return self._recording is not None

    @property
    def scratch_bytes(self) -> int:
        """How much memory a thread has for scratch."""
        return self._scratch_bytes

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """A new array, not initialised: kernels must write all of it."""
        if self._recording is None:
            array = aligned_empty(shape, dtype)
        else:
            array = self._arena.empty(shape, np.dtype(dtype))
        if self._chain is not None:
            self._chain.held.append(array)
        return array

    def launch(
        self, kernel: Function, blocks: int, struct: LaunchStruct, *,
        like: np.ndarray, room: int = 0, by: str = "",
    ) -> None:  # fmt: skip
        """Run ``blocks`` blocks of ``kernel``, or note it where a recording is made.

        Parameters
        ----------
        struct : LaunchStruct
            What ``kernel`` has declared; its arrays are in C order.
        like : array
            Of the kind of number to compute with, float32 or float64.
        room : int
            How many such numbers the kernel needs for itself.
        by : str
            As in `arraycnn.ops.compiled.chains.Launch`.
        """
        if blocks == 0:
            return
        assert type(struct) is kernel.launch_struct, f"{kernel.full_name}: not its {struct}"
        code = address(kernel, like.dtype.name)
        self._add(Launch(code, blocks, struct, like.dtype, room, by))

    def launch_code(
        self, code: int, blocks: int, struct: LaunchStruct, *,
        by: str = "", points: int | None = None,
    ) -> None:  # fmt: skip
        """As `launch`, of machine code at the address ``code`` that needs no scratch; ``points`` as in
        `arraycnn.ops.compiled.chains.Launch`."""
        self._add(Launch(code, blocks, struct, by=by, points=points))

    def _add(self, launch: Launch) -> None:
        if self._beside is not None:
            self._beside.append(launch)
        elif self._chain is None:
            self._make(launch)
        else:
            self._chain.add(launch)

    @contextmanager
    def chain(self, images: int) -> Iterator[ChainOfLaunches]:
        """Within the block, launches are kept back; at its end they are made, or noted, as one.

        It is for steps of which each needs, of an image, only what the others leave for that image.
        """
        self._chain = chain = ChainOfLaunches(images)
        try:
            yield chain
        finally:
            self._chain = None
        self._make_all(*chain.joined())

    @contextmanager
    def side_by_side(self) -> Iterator[None]:
        """The same for launches of which none reads or writes what another one writes."""
        self._beside = launches = list[Launch]()
        try:
            yield
        finally:
            self._beside = None
        self._make_all(*side_by_side(launches))

    def _make_all(self, launches: list[Launch], tables: list[np.ndarray]) -> None:
        for launch in launches:
            self._make(launch)
        if self._recording is not None:
            self._tables += tables

    @property
    def is_chaining(self) -> bool:
        return self._chain is not None

    def _make(self, launch: Launch) -> None:
        words = launch.words()
        if self._recording is None:
            self._run(np.array([words], np.int64), launch.dtype, launch.room)
            return
        self._recording.append(words)
        self._room = max(self._room, launch.room)
        if launch.room:
            self._kinds.add(launch.dtype.name)

    def call(self, function: Callable[[], None]) -> None:
        """Call ``function`` once all that was launched before has ended, or note that.

        An interrupt may come within it, and ends a recording there.
        """
        if self._recording is None:
            function()
        else:
            self._recording.append(function)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record the launches and calls that ``work`` makes; the result makes them all again.

        Recorded are addresses and numbers as they are now: what is to differ from one time to the
        next must be read from an array. What ``work`` allocates belongs to the recording.
        """
        self._recording, self._room, self._kinds, self._tables = [], 0, set(), []
        try:
            work()
            parts, room = _between_calls(self._recording), self._room
            (kind,) = self._kinds or {NO_SCRATCH.name}
        finally:
            self._recording = None
        # The recording's addresses are in the memory of these.
        held = self._arena, self._tables

        def replay() -> None:
            assert held is not None
            for part in parts:
                if callable(part):
                    part()
                else:
                    self._run(part, np.dtype(kind), room)

        return replay

    def floating(self, owner: str, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """``arrays`` in C order; InvalidTypeError unless NumPy's and all float32 or all float64."""
        # What NumPy makes of an array without axes is a number.
        arrays = tuple(np.asarray(a) if isinstance(a, np.generic) else a for a in arrays)
        check_arrays(owner, *arrays)
        if len({array.dtype for array in arrays}) != 1 or arrays[0].dtype not in _REALS:
            message = (
                f"{owner}: arrays must all be float32 or all float64, "
                f"got {', '.join(str(array.dtype) for array in arrays)}"
            )
            raise InvalidTypeError(message)
        return tuple(self.contiguous(array) for array in arrays)

    def _run(self, launches: np.ndarray, dtype: np.dtype, room: int) -> None:
        self._scratch_bytes = max(self._scratch_bytes, room * dtype.itemsize)
        state = np.zeros(STATE, np.int64)
        threads = self._pool.threads
        if threads > 1:  # with one block a launch there is nothing to share
            threads = min(threads, int(launches[:, _BLOCKS].max()))

        def work(_: int) -> None:
            run(launches, state, _scratch(room, dtype))

        if threads == 1:
            work(0)
        else:
            self._pool.run(work, threads)


def _between_calls(
    recorded: list[list[int] | Callable[[], None]],
) -> list[np.ndarray | Callable[[], None]]:
    """The launches from one call to the next as one array, and the calls."""
    parts: list[np.ndarray | Callable[[], None]] = []
    for are_calls, group in groupby(recorded, key=callable):
        together: list[Any] = list(group)
        parts += together if are_calls else [np.array(together, np.int64)]
    return parts


_rooms = threading.local()


def _scratch(room: int, dtype: np.dtype) -> np.ndarray:
    """This thread's own memory, for at least ``room`` numbers; what it held is gone."""
    held = getattr(_rooms, dtype.name, None)
    if held is None or held.size < room:
        held = aligned_empty((max(room, 1024),), dtype)
        setattr(_rooms, dtype.name, held)
    return held


class _Arena:
    """Memory for recordings: what an array took is taken again once no one holds the array.

    Launches of a recording run in the order they were made in, so an array made later may lie where
    an earlier one did, or in up to twice the room: the arrays of a short last batch lie where those
    of the others do.
    """

    def __init__(self) -> None:
        self._free: list[np.ndarray] = []  # the smallest first
        self._give = partial(insort, self._free, key=len)

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        size = -(-max(count, 1) // LINE) * LINE
        place = bisect_left(self._free, size, key=len)
        if place < len(self._free) and len(self._free[place]) <= 2 * size:
            memory = self._free.pop(place)
        else:
            memory = aligned_empty((size,), np.uint8)
        held = np.asarray(_Held(memory, self._give))
        return held[:count].view(dtype).reshape(shape)


class _Held:
    """Owns memory for the arrays that are views of it, and gives it back after the last."""

    _give: Callable[[np.ndarray], None] | None = None
    """None where an interrupt came before there was one."""

    def __init__(self, memory: np.ndarray, give: Callable[[np.ndarray], None]) -> None:
        self._memory, self._give = memory, give
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        if self._give is not None:
            self._give(self._memory)
