"""CuPy's side of the CUDA kernels: compiles them when first used, starts them, records graphs."""

import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np

from arraycnn.errors import ArraycnnError, InvalidValueError, one_line
from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.launcher import (
    COUNTERS,
    MOST_SHARED,
    MOST_STATIC_SHARED,
    Launcher,
    NotRecordedError,
    Sender,
    Size,
    Struct,
)
from arraycnn.ops.cuda.loaded import LoadedKernels
from arraycnn.ops.cuda.record import cuda_kernels
from arraycnn.ops.cuda.sources import source
from arraycnn.ops.kernels import Kernels


def compiler_options(version: tuple[int, int]) -> tuple[str, ...]:
    """Of NVRTC of this version, besides those that CuPy gives it."""
    # What is minimal declares no textures: a tenth of the time of a small kernel. CUDA 12.4 brought it.
    return ("-std=c++17", *(("--minimal",) if version >= (12, 4) else ()))


class CuPyLauncher(Launcher):
    """Starts kernels on one CUDA device, on CuPy's current stream."""

    atomic = True

    def __init__(self, device: int) -> None:
        import cupy

        self._cupy = cupy
        self._number = device
        self._device = cupy.cuda.Device(device)
        self._kernels = LoadedKernels(self._compile)
        self._shared: dict[tuple[str, str], int] = {}
        """Bytes of dynamic shared memory that each kernel may be started with."""
        self._here = _Here()
        self._recordings: list[tuple[Any, weakref.ref[_Recording]]] = []
        """The memory of each recording that has some."""

    def owns(self, array: Any) -> bool:
        return isinstance(array, self._cupy.ndarray) and array.device.id == self._number

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        with self._device:
            # Where kernels are noted, none writes it.
            make = self._cupy.zeros if self._kernels.are_noted else self._cupy.empty
            return make(shape, dtype)

    def counter(self) -> Array:
        if self._here.recording is not None:
            return self._here.recording.counter
        with self._device:
            counters, stream = self._here.counters, self._cupy.cuda.get_current_stream().ptr
            if stream not in counters:
                counters[stream] = self._cupy.zeros((COUNTERS,), "int32")
            return counters[stream]

    def view(self, array: Array) -> Array:
        memory = self._cupy.cuda.UnownedMemory(array.data.ptr, array.nbytes, None, self._number)
        pointer = self._cupy.cuda.MemoryPointer(memory, 0)
        return self._cupy.ndarray(array.shape, array.dtype, pointer)

    def contiguous(self, array: Array) -> Array:
        if array.flags.c_contiguous:  # asked first, since CuPy makes one axis of none
            return array
        with self._device:
            return self._cupy.ascontiguousarray(array)

    def address(self, array: Array) -> int:
        return array.data.ptr

    def asarray(self, array: np.ndarray) -> Array:
        with self._device:
            return self._cupy.asarray(array)

    def to_numpy(self, array: Array) -> np.ndarray:
        return self._cupy.asnumpy(array)

    def start(
        self, file: str, kernel: str, grid: Size, block: Size, args: tuple[Any, ...], shared: int
    ) -> None:
        with self._device:
            function = self._kernels.get(file, kernel)
            if function is None:
                return
            if shared > self._shared.get((file, kernel), 0):
                self._shared[file, kernel] = _make_room(function, f"{file}.{kernel}", shared)
            by_value = [  # no function for each: there are many
                np.int64(one)
                if isinstance(one, int)
                else (_bytes_of(one) if isinstance(one, Struct) else one)
                for one in args
            ]
            function(grid, block, tuple(by_value), shared_mem=shared)

    def rehearse(self, work: Callable[[], None]) -> None:
        self._kernels.rehearse(work)

    def sender(self, shape: tuple[int, ...], dtype: Any) -> Sender:
        with self._device:
            return _PinnedSender(self._cupy, shape, dtype)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        self.reclaim()
        with self._device:  # what the rehearsal has left, which a pool gives to no other one
            self._cupy.get_default_memory_pool().free_all_blocks()
        # A pool of its own: what the recorded kernels use is never handed to anyone else. Noted before
        # anything lies in it, so that no interrupt can lose it.
        pool = self._cupy.cuda.MemoryPool()
        recording = _Recording(self._device, pool, self)
        self._recordings.append((pool, weakref.ref(recording)))
        try:
            self._record(work, recording)
        except BaseException as error:
            with suppress(Exception):  # what broke the recording is the error to show
                self.release(recording)
            if isinstance(error, ArraycnnError | MemoryError) or not isinstance(error, Exception):
                raise
            raise NotRecordedError(one_line(f"{type(error).__name__}: {error}")) from error
        return recording

    def _record(self, work: Callable[[], None], recording: "_Recording") -> None:
        cupy = self._cupy
        with self._device:
            stream = cupy.cuda.Stream(non_blocking=True)
            with stream:
                recording.counter = cupy.zeros((COUNTERS,), "int32")
                stream.synchronize()  # the recording may be started on another one
            with stream, cupy.cuda.using_allocator(recording.pool.malloc):
                stream.begin_capture()
                self._here.recording = recording
                try:
                    work()
                except BaseException:
                    with suppress(Exception):
                        stream.end_capture()
                    raise
                finally:
                    self._here.recording = None
                recording.parts.append(stream.end_capture().launch)

    def call(self, function: Callable[[], None]) -> None:
        if not self._kernels.calls():
            return
        recording = self._here.recording
        if recording is None:
            function()
            return
        stream = self._cupy.cuda.get_current_stream()
        recording.parts.append(stream.end_capture().launch)
        recording.parts.append(function)
        stream.begin_capture()

    def release(self, recording: Any) -> None:
        recording.is_released = True
        self.reclaim()
        recording.parts, recording.counter = [], None

    def reclaim(self) -> None:
        """Free the memory of recordings that are released, or that nobody holds any more.

        CuPy frees no pool that is merely dropped. Where an array still lies in one, as in the frames of
        an error that is on its way, the rest is freed the next time.
        """
        for known in tuple(self._recordings):
            pool, recording = known[0], known[1]()
            if recording is None or recording.is_released:
                # A device that is lost has nothing to give back: another error says so.
                with suppress(Exception), self._device:
                    pool.free_all_blocks()  # which waits for what the device still does
                    if not pool.total_bytes():
                        with suppress(ValueError):  # another thread was here
                            self._recordings.remove(known)

    def _compile(self, file: str, kernel: str) -> Any:
        with self._device:  # of the thread, of which there may be several
            module = self._cupy.RawModule(
                code=source(file),
                options=compiler_options(self._cupy.cuda.nvrtc.getVersion()),
                name_expressions=(kernel,),
            )
            return module.get_function(kernel)


class _Here(threading.local):
    """What a thread has of a launcher.

    Attributes
    ----------
    recording : _Recording, optional
        The one that it makes now.
    counters : dict
        By the handle of the stream: of default streams several threads may have one handle, and each a
        stream of its own. They go with the thread.
    """

    recording: "_Recording | None" = None

    def __init__(self) -> None:  # of each thread
        self.counters: dict[int, Any] = {}


class _Recording:
    """Graphs with calls between them, and the memory and kernels they use, which they do not keep alive
    by themselves."""

    is_released = False
    counter: Any = None

    def __init__(self, device: Any, pool: Any, launcher: CuPyLauncher) -> None:
        self.parts: list[Callable[[], None]] = []
        self.pool = pool
        self._device, self._launcher = device, launcher

    def __call__(self) -> None:
        if self.is_released:
            message = "a recording of CUDA kernels: was released, and is started again"
            raise RuntimeError(message)
        with self._device:
            for part in self.parts:
                part()


class _PinnedSender:
    """Two pinned buffers in turn: the host fills one while the other is on its way."""

    def __init__(self, cupy: Any, shape: tuple[int, ...], dtype: Any) -> None:
        import cupyx

        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._current = cupy.cuda.get_current_stream
        self._host = [cupyx.empty_pinned(shape, dtype) for _ in range(2)]
        self._device = [cupy.empty(shape, dtype) for _ in range(2)]
        self._arrived = [cupy.cuda.Event(disable_timing=True) for _ in range(2)]
        self._taken = [cupy.cuda.Event(disable_timing=True) for _ in range(2)]
        self._turn = 0
        for taken in self._taken:  # kernels started before may still use what is this memory now
            taken.record(self._current())

    def send(self, rows: np.ndarray, target: Array) -> None:
        turn, count = self._turn, len(rows)
        self._turn = 1 - turn
        host, device = self._host[turn][:count], self._device[turn][:count]
        self._arrived[turn].synchronize()  # the host's buffer is free: its last content is there
        host[...] = rows
        self._stream.wait_event(self._taken[turn])  # and so is the device's
        device.set(host, stream=self._stream)
        self._arrived[turn].record(self._stream)
        self._current().wait_event(self._arrived[turn])
        target[:count] = device
        self._taken[turn].record(self._current())


def _make_room(function: Any, name: str, shared: int) -> int:
    """Have ``function`` take ``shared`` bytes of dynamic shared memory; how many it takes now."""
    static = function.shared_size_bytes
    if static + shared > MOST_SHARED:
        message = (
            f"{name}: shared memory is at most {MOST_SHARED} B, got {static} B of static memory "
            f"and {shared} of dynamic; pass at most {MOST_SHARED - static} as shared"
        )
        raise InvalidValueError(message)
    if static + shared <= MOST_STATIC_SHARED:
        return MOST_STATIC_SHARED - static
    function.max_dynamic_shared_size_bytes = shared
    return shared


def _bytes_of(struct: Struct) -> np.ndarray:
    """``struct`` as CuPy passes it to a kernel, by value: ints and addresses in 64 bits."""
    members: list[Any] = []
    for member in struct.members:
        if isinstance(member, np.generic):
            members.append(member)
        else:
            is_array = member is not None and not isinstance(member, int)
            members.append(np.int64(member.data.ptr if is_array else member or 0))
    return np.array(tuple(members), _aligned(*[member.dtype for member in members]))


@cache
def _aligned(*dtypes: np.dtype) -> np.dtype:
    """A struct of such members, as C++ aligns them."""
    return np.dtype([(f"member{i}", dtype) for i, dtype in enumerate(dtypes)], align=True)


@cache
def cupy_launcher(device: int) -> CuPyLauncher:
    """The launcher of one device: one, so that each kernel is loaded once."""
    return CuPyLauncher(device)


@cache
def cupy_kernels(device: int, precision: str) -> Kernels:
    """The record of kernels for CuPy arrays on ``device``; see `cuda_kernels`."""
    return cuda_kernels(cupy_launcher(device), precision)
