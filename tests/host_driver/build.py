"""Compiles the library with g++, once for all processes, beside the kernels of tests/host_cuda."""

import hashlib
import tempfile
from pathlib import Path

from host_cuda.build import cache_folder, locked, tool, toolchain

_FOLDER = Path(__file__).parent
_FLAGS = ("-std=c++17", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Werror")
_FLAGS += ("-Wno-unknown-pragmas", "-Wl,-soname,libcuda.so.1")


def driver_library() -> Path:
    """The shared library, under the name by which CuPy asks for the driver."""
    sources = sorted(_FOLDER.glob("*.cpp"))
    texts = [path.read_text() for path in (*sources, _FOLDER / "state.h")]
    key = hashlib.sha256("\0".join((toolchain(), *_FLAGS, *texts)).encode()).hexdigest()[:32]
    path = cache_folder() / f"{key}.so"
    if not path.exists():
        with locked(key), tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
            library = Path(folder) / "driver.so"
            tool("g++", *_FLAGS, *map(str, sources), "-o", str(library))
            library.rename(path)
    return path
