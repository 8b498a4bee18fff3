"""A CUDA of the host: real CuPy, and all that stands on it, on a machine without a GPU.

A driver and a runtime in one library, which computes on the CPU: devices, memory with a capacity,
streams, events, stream capture and graphs, with the rules of CUDA's manual enforced. CuPy's compiler
is `tests/host_cuda`, for our kernels and CuPy's own. How to use it::

    pytest --host-driver=eager -m gpu tests/backends/test_gpu.py

runs tests of the `gpu` mark in a process that has it in place of a device; there ::

    before = host_driver.state()
    model.predict(images)
    calls = host_driver.state().calls_since(before)

tells what was asked of CUDA. ``eager`` streams work at once, ``lazy`` ones only where the program
waits for them, so that a wait that is missing shows as a wrong result; a test passes under both.
A process has it from before its first import of CuPy to its end.

What a program must not do is an error, as of CUDA, and a line in `State.faults`, which fails the
test. Stricter than CUDA: no copy between host and device and no load of a module while a stream is
captured, no work of one device on the memory of another, no capture across streams. Of a kernel it
knows what its text says: launch bounds and static shared memory, and so how much dynamic memory it may
have; not its registers. Not there:
tensor cores but as tests/host_cuda computes them, CuPy's accelerators (CUB), cuBLAS, of which
`cupy.matmul` has a stand-in, time, and the driver's own faults.

state.h: what the library keeps. devices.cpp, memory.cpp, streams.cpp, graphs.cpp, modules.cpp: CUDA's
functions by subject. build.py: compiling it. redirect.py: CuPy's runtime made to call it.
programs.py: CuPy's compiler. cupy_arrays.h: what CuPy's kernels expect of its headers.
"""

import ctypes
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from host_driver.build import driver_library

STREAMS = ("eager", "lazy")
DEVICES = 2
MEMORY = 8 * 2**30
"""Bytes of each device."""

_driver: ctypes.CDLL | None = None
_streams = "eager"


def install(streams: str) -> None:
    """Put it in place of a device for the rest of this process; CuPy must not be there yet."""
    global _driver, _streams
    if "cupy" in sys.modules:
        raise RuntimeError("CuPy was imported before the CUDA of the host was installed")
    os.environ["CUPY_CACHE_IN_MEMORY"] = "1"  # else CuPy keeps what stands for machine code
    os.environ["CUPY_ACCELERATORS"] = ""  # which are compiled into its wheel
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    # By the name under which CuPy loads the driver; for all, as the system's would be.
    _driver = ctypes.CDLL(str(driver_library()), mode=ctypes.RTLD_GLOBAL)
    _driver.host_driver_set.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_size_t)
    _driver.host_driver_state.restype = ctypes.c_size_t
    _streams = streams
    _set(MEMORY)
    from host_driver.programs import compile_on_host, products_without_cublas
    from host_driver.redirect import redirect_runtime

    redirect_runtime(_driver)
    compile_on_host(_driver)
    products_without_cublas()


def is_installed() -> bool:
    return _driver is not None


@contextmanager
def capacity(memory: int) -> Iterator[None]:
    """Within the block each device has ``memory`` bytes."""
    _set(memory)
    try:
        yield
    finally:
        _set(MEMORY)


@dataclass(frozen=True)
class State:
    """What was asked of CUDA since the process began, and what is there now.

    Attributes
    ----------
    calls, in_capture : Counter
        Calls by function, all and those made while a stream was captured. Copies are counted by
        their direction, too: copy-to-host, copy-to-device, copy-on-device, copy-of-another-device;
        captures by their mode: capture-global, capture-thread-local, capture-relaxed.
    live : dict
        What is allocated and not freed: ``bytes0`` of device 0 and so on, ``pinned`` bytes,
        ``streams``, ``events``, ``graphs``, ``modules``.
    nodes : tuple of str
        Of the graph that was made last: "kernel NAME", "copy", "set".
    faults : tuple of str
        Rules that were broken since `clear_faults`.
    """

    calls: Counter[str] = field(default_factory=Counter)
    in_capture: Counter[str] = field(default_factory=Counter)
    live: dict[str, int] = field(default_factory=dict)
    nodes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    def calls_since(self, before: "State") -> Counter[str]:
        return self.calls - before.calls

    def in_capture_since(self, before: "State") -> Counter[str]:
        return self.in_capture - before.in_capture


def state() -> State:
    driver = _installed()
    # Asked twice, since it is said in how much room it fits; another thread may add a line between.
    room = driver.host_driver_state(None, ctypes.c_size_t(0)) + 4096
    text = ctypes.create_string_buffer(room)
    driver.host_driver_state(text, ctypes.c_size_t(room))
    found = State()
    nodes, faults = [], []
    for line in text.value.decode().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "call":
            name, times, in_capture = rest.split()
            found.calls[name], found.in_capture[name] = int(times), int(in_capture)
        elif kind == "live":
            name, number = rest.split()
            found.live[name] = int(number)
        else:
            (nodes if kind == "node" else faults).append(rest)
    return State(found.calls, found.in_capture, found.live, tuple(nodes), tuple(faults))


def clear_faults() -> None:
    _installed().host_driver_clear_faults()


def _set(memory: int) -> None:
    _installed().host_driver_set(int(_streams == "lazy"), DEVICES, memory)


def _installed() -> ctypes.CDLL:
    if _driver is None:
        raise RuntimeError("the CUDA of the host is not installed: pytest --host-driver=eager")
    return _driver
