"""The CUDA of the host keeps the rules of CUDA's manual: else what runs on it would prove little."""

import threading
from contextlib import suppress
from functools import cache

import numpy as np
import pytest

from arraycnn.errors import InvalidValueError
from arraycnn.ops.cuda.cupy import CuPyLauncher
from cuda_primitives import TEXT
from optional import Late

pytestmark = pytest.mark.usefixtures("driver")
cupy = Late("cupy")
cupyx = Late("cupyx")

DOUBLED = r"""
template <class T> __global__ void doubled(T* x, long long count) {
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) x[i] = x[i] + x[i];
}
"""


@pytest.fixture
def is_lazy(request):
    return request.config.getoption("--host-driver") == "lazy"


@pytest.fixture
def broken(driver):
    """What rules were broken, once: the test expects it."""

    def said():
        faults = driver.state().faults
        driver.clear_faults()
        return " | ".join(faults)

    return said


@cache
def kernel_of_ours():
    module = cupy.RawModule(code=DOUBLED, name_expressions=("doubled<float>",))
    return module.get_function("doubled<float>")


@pytest.fixture(scope="module")
def doubled():
    """Starts a kernel of our own on an array."""
    return lambda x: kernel_of_ours()((1,), (64,), (x, np.int64(x.size)))


@pytest.fixture
def capturing():
    """A stream that is captured; what became of the capture does not matter to the test."""
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        yield stream
        with suppress(RuntimeError):  # where the test has broken it
            stream.end_capture()


def failing(name):
    return pytest.raises(
        (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError), match=name
    )


# -- devices and memory ------------------------------------------------------------------------------


def test_a_device_says_what_it_is(driver):
    runtime = cupy.cuda.runtime
    assert runtime.getDeviceCount() == driver.DEVICES
    found = runtime.getDeviceProperties(1)
    assert found["name"] == b"CUDA of the host 1"
    assert (found["major"], found["minor"], found["warpSize"]) == (9, 0, 32)
    assert found["multiProcessorCount"] == 132
    assert found["totalGlobalMem"] == driver.MEMORY
    assert cupy.cuda.Device(0).compute_capability == "90"


def test_new_memory_holds_no_numbers():
    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc):
        assert np.isnan(cupy.asnumpy(cupy.empty(5, "float32"))).all()


def test_a_device_has_no_more_than_its_memory(driver):
    size = 2**20
    with driver.capacity(driver.state().live["bytes0"] + size):
        pool = cupy.cuda.MemoryPool()
        taken = pool.malloc(size)
        with pytest.raises(cupy.cuda.memory.OutOfMemoryError):
            pool.malloc(size)
        assert cupy.cuda.Device(0).mem_info[0] == 0
        with cupy.cuda.Device(1):
            other = cupy.cuda.MemoryPool().malloc(size)  # which has its own
        del taken, other
        pool.free_all_blocks()
        assert cupy.cuda.Device(0).mem_info[0] == size


def test_memory_that_is_freed_is_counted_as_free(driver):
    before = driver.state().live
    pool, pinned = cupy.cuda.MemoryPool(), cupy.cuda.PinnedMemoryPool()
    kept = pool.malloc(1000), pinned.malloc(5000)
    during = driver.state().live
    assert during["bytes0"] == before["bytes0"] + 1024  # whole units of CuPy's
    assert during["pinned"] >= before["pinned"] + 5000
    del kept
    pool.free_all_blocks()
    pinned.free_all_blocks()
    assert driver.state().live == before


def test_what_the_runtime_lacks_says_its_name(broken):
    with failing("NotSupported"):
        cupy.cuda.runtime.mallocManaged(100)
    assert "cudaMallocManaged is not part of the CUDA of the host" in broken()


# -- kernels -----------------------------------------------------------------------------------------


def test_kernels_of_ours_and_of_cupy_compute(doubled):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 7)).astype(np.float32)
    on_device = cupy.asarray(x)
    np.testing.assert_array_equal(
        (on_device.T * 3.0 + 1.0).get(), x.T * np.float32(3) + np.float32(1)
    )
    np.testing.assert_allclose(on_device.sum(axis=0).get(), x.sum(axis=0), rtol=1e-6)
    doubled(on_device)
    np.testing.assert_array_equal(on_device.get(), x + x)


def test_kernels_take_memory_of_their_device_only(doubled, broken):
    with cupy.cuda.Device(1):
        x = cupy.ones(5, "float32")
    with failing("IllegalAddress"):
        doubled(x)
    assert "doubled<float>: argument 0 lies on another device" in broken()


def test_kernels_take_no_memory_of_the_host(doubled, broken):
    x = np.ones(5, np.float32)
    memory = cupy.cuda.UnownedMemory(x.ctypes.data, x.nbytes, x, 0)
    with failing("IllegalAddress"):
        doubled(cupy.ndarray(x.shape, x.dtype, cupy.cuda.MemoryPointer(memory, 0)))
    assert "points to no memory of a device" in broken()


def test_kernels_are_started_on_streams_of_their_device(doubled, broken):
    with cupy.cuda.Device(1):
        stream = cupy.cuda.Stream(non_blocking=True)
    x = cupy.ones(5, "float32")
    doubled(x)  # which loads it on this device
    launch = kernel_of_ours().kernel.linear_launch
    with failing("ResourceHandle"):
        launch(5, (x, np.int64(x.size)), 0, 64, stream)
    assert "its stream is of another device" in broken()


# -- streams and events ------------------------------------------------------------------------------


def test_a_lazy_stream_works_where_it_is_waited_for(doubled, is_lazy):
    stream = cupy.cuda.Stream(non_blocking=True)
    x = cupy.ones(5, "float32")
    arrived = cupyx.zeros_pinned(5, "float32")
    cupy.cuda.Stream.null.synchronize()
    with stream:
        doubled(x)
        x.get(out=arrived, stream=stream, blocking=False)
    assert arrived.tolist() == [0.0 if is_lazy else 2.0] * 5
    stream.synchronize()
    assert arrived.tolist() == [2.0] * 5


def test_a_stream_waits_for_no_other_but_by_an_event(doubled, is_lazy):
    """So the test of a program that leaves the event out gives a wrong number, in lazy streams."""
    for waits in (False, True):
        first, second = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
        x = cupy.ones(5, "float32")
        cupy.cuda.Stream.null.synchronize()
        with first:
            doubled(x)
            event = first.record()
        with second:
            if waits:
                second.wait_event(event)
            doubled(x)
            seen = x.get(stream=second)
        assert seen.tolist() == [4.0 if waits or not is_lazy else 2.0] * 5
        first.synchronize()


def test_to_drop_a_stream_is_not_to_wait_for_it(doubled, is_lazy):
    stream, other = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
    x = cupy.ones(5, "float32")
    cupy.cuda.Stream.null.synchronize()
    with stream:
        doubled(x)
    del stream
    assert x.get(stream=other).tolist() == [1.0 if is_lazy else 2.0] * 5
    cupy.cuda.Device().synchronize()
    assert x.get().tolist() == [2.0] * 5


def test_the_legacy_stream_and_blocking_ones_wait_for_each_other(doubled):
    stream = cupy.cuda.Stream()
    x = cupy.ones(5, "float32")
    with stream:
        doubled(x)
    doubled(x)
    with stream:
        doubled(x)
    assert x.get(stream=stream).tolist() == [8.0] * 5


def test_each_thread_has_a_default_stream_of_its_own(doubled, is_lazy):
    mine, x, y = cupy.cuda.Stream.ptds, cupy.ones(5, "float32"), cupy.ones(5, "float32")
    cupy.cuda.Stream.null.synchronize()
    seen = []

    def work():
        with mine:
            doubled(x)
            seen.append(mine.done)

    thread = threading.Thread(target=work)
    with mine:
        doubled(y)
        thread.start()
        thread.join()
        assert mine.done is seen[0] is not is_lazy
        mine.synchronize()
        other = cupy.cuda.Stream(non_blocking=True)
        assert y.get(stream=other).tolist() == [2.0] * 5
        assert x.get(stream=other).tolist() == [1.0 if is_lazy else 2.0] * 5
    with cupy.cuda.Stream.null:  # the legacy one waits for that of each thread
        doubled(x)
        assert x.get().tolist() == [4.0] * 5


def test_a_default_stream_of_a_thread_is_captured_and_not_destroyed(doubled, driver, broken):
    x, stream = cupy.ones(5, "float32"), cupy.cuda.Stream.ptds
    doubled(x)
    streams = driver.state().live["streams"]
    with stream:
        stream.begin_capture()
        doubled(x)
        graph = stream.end_capture()
        graph.launch()
        assert x.get().tolist() == [4.0] * 5
    assert driver.state().live["streams"] == streams
    with failing("ResourceHandle"):
        cupy.cuda.runtime.streamDestroy(stream.ptr)
    assert "cudaStreamDestroy of a stream that is not there" in broken()


def test_an_event_is_done_when_what_was_before_it_is(doubled, is_lazy):
    stream, x = cupy.cuda.Stream(non_blocking=True), cupy.ones(5, "float32")
    cupy.cuda.Stream.null.synchronize()
    with stream:
        doubled(x)
        event = stream.record()
        doubled(x)
    assert event.done is not is_lazy
    event.synchronize()
    assert event.done
    assert stream.done is not is_lazy


def test_an_event_belongs_to_its_device(broken):
    event = cupy.cuda.Event()
    with cupy.cuda.Device(1), failing("ResourceHandle"):
        event.record(cupy.cuda.Stream(non_blocking=True))
    assert "an event is recorded on a stream of another device" in broken()


# -- what a block may have -----------------------------------------------------------------------------

BOUNDED = r"""
template <class T, int WARPS> struct Form { static constexpr int THREADS = 32 * WARPS; };
template <class T, class F = Form<T, 2>, int KIB = 0>
__global__ void __launch_bounds__(F::THREADS, 1) bounded(T* x) {
    __shared__ T numbers[KIB ? KIB * 1024 / sizeof(T) : 1];
    numbers[0] = x[0];
    __syncthreads();
    x[threadIdx.x] = numbers[0];
}
extern "C" __global__ void __launch_bounds__(96) plain(float* x) { x[threadIdx.x] = 3.0f; }
"""


def bounded(kernel):
    return cupy.RawModule(code=BOUNDED, name_expressions=(kernel,)).get_function(kernel)


@pytest.mark.parametrize(
    ("kernel", "most"),
    [("bounded<float>", 64), ("bounded<double, Form<double, 1>, 2>", 32), ("plain", 96)],
)
def test_a_block_has_no_more_threads_than_launch_bounds_say(kernel, most, broken):
    function, x = bounded(kernel), cupy.ones(1024)
    assert function.max_threads_per_block == most
    function((1,), (most,), (x,))
    with failing("InvalidValue"):
        function((1,), (most + 1,), (x,))
    assert f"{kernel} is launched with more threads than its bounds" in broken()


def test_static_shared_memory_counts_among_the_48_kib(broken):
    function, x = bounded("bounded<float, Form<float, 2>, 16>"), cupy.ones(64, "float32")
    assert function.shared_size_bytes == 16 * 1024
    assert function.max_dynamic_shared_size_bytes == 32 * 1024
    function((1,), (64,), (x,), shared_mem=32 * 1024)
    with failing("InvalidValue"):
        function((1,), (64,), (x,), shared_mem=32 * 1024 + 1)
    assert "is launched with more shared memory than it has" in broken()
    with failing("InvalidValue"):
        function.max_dynamic_shared_size_bytes = 211 * 1024 + 1
    assert "asks for shared memory that no device has" in broken()
    function.max_dynamic_shared_size_bytes = 211 * 1024
    function((1,), (64,), (x,), shared_mem=211 * 1024)


def launched(static, dynamic, launcher):
    """A kernel of so many KiB of shared memory, started by ``launcher``."""
    x = launcher.asarray(np.full(64, 7, "float32"))
    kernel = f"bounded<float, Form<float, 2>, {static}>"
    launcher.launch_source(BOUNDED, kernel, (1,), (64,), (x,), shared=dynamic * 1024)
    return x.get().tolist()


@pytest.mark.parametrize(("static", "dynamic", "asks"), [(16, 32, 0), (16, 40, 1), (0, 60, 1)])
def test_the_launcher_asks_for_what_static_memory_leaves_too_little_of(
    static, dynamic, asks, driver
):
    launcher = CuPyLauncher(0)
    before = driver.state()
    for _ in range(2):
        assert launched(static, dynamic, launcher) == [7.0] * 64
    calls = driver.state().calls_since(before)
    assert (calls["cuFuncGetAttribute"], calls["cuFuncSetAttribute"]) == (1, asks)


def test_the_launcher_asks_again_for_more_than_before(driver):
    launcher, before = CuPyLauncher(0), driver.state()
    asked = []
    for dynamic in (8, 32, 33, 40, 39, 40):
        assert launched(16, dynamic, launcher) == [7.0] * 64
        asked.append(driver.state().calls_since(before)["cuFuncSetAttribute"])
    assert asked == [0, 0, 1, 2, 2, 2]


def test_the_launcher_refuses_what_devices_lack(driver):
    with pytest.raises(
        InvalidValueError, match=r"at most 101376 B, got 16384 B of static .* 87040"
    ):
        launched(16, 85, CuPyLauncher(0))
    assert not driver.state().faults


def test_more_than_48_kib_are_asked_for_once(driver):
    launcher, text = CuPyLauncher(0), TEXT + "// of a launcher of its own"
    x = launcher.asarray(np.arange(1024, dtype="float32"))
    y = launcher.empty(x.shape, "float32")
    before = driver.state()
    for _ in range(2):
        launcher.launch_source(text, "turned_around", (1,), (1024,), (x, y), shared=60 * 1024)
    assert y.get().tolist() == list(range(1024))[::-1]
    assert driver.state().calls_since(before)["cuFuncSetAttribute"] == 1


def test_what_was_not_asked_for_is_refused(broken):
    kernel = cupy.RawKernel('extern "C" __global__ void f() {}', "f")
    with failing("InvalidValue"):
        kernel((1,), (32,), (), shared_mem=48 * 1024 + 1)
    assert "f is launched with more shared memory than it has" in broken()
    kernel.max_dynamic_shared_size_bytes = 48 * 1024 + 1
    kernel((1,), (32,), (), shared_mem=48 * 1024 + 1)
    with failing("InvalidValue"):
        kernel.max_dynamic_shared_size_bytes = 228 * 1024
    assert "f asks for shared memory that no device has" in broken()


# -- capture -----------------------------------------------------------------------------------------


def test_a_graph_does_again_what_was_captured(doubled, driver):
    x = cupy.ones(5, "float32")
    doubled(x)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        doubled(x)
        doubled(x)
        graph = stream.end_capture()
    assert driver.state().nodes == ("kernel doubled<float>",) * 2
    assert x.get().tolist() == [2.0] * 5  # captured is not run
    graph.launch(cupy.cuda.Stream.null)
    graph.launch(cupy.cuda.Stream.null)
    assert x.get().tolist() == [32.0] * 5


REFUSED = {
    "cudaStreamSynchronize": lambda stream: stream.synchronize(),
    "cudaDeviceSynchronize": lambda stream: cupy.cuda.Device(0).synchronize(),
    "a copy from or to the host": lambda stream: cupy.cuda.runtime.memcpyAsync(
        cupy.empty(5).data.ptr, np.ones(5).ctypes.data, 40, 1, stream.ptr
    ),
    "the load of a module": lambda stream: cupy.RawModule(code="__global__ void f() {}").compile(),
    "an event for streams outside": lambda stream: stream.record(),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_captured_is_refused(what, capturing, broken):
    with failing("Capture"):
        REFUSED[what](capturing)
    assert f"{what} while a stream is captured" in broken()


def test_a_strict_capture_refuses_to_allocate(broken):
    stream = cupy.cuda.Stream(non_blocking=True)
    runtime = cupy.cuda.runtime
    with stream:
        stream.begin_capture(runtime.streamCaptureModeGlobal)
        with failing("Capture"):
            runtime.malloc(100)
        with failing("Invalidated"):
            stream.end_capture()
    assert "cudaMalloc while a stream is captured" in broken()


def test_a_graph_uses_no_memory_that_was_freed(doubled, broken):
    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc):
        x = cupy.ones(5, "float32")
    doubled(x)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        doubled(x)
        graph = stream.end_capture()
    del x
    pool.free_all_blocks()
    taken = cupy.cuda.MemoryPool().malloc(512)  # perhaps at the same address
    with failing("IllegalAddress"):
        graph.launch(cupy.cuda.Stream.null)
    assert "uses memory that was freed" in broken()
    del taken


def test_no_product_of_cublas_is_captured(capturing):
    ones = np.ones((2, 2), np.float32)
    with pytest.raises(NotImplementedError, match="cuBLAS"):
        cupy.matmul(ones, ones)


# -- CuPy's own kernels --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "float32", "float64"])
def test_a_division_of_cupys_rounds_down(dtype):
    numbers = np.array([7, 6, -7, -6, 1, -1, 0, 3])
    divisors = np.array([3, -3, 3, -3, 5, 5, 7, 4])
    if dtype == "uint32":
        numbers, divisors = abs(numbers), abs(divisors)
    x, y = numbers.astype(dtype), divisors.astype(dtype)
    found = cupy.asnumpy(cupy.asarray(x) // cupy.asarray(y))
    np.testing.assert_array_equal(found, x // y)
