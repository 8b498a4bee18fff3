"""Makes CuPy's runtime module call the CUDA of the host.

CuPy finds the driver as a shared library, but NVIDIA's runtime is linked into one of its modules,
`cupy_backends.cuda.api.runtime`, whose symbols the wheel keeps. So the module is loaded, and before
it is initialised each function of the runtime in it begins with a jump to ours of that name; one that
we lack, with a jump to what says so. Nothing on the disk is changed.
"""

import ctypes
import importlib.util
import mmap
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_MODULE = "cupy_backends.cuda.api.runtime"
_INIT = "PyInit_runtime"
_READ_WRITE_EXECUTE = 7

_names: list[bytes] = []
"""Of functions that are not there; they are read when one is called."""


def redirect_runtime(driver: ctypes.CDLL) -> None:
    path = _path()
    module = ctypes.PyDLL(str(path))  # loaded, not initialised: an import finds it as it is then
    symbols = dict(_symbols(path))
    functions = {name: place for name, place in symbols.items() if re.match(r"cuda[A-Z]", name)}
    if "cudaMalloc" not in functions or _INIT not in symbols:
        raise RuntimeError(
            f"{path.name} of this CuPy does not say where the functions of CUDA's runtime are"
        )
    loaded_at = _address(module[_INIT]) - symbols[_INIT][0]
    missing = _address(driver.host_driver_missing)
    for name, (offset, size) in functions.items():
        ours = getattr(driver, name, None)
        code = _jump(_address(ours)) if ours is not None else _named_jump(name, missing)
        if len(code) > size:
            raise RuntimeError(f"{name} in {path.name} is too short for a jump")
        _write(loaded_at + offset, code)


def _path() -> Path:
    spec = importlib.util.find_spec("cupy_backends")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0]) / "cuda" / "api"
    tag = f"cpython-{sys.version_info[0]}{sys.version_info[1]}-"
    [path] = folder.glob(f"runtime.{tag}*.so")
    return path


def _symbols(path: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Name, offset and size of each function in the shared library ``path``."""
    listing = subprocess.run(
        ["nm", "--print-size", "--defined-only", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    for line in listing.stdout.splitlines():
        match line.split():
            case [offset, size, "t" | "T", name]:
                yield name, (int(offset, 16), int(size, 16))


def _address(function: ctypes._CFuncPtr) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _jump(target: int) -> bytes:
    return b"\x48\xb8" + target.to_bytes(8, "little") + b"\xff\xe0"  # mov rax, target; jmp rax


def _named_jump(name: str, target: int) -> bytes:
    """With the name as the first argument."""
    _names.append(name.encode() + b"\0")
    place = ctypes.cast(ctypes.c_char_p(_names[-1]), ctypes.c_void_p).value or 0
    return b"\x48\xbf" + place.to_bytes(8, "little") + _jump(target)  # mov rdi, place


def _write(address: int, code: bytes) -> None:
    page = address // mmap.PAGESIZE * mmap.PAGESIZE
    size = ctypes.c_size_t(address + len(code) - page)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(page), size, _READ_WRITE_EXECUTE):
        raise OSError(ctypes.get_errno(), "the code of CuPy's runtime module cannot be changed")
    ctypes.memmove(address, code, len(code))
