"""Stands for NVRTC and cuBLAS: kernels, ours and CuPy's own, are compiled by tests/host_cuda.

A "program" that CuPy loads as a module is a number; the library asks here for its kernels.
"""

import ctypes
import re
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from host_cuda.library import library, stacks

_NVRTC = (13, 0)
"""The version that CuPy is told: of it, it takes only what devices the compiler knows."""
_HEADER = (Path(__file__).parent / "cupy_arrays.h").read_text()


class _Found(ctypes.Structure):
    """A kernel, as modules.cpp has it."""

    _fields_ = [
        ("start", ctypes.c_void_p),
        ("parameters", ctypes.c_void_p),
        ("count", ctypes.c_int),
        ("stacks", ctypes.c_void_p),
        ("most_threads", ctypes.c_int),
        ("static_shared", ctypes.c_int),
    ]


_Find = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(_Found))


class HostProgram:
    """What CuPy's `_NVRTCProgram` is to it: compiled when a kernel is first asked for."""

    def __init__(
        self,
        src: str,
        name: str = "default_program",
        headers: tuple = (),
        include_names: tuple = (),
        name_expressions: tuple[str, ...] | None = None,
        method: str = "ptx",
    ) -> None:
        self.src = src
        self.name = name
        self.name_expressions = name_expressions or ()

    def compile(self, options: tuple = (), log_stream: Any = None) -> tuple[bytes, dict | None]:
        """What stands for machine code, and the symbols of the kernels that were named."""
        _programs.append(self)
        symbols = {kernel: kernel for kernel in self.name_expressions}
        return b"host program %d\0" % (len(_programs) - 1), symbols or None

    def text(self) -> str:
        """The source for g++: CuPy's own kernels are given a header of ours in place of its."""
        if self.name_expressions:
            return self.src
        body = re.sub(r"#include\s*<[^>]*>", "", self.src)
        return _HEADER + body if re.search(r"CArray|CIndexer|CUPY_FOR", body) else body


_programs: list[HostProgram] = []


def _find(program: int, name: bytes, found: Any) -> int:
    try:
        text = _programs[program].text()
        kernel = library(text, name.decode(), "fast")
    except BaseException:  # which cannot pass through C: CuPy says that there is no such kernel
        traceback.print_exc(file=sys.stderr)
        return 0
    found[0] = _Found(
        *kernel.entry(), ctypes.addressof(stacks()), kernel.most_threads, kernel.static_shared
    )
    return 1


_find_for_c = _Find(_find)


def compile_on_host(driver: ctypes.CDLL) -> None:
    """Have CuPy compile by `HostProgram`, and ``driver`` find the kernels."""
    driver.host_driver_find_kernels_by(_find_for_c)
    from cupy.cuda import compiler, nvrtc

    compiler._NVRTCProgram = HostProgram
    compiler._get_nvrtc_version = nvrtc.getVersion = lambda: _NVRTC


def products_without_cublas() -> None:
    """`cupy.matmul` by NumPy: refused in a capture, as CuPy refuses cuBLAS there."""
    import cupy

    def matmul(a: Any, b: Any) -> Any:
        if cupy.cuda.get_current_stream().is_capturing():
            raise NotImplementedError(
                "calling cuBLAS API during stream capture is currently unsupported"
            )
        return cupy.asarray(np.matmul(a.get(), b.get()))

    cupy.matmul = matmul
