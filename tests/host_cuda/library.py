"""A compiled kernel: checks the arguments it is given, runs it, and says what went wrong."""

import ctypes
import mmap
import re
import subprocess
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from arraycnn.ops.cuda.launcher import MOST_SHARED, MOST_THREADS, Struct, flat
from host_cuda.build import KernelFault, compiled

ORDERS = ("forward", "reverse", "random")

_STACK = 256 * 1024  # bytes, as in runtime.h
_MAP_NORESERVE = 0x4000  # in `mmap` from Python 3.13 on


class _Index(ctypes.Structure):
    _fields_ = [(axis, ctypes.c_uint) for axis in "xyz"]

    def __str__(self) -> str:
        return f"({self.x}, {self.y}, {self.z})"


class _Buffer(ctypes.Structure):
    _fields_ = [
        ("start", ctypes.c_void_p),
        ("bytes", ctypes.c_size_t),
        ("argument", ctypes.c_int),
        ("writeable", ctypes.c_int),
        ("element", ctypes.c_int),
    ]


class _Launch(ctypes.Structure):
    _fields_ = [
        ("grid", _Index),
        ("block", _Index),
        ("shared", ctypes.c_size_t),
        ("arguments", ctypes.POINTER(ctypes.c_void_p)),
        ("buffers", ctypes.POINTER(_Buffer)),
        ("buffer_count", ctypes.c_int),
        ("stacks", ctypes.c_void_p),
        ("order", ctypes.c_int),
        ("seed", ctypes.c_ulonglong),
        ("first_block", ctypes.c_longlong),
        ("end_block", ctypes.c_longlong),
        ("what", ctypes.c_char * 400),
        ("fault_block", _Index),
        ("fault_thread", _Index),
        ("file", ctypes.c_char_p),
        ("line", ctypes.c_int),
        ("pc", ctypes.c_void_p),
        ("other_pc", ctypes.c_void_p),
    ]


class _Parameter(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_char),
        ("element", ctypes.c_char),
        ("is_const", ctypes.c_char),
        ("bytes", ctypes.c_int),
    ]


_ELEMENTS = {
    "float32": "f",
    "float64": "d",
    "int32": "iI",
    "uint32": "iIT",
    "int64": "qQ",
    "uint64": "qQ",
    "uint8": "B",
    "uint16": "H",
    "int8": "b",
    "bool": "?",
}
_C_TYPES = {
    "f": "float",
    "d": "double",
    "i": "int",
    "I": "unsigned",
    "q": "long long",
    "Q": "unsigned long long",
    "B": "unsigned char",
    "H": "Bfloat16",
    "T": "TensorFloat32",
    "b": "signed char",
    "?": "bool",
}
_KINDS = {
    "p": "an array or None",
    "s": "a Struct",
    "l": "an int",
    "f": "np.float32",
    "d": "np.float64",
}


@cache
def cpp_runtime() -> ctypes.CDLL:
    """What kernels' libraries need of C++; they are not linked with it (`build`)."""
    return ctypes.CDLL("libstdc++.so.6", mode=ctypes.RTLD_GLOBAL)


class Library:
    """A kernel, compiled and loaded."""

    def __init__(self, path: Path) -> None:
        self._path = path
        cpp_runtime()
        self._library = ctypes.CDLL(str(path))
        self._start = self._library.hc_start
        self._start.restype = None
        count = ctypes.c_int.in_dll(self._library, "hc_parameter_count").value
        self.most_threads = ctypes.c_int.in_dll(self._library, "hc_most_threads").value
        """Of a block: the kernel's launch bounds."""
        self.static_shared: int = self._library.hc_static_shared()
        """Bytes of a block."""
        self._library.hc_parameters.restype = ctypes.POINTER(_Parameter)
        parameters = self._library.hc_parameters()[:count]
        self._parameters = [
            (p.kind.decode(), p.element.decode(), bool(p.is_const[0]), p.bytes) for p in parameters
        ]

    def entry(self) -> tuple[int, int, int]:
        """Addresses of what starts the kernel and of its parameters, and how many these are."""
        parameters = ctypes.cast(self._library.hc_parameters(), ctypes.c_void_p).value or 0
        start = ctypes.cast(self._start, ctypes.c_void_p).value or 0
        return start, parameters, len(self._parameters)

    def check_block(self, name: str, threads: int, shared: int) -> None:
        """KernelFault where a block of ``threads`` with ``shared`` dynamic bytes cannot be started."""
        if threads > self.most_threads:
            message = f"{name}: has launch bounds of {self.most_threads} threads, got {threads}"
            raise KernelFault(message)
        if self.static_shared + shared > MOST_SHARED:
            message = (
                f"{name}: has {self.static_shared} bytes of static shared memory, got {shared}"
            )
            raise KernelFault(message)

    def check(self, name: str, args: tuple[Any, ...]) -> None:
        """KernelFault unless the kernel takes ``args``."""
        if len(args) != len(self._parameters):
            raise KernelFault(f"{name}: takes {len(self._parameters)} arguments, got {len(args)}")
        for number, (argument, parameter) in enumerate(zip(args, self._parameters, strict=True)):
            wrong = _wrong(argument, *parameter)
            if wrong:
                raise KernelFault(f"{name}: argument {number} {wrong}")

    def run(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: tuple[Any, ...],
        shared: int,
        order: str,
        seed: int,
        first: int,
        end: int,
    ) -> str:
        """What went wrong, or ""."""
        values = [_by_value(argument) for argument in args]
        pointers = [ctypes.addressof(value) for value in values]
        buffers = _buffers(args)
        launch = _Launch(
            grid=_Index(*grid, *(1,) * (3 - len(grid))),
            block=_Index(*block, *(1,) * (3 - len(block))),
            shared=shared,
            arguments=(ctypes.c_void_p * len(values))(*pointers),
            buffers=(_Buffer * len(buffers))(*buffers),
            buffer_count=len(buffers),
            stacks=ctypes.addressof(stacks()),
            order=ORDERS.index(order),
            seed=seed,
            first_block=first,
            end_block=end,
        )
        self._start(ctypes.byref(launch))
        if not launch.what:
            return ""
        place = self._line(launch.pc) if launch.pc else ""
        if not place and launch.file:
            place = f"{launch.file.decode()}:{launch.line}"
        other = f" in {self._line(launch.other_pc)}" if launch.other_pc else ""
        position = f"block {launch.fault_block} thread {launch.fault_thread} {place}".rstrip()
        return f"{position}: {launch.what.decode()}{other}"

    def _line(self, address: int) -> str:
        offset = address - 1 - self._loaded_at
        command = ["addr2line", "-s", "-e", str(self._path), hex(offset)]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return found.split()[0]

    @cached_property
    def _loaded_at(self) -> int:
        return ctypes.cast(self._library.hc_start, ctypes.c_void_p).value - self._offset_of(
            "hc_start"
        )

    def _offset_of(self, symbol: str) -> int:
        listing = subprocess.run(
            ["nm", "-D", str(self._path)], capture_output=True, text=True, check=True
        )
        return int(re.search(rf"^(\w+) \w {symbol}$", listing.stdout, re.MULTILINE)[1], 16)


def arrays_of(args: tuple[Any, ...]) -> list[tuple[int, np.ndarray]]:
    """Each array among ``args`` with the place of its argument."""
    return [
        (number, array)
        for number, argument in enumerate(args)
        for array in flat((argument,))
        if isinstance(array, np.ndarray)
    ]


@cache
def stacks() -> ctypes.Array:
    """Stacks for the threads of a block, with a page before each that none may touch.

    One set for all libraries, since a process may have some 65000 pieces of memory only.
    """
    libc = ctypes.CDLL(None)
    size = MOST_THREADS * _STACK
    memory = (ctypes.c_char * size).from_buffer(lazy_memory(size))
    first = ctypes.addressof(memory)
    for start in range(first, first + size, _STACK):
        libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(mmap.PAGESIZE), 0)
    return memory


def lazy_memory(size: int) -> mmap.mmap:
    """Memory of zeros that is there only where it is touched, however large it is."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    return mmap.mmap(-1, max(1, size), flags=flags)


def _wrong(argument: Any, kind: str, element: str, is_const: bool, size: int) -> str:
    """What is wrong with ``argument`` for such a parameter, or ""."""
    got = f"is {type(argument).__name__}"
    if kind == "?":
        return "is taken as a type that launches never pass: whole numbers are long long"
    if kind == "p":
        if argument is None:
            return ""
        if not isinstance(argument, np.ndarray):
            return f"{got}, the kernel takes {_KINDS[kind]}"
        if element not in "*" + _ELEMENTS.get(str(argument.dtype), ""):
            return f"is an array of {argument.dtype}, the kernel takes one of {_C_TYPES[element]}"
        if not is_const and not argument.flags.writeable:
            return "is read-only, the kernel writes to it"
        return ""
    if kind == "s":
        if not isinstance(argument, Struct):
            return f"{got}, the kernel takes {_KINDS[kind]}"
        given = ctypes.sizeof(_by_value(argument))
        if size != given:
            return f"has members of {given} bytes, the kernel takes {size}"
        return ""
    expected = {"l": int, "f": np.float32, "d": np.float64}[kind]
    if type(argument) is not expected:
        return f"{got}, the kernel takes {_KINDS[kind]}"
    if kind == "l" and not -(2**63) <= argument < 2**63:
        return f"is {argument}, more than 64 bits hold"
    return ""


def _by_value(argument: Any) -> Any:
    """``argument`` as the kernel reads it."""
    if isinstance(argument, np.ndarray):
        return ctypes.c_void_p(argument.ctypes.data)
    if isinstance(argument, Struct):
        members = [_by_value(member) for member in argument.members]
        fields = [(f"member{i}", type(member)) for i, member in enumerate(members)]
        return type("Members", (ctypes.Structure,), {"_fields_": fields})(*members)
    if isinstance(argument, np.float32):
        return ctypes.c_float(argument)
    if isinstance(argument, np.float64):
        return ctypes.c_double(argument)
    return ctypes.c_void_p(None) if argument is None else ctypes.c_longlong(argument)


def _buffers(args: tuple[Any, ...]) -> list[_Buffer]:
    """The memory of ``args``: what overlaps is one buffer, so that an address has one place."""
    merged: list[_Buffer] = []
    arrays = [(a.ctypes.data, number, a) for number, a in arrays_of(args) if a.nbytes]
    for start, number, array in sorted(arrays, key=lambda row: row[:2]):
        last = merged[-1] if merged else None
        if last is not None and start < last.start + last.bytes:
            last.bytes = max(last.bytes, start + array.nbytes - last.start)
            last.writeable |= array.flags.writeable
            last.element = min(last.element, array.itemsize)
        else:
            row = (start, array.nbytes, number, array.flags.writeable, array.itemsize)
            merged.append(_Buffer(*row))
    return merged


@cache
def library(text: str, kernel: str, mode: str) -> Library:
    """``kernel`` of a .cu file with this text, compiled and loaded; see `compiled` for ``mode``."""
    return Library(compiled(text, kernel, mode))
