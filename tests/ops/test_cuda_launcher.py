"""CuPy's launcher without a driver: CuPy's own arrays over memory of the host, our kernels on the CPU.

What needs a driver stands in: the device, memory, and the start of a compiled kernel. Arrays and
their views, the packing of arguments, and the compiler are CuPy's.
"""

import ctypes
import re
from contextlib import contextmanager, nullcontext
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops import GENERIC
from arraycnn.ops.cuda.cupy import CuPyLauncher, compiler_options
from arraycnn.ops.cuda.launcher import NotRecordedError, Struct
from arraycnn.ops.cuda.record import cuda_kernels
from arraycnn.ops.cuda.sources import source
from cuda_figures import listed
from host_cuda import HostLauncher, KernelFault
from host_cuda.device_code import AS_CUPY
from kernel_cases import KERNEL_CASES, check_case
from optional import Late, needs

pytestmark = needs("cupy")
cupy = Late("cupy")


@pytest.fixture(autouse=True, scope="module")
def _no_device():
    if cupy.cuda.is_available():
        pytest.skip("a device runs them itself: tests/backends/test_gpu.py")


def on_host(array):
    """A CuPy array over the memory of a NumPy array."""
    memory = cupy.cuda.UnownedMemory(array.ctypes.data, max(1, array.nbytes), array, 0)
    pointer = cupy.cuda.MemoryPointer(memory, 0)
    return cupy.ndarray(array.shape, array.dtype, pointer, strides=array.strides)


def seen(address, shape, dtype):
    """A NumPy array at ``address``."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.ndarray(shape, dtype, (ctypes.c_char * max(1, size)).from_address(address or 1))


def member_of(value):
    """An integer of a struct is an address, if it can be one."""
    if not isinstance(value, np.int64) or 0 < value < 2**20:
        return int(value) if isinstance(value, np.int64) else value
    return seen(int(value), (1,), "uint8") if value else None


def unpacked(argument):
    """What our launch code gave for what CuPy is given."""
    if isinstance(argument, cupy.ndarray):
        return seen(argument.data.ptr, argument.shape, argument.dtype)
    if isinstance(argument, np.ndarray):
        return Struct(tuple(member_of(argument[name][()]) for name in argument.dtype.names))
    return int(argument) if isinstance(argument, np.int64) else argument


class OnHost(CuPyLauncher):
    def __init__(self):
        super().__init__(0)
        self._device = nullcontext()
        self._host = HostLauncher()

    def empty(self, shape, dtype):
        return on_host(self._host.empty(shape, dtype))

    def counter(self):
        return on_host(self._host.counter())

    def asarray(self, array):
        return on_host(self._host.asarray(array))

    def to_numpy(self, array):
        return seen(array.data.ptr, array.shape, array.dtype).copy()

    def _compile(self, file, kernel):
        def start(grid, block, args, shared_mem):
            check_arguments(grid, block, args, shared_mem)
            self._host.start(file, kernel, grid, block, tuple(map(unpacked, args)), shared_mem)

        start.shared_size_bytes = 0  # or at least so few that nothing is asked for
        return start


def check_arguments(grid, block, args, shared):
    """Have CuPy pack them: it goes on to ask for the device, which there is not."""
    function = cupy.cuda.Function.__new__(cupy.cuda.Function)
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match=r"InsufficientDriver|NoDevice"):
        function(grid, block, args, shared, cupy.cuda.Stream.null)


@pytest.mark.parametrize("argument", [np.zeros(3), "text", [1, 2]], ids=str)
def test_cupy_refuses_what_it_cannot_pack(argument):
    """Else the check above would be none."""
    with pytest.raises(TypeError):
        check_arguments((1,), (32,), (argument,), 0)


NOT_OURS = (
    *("relu", "relu_backward", "batch_norm", "batch_norm_backward", "gather", "rescale"),
    *("dropout", "dropout_backward", "random_bits", "softmax", "softmax_cross_entropy"),
    *("sgd_update", "adam_update", "grouped_conv2d", "grouped_conv2d_backward"),
)
"""CuPy's own operations compute these."""


@pytest.mark.parametrize("op", NOT_OURS)
def test_what_has_no_kernel_is_generic(op):
    assert getattr(cuda_kernels(OnHost()), op) is getattr(GENERIC, op)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", [c for c in KERNEL_CASES if c.op not in NOT_OURS], ids=str)
def test_kernels_take_the_arrays_of_cupy(case, dtype):
    launcher = OnHost()
    ops = cuda_kernels(launcher)
    check_case(case, ops, launcher.asarray, launcher.to_numpy, dtype, "fp32")


def test_views_are_read_as_they_lie():
    launcher = OnHost()
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(9, 5)), rng.normal(size=(9, 7))
    product = cuda_kernels(launcher).matmul(launcher.asarray(x).T, launcher.asarray(weight))
    np.testing.assert_allclose(launcher.to_numpy(product), x.T @ weight, atol=1e-12)


# -- generated text ---------------------------------------------------------------------------------

SCALED = """
#include "device.cuh"

template <class Real>
__global__ void scaled(const Real* x, Real by, Real* y, long long count) {
    const long long i = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
    if (i < count) y[i] = by * x[i];
}
"""
BEYOND = SCALED.replace("if (i < count) ", "")


def scaled(launcher, text=SCALED, grid=(3,), block=(32,), shared=0):
    """2.5 times the numbers from 0 to 70."""
    x = launcher.asarray(np.arange(71, dtype=np.float32))
    y = launcher.empty((71,), "float32")
    args = x, np.float32(2.5), y, 71
    launcher.launch_source(text, "scaled<float>", grid, block, args, shared)
    return launcher.to_numpy(y)


@pytest.mark.parametrize(
    "launcher", [HostLauncher, lambda: HostLauncher(checked=True), lambda: OnHost()]
)
def test_a_kernel_of_a_text_runs_as_one_of_a_file(launcher):
    np.testing.assert_array_equal(scaled(launcher()), np.arange(71, dtype=np.float32) * 2.5)


def test_a_text_is_known_by_its_content():
    compiled = []

    class Noting(OnHost):
        def _compile(self, file, kernel):
            compiled.append((file, kernel))
            return super()._compile(file, kernel)

    launcher = Noting()
    same = "".join(SCALED)
    results = [scaled(launcher, text) for text in (SCALED, same, SCALED.replace("by *", "by +"))]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[2], np.arange(71, dtype=np.float32) + 2.5)
    files = [file for file, _ in compiled]
    assert len(files) == len(set(files)) == 2
    assert all(re.fullmatch(r"generated_[0-9a-f]{16}", file) for file in files)


def test_what_a_text_does_wrong_is_found_as_in_a_file():
    with pytest.raises(
        KernelFault, match=r"generated_\w+\.scaled<float>: block .* generated_\w+:7"
    ):
        scaled(HostLauncher(checked=True), BEYOND)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"block": (31,)}, r"generated_\w+\.scaled<float>: a block must be whole warps"),
        ({"grid": (2**31,)}, "a grid may have"),
        ({"shared": 99 * 1024 + 1}, "dynamic shared memory is at most"),
        ({"text": '#include "other.cuh"\n'}, "includes 'other.cuh', must be one of device.cuh, "),
        ({"text": b"bytes"}, "the text of CUDA kernels: must be a string, got bytes"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_text_and_its_launch_are_checked(wrong, message):
    for launcher in (HostLauncher(), OnHost()):
        with pytest.raises((InvalidValueError, InvalidTypeError), match=message):
            scaled(launcher, **wrong)


def test_arrays_for_a_text_must_lie_in_order():
    launcher = OnHost()
    x = launcher.asarray(np.zeros((4, 4), np.float32)).T
    args = x, np.float32(1.0), launcher.empty((4, 4), "float32"), 16
    with pytest.raises(InvalidValueError, match="arrays must lie in C order"):
        launcher.launch_source(SCALED, "scaled<float>", (1,), (32,), args)


# -- recordings --------------------------------------------------------------------------------------


class Stream:
    """Says what is done with it, and when it is the current one."""

    def __init__(self, events, non_blocking):
        self._events = events
        events.append(f"a stream, non_blocking={non_blocking}")

    def __enter__(self):
        self._events.append("current")

    def __exit__(self, *_):
        self._events.append("not current")

    def synchronize(self):
        self._events.append("waited for")

    def begin_capture(self):
        self._events.append("begin")

    def end_capture(self):
        self._events.append("end")
        return SimpleNamespace(launch=lambda: self._events.append("launch"))


class Pool:
    """Memory as CuPy has it: what is free is kept, and frees itself in no other way than by a call."""

    def __init__(self):
        self.used, self.held = 0, 0

    def malloc(self, size):
        self.used += size
        self.held += size

    def free_all_blocks(self):
        self.held = self.used

    def total_bytes(self):
        return self.held


@pytest.fixture
def recorder():
    """(launcher, what happens to streams and memory, the pools that were made)."""
    events, pools = [], []

    @contextmanager
    def using_allocator(allocate):
        assert allocate.__self__ is pools[-1]
        events.append("private memory")
        yield
        events.append("shared memory")

    def pool():
        pools.append(Pool())
        return pools[-1]

    launcher = OnHost()
    launcher._cupy = SimpleNamespace(
        zeros=lambda shape, dtype: events.append(f"{shape} zeros of {dtype}"),
        get_default_memory_pool=lambda: SimpleNamespace(
            free_all_blocks=lambda: events.append("given back")
        ),
        cuda=SimpleNamespace(
            Stream=lambda non_blocking: Stream(events, non_blocking),
            MemoryPool=pool,
            using_allocator=using_allocator,
        ),
    )
    return launcher, events, pools


def test_a_recording_is_made_on_a_stream_and_with_memory_of_its_own(recorder):
    launcher, events, _ = recorder
    replay = launcher.capture(lambda: events.append("work"))
    replay()
    replay()
    assert events == [
        "given back",
        *("a stream, non_blocking=True", "current", "(132,) zeros of int32", "waited for"),
        *("not current", "current", "private memory"),
        *("begin", "work", "end", "shared memory", "not current"),
        *("launch", "launch"),
    ]


def test_a_recording_that_fails_is_ended_and_tells_why(recorder):
    launcher, events, _ = recorder

    def work():
        message = "what went wrong"
        raise KeyError(message)

    with pytest.raises(NotRecordedError, match=r"^KeyError: 'what went wrong'$") as caught:
        launcher.capture(work)
    assert isinstance(caught.value.__cause__, KeyError)
    assert events[-2:] == ["end", "not current"]


def working_in(pools, stays=0):
    """Work that takes 100 bytes, of which so many are still held when it is done."""

    def work():
        pools[-1].malloc(100)
        pools[-1].used = stays

    return work


def test_the_memory_of_a_recording_is_freed_when_it_is_released(recorder):
    launcher, events, pools = recorder
    replay, other = (launcher.capture(working_in(pools)) for _ in range(2))
    replay()
    launcher.release(replay)
    assert [pool.held for pool in pools] == [0, 100]
    started = events.count("launch")
    with pytest.raises(RuntimeError, match="was released, and is started again"):
        replay()
    assert events.count("launch") == started
    other()
    launcher.release(other)
    assert [pool.held for pool in pools] == [0, 0]
    assert launcher._recordings == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, InvalidTypeError])
def test_the_memory_of_a_recording_that_fails_is_freed(recorder, error):
    launcher, _, pools = recorder

    def work():
        working_in(pools)()
        raise error

    with pytest.raises(error) as caught:  # as it is: others say what it means
        launcher.capture(work)
    assert caught.value.__cause__ is None
    assert pools[0].held == 0
    assert launcher._recordings == []


def test_memory_that_an_error_on_its_way_still_holds_is_freed_the_next_time(recorder):
    launcher, _, pools = recorder

    def work():
        working_in(pools, stays=60)()
        raise KeyError

    with pytest.raises(NotRecordedError):
        launcher.capture(work)
    assert pools[0].held == 60
    pools[0].used = 0
    launcher.reclaim()
    assert pools[0].held == 0
    assert launcher._recordings == []


def test_a_recording_that_nobody_holds_is_freed_before_the_next_is_made(recorder):
    """As where a model is dropped, or an interrupt came before its plan could note the recording."""
    launcher, _, pools = recorder
    launcher.capture(working_in(pools))
    held_while_recording = []
    replay = launcher.capture(lambda: held_while_recording.append(pools[0].held))
    assert held_while_recording == [0]
    replay()


def test_no_memory_is_freed_while_it_is_recorded_or_used(recorder):
    launcher, _, pools = recorder

    def work():
        working_in(pools)()
        launcher.reclaim()  # as another thread may do
        assert pools[0].held == 100

    replay = launcher.capture(work)
    launcher.reclaim()
    assert pools[0].held == 100
    replay()


def test_cupy_records_on_no_default_stream():
    """Which is why a recording has its own."""
    with pytest.raises(RuntimeError, match="cannot capture on the default"):
        cupy.cuda.Stream.null.begin_capture()


# -- sending -----------------------------------------------------------------------------------------


class Queue:
    """A stream: what is to be done, in order, at no certain time."""

    def __init__(self, non_blocking=True):
        self.waiting = []
        self.done = 0

    def add(self, work):
        self.waiting.append(work)

    def wait_event(self, event):
        self.add(event.as_recorded())

    def finish(self, count=None):
        """Do the first ``count`` of all that was ever added, and what these wait for."""
        while self.done < (len(self.waiting) if count is None else count):
            self.done += 1
            self.waiting[self.done - 1]()


class Event:
    def __init__(self, disable_timing):
        self._place = Queue(), 0

    def record(self, queue):
        self._place = queue, len(queue.waiting)

    def as_recorded(self):
        queue, count = self._place
        return lambda: queue.finish(count)

    def synchronize(self):
        self.as_recorded()()


class DeviceRows:
    """An array on the device: written when the stream comes to it."""

    current = None

    def __init__(self, rows):
        self.rows = rows

    def __getitem__(self, part):
        return DeviceRows(self.rows[part])

    def __setitem__(self, part, other):
        target = self.rows[part]
        self.current.add(lambda: target.__setitem__(..., other.rows))

    def set(self, host, stream):
        stream.add(lambda: self.rows.__setitem__(..., host))


@pytest.mark.parametrize("eager", ["nothing", "the sender", "the kernels"])
def test_rows_arrive_whichever_stream_is_ahead(eager, monkeypatch):
    monkeypatch.setattr("cupyx.empty_pinned", np.empty)
    kernels = DeviceRows.current = Queue()
    streams, memory = [], []

    def stream(non_blocking):
        streams.append(Queue(non_blocking))
        return streams[-1]

    def empty(shape, dtype):
        """Memory that a kernel started before still reads."""
        memory.append(np.zeros(shape, dtype))
        kernels.add(lambda old=memory[-1]: before.append(old.copy()))
        return DeviceRows(memory[-1])

    def read_target(count):
        return lambda: seen_by_kernels.append(target.rows[:count].copy())

    before, seen_by_kernels = [], []
    names = {"Stream": stream, "Event": Event, "get_current_stream": lambda: kernels}
    launcher = OnHost()
    launcher._cupy = SimpleNamespace(cuda=SimpleNamespace(**names), empty=empty)
    sender, target = launcher.sender((3, 2), "float32"), DeviceRows(np.zeros((3, 2), "float32"))
    sent = [np.full((count, 2), number + 1.0) for number, count in enumerate((3, 3, 2, 3, 1))]
    for rows in sent:
        sender.send(rows, target)
        kernels.add(read_target(len(rows)))
        if eager == "the sender":
            streams[0].finish()
        if eager == "the kernels":
            kernels.finish()
    kernels.finish()
    for rows, found in zip(sent, seen_by_kernels, strict=True):
        np.testing.assert_array_equal(found, rows)
    assert not np.any(before)


def test_what_stands_in_above_is_there_in_cupy():
    for name in ("Event", "MemoryPool", "Stream", "get_current_stream", "using_allocator"):
        assert callable(getattr(cupy.cuda, name))
    assert callable(cupy.cuda.MemoryPool().malloc)
    assert callable(import_module("cupyx").empty_pinned)
    for name in ("set", "flags", "device", "data"):
        assert hasattr(cupy.ndarray, name)


# -- the compiler ------------------------------------------------------------------------------------


class NotLoaded:
    """A module for a device that is not there."""

    def load(self, code):
        self.code = code

    def _set_mapping(self, mapping):
        self.mapping = mapping


def test_a_compiler_that_is_older_gets_the_options_that_it_knows():
    assert compiler_options((12, 3)) == ("-std=c++17",)
    assert compiler_options((12, 4)) == compiler_options((13, 0)) == ("-std=c++17", "--minimal")


@pytest.mark.parametrize("file", sorted(listed()))
def test_cupy_compiles_each_file_and_finds_its_kernel_again(file, monkeypatch, tmp_path):
    from cupy._core import core
    from cupy.cuda import compiler, nvrtc

    given = []

    class Program(compiler._NVRTCProgram):
        def compile(self, options, log_stream=None):
            given.append(options)
            return super().compile(options, log_stream)

    on_disk = compiler._DiskKernelCacheBackend(str(tmp_path))
    monkeypatch.setattr(compiler, "_kernel_cache_backend", on_disk)
    monkeypatch.setattr(compiler, "_NVRTCProgram", Program)
    monkeypatch.setattr(compiler, "function", SimpleNamespace(Module=NotLoaded))
    architecture = "-arch=sm_90", "cubin"
    monkeypatch.setattr(compiler, "_get_arch_for_options_for_nvrtc", lambda _: architecture)
    kernel = min(listed()[file], key=len)
    compiled, found = (
        compiler._compile_module_with_cache(
            source(file),
            core.assemble_cupy_compiler_options(compiler_options(nvrtc.getVersion())),
            arch="90",
            name_expressions=(kernel,),
        )
        for _ in range(2)
    )
    assert compiled.code == found.code
    assert compiled.code.startswith(b"\x7fELF")
    assert compiled.mapping == found.mapping
    assert kernel.split("<")[0] in found.mapping[kernel]
    of_kernels = [options for options in given if architecture[0] in options]
    assert len(of_kernels) == 1
    ours = {option for option in of_kernels[0] if not option.startswith(("-I", "-arch"))}
    assert ours == set(AS_CUPY)
