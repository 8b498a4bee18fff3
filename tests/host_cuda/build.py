"""Compiles a kernel with g++, once for all processes, into a shared library."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from arraycnn.ops.cuda.launcher import MOST_THREADS

_FOLDER = Path(__file__).parent
_CPU = Path("/proc/cpuinfo")

_COMMON = (
    "-std=c++17",
    "-fPIC",
    "-g1",
    *(("-mfma",) if _CPU.exists() and " fma " in _CPU.read_text() else ()),
    "-ffp-contract=off",
    "-fvisibility=hidden",
)
_UNDEFINED = ("-fsanitize=undefined", "-fsanitize=bounds-strict", "-fno-sanitize-recover=all")
_FLAGS = {
    "fast": ("-O2", "-Wall", "-Werror=uninitialized", "-Werror=maybe-uninitialized"),
    "checked": ("-O1", "-fsanitize=thread", *_UNDEFINED),
    "sanitized": ("-O1", "-fsanitize=address", *_UNDEFINED),
}
_QUIET = ("-Wno-unknown-pragmas", "-Wno-unused-function", "-Wno-unused-variable", "-Wno-tsan")


class KernelFault(AssertionError):
    """A kernel did what it must not, or was started with arguments that are not its own."""


_WRAPPER = """
#include "{header}"
namespace {{
{text}
{template} struct MostThreads {{ static constexpr int value = hc::first_of({bounds}); }};
}}
#line 1 "launch of {kernel}"
using Entry = hc::Entry<&{kernel}>;
#define PUBLIC __attribute__((visibility("default")))
extern "C" {{
HC_SHARED_SECTION
PUBLIC extern const int hc_most_threads = MostThreads{arguments}::value;
PUBLIC int hc_static_shared() {{ return __stop_cuda_shared - __start_cuda_shared; }}
PUBLIC extern const int hc_parameter_count = Entry::count;
PUBLIC const hc::Parameter* hc_parameters() {{ return Entry::parameters; }}
PUBLIC void hc_start(hc::Launch* launch) {{ hc_run(launch, Entry::parameters, Entry::run); }}
}}
"""


_BOUNDS = (
    r"(template\s*<[^;{{}}]*>\s*)?__global__\s+void\s+__launch_bounds__"
    r"\(((?:[^()]|\([^()]*\))*)\)\s*{name}\s*\("
)


def compiled(text: str, kernel: str, mode: str) -> Path:
    """The shared library of ``kernel``, of a .cu file with this text.

    Parameters
    ----------
    mode : "fast", "checked" or "sanitized"
        Plain; under our own checker.cpp; or under AddressSanitizer.
    """
    key = hashlib.sha256("\0".join((toolchain(), text, kernel, mode)).encode()).hexdigest()[:32]
    path = cache_folder() / f"{key}.so"
    if not path.exists():
        with locked(key):
            if not path.exists():
                _compile(text, kernel, mode, path)
    return path


def _compile(text: str, kernel: str, mode: str, path: Path) -> None:
    objects = [_runtime_object("runtime.cpp", mode)]
    if mode == "checked":
        objects.append(_runtime_object("checker.cpp", mode))
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        code, object_, library = (Path(folder) / name for name in ("k.cpp", "k.o", "k.so"))
        code.write_text(_wrapped(text, kernel))
        tool("g++", *_COMMON, *_FLAGS[mode], *_QUIET, "-c", str(code), "-o", str(object_))
        # GCC takes no section for a static of a template: so all of .bss, which holds nothing else.
        tool("objcopy", "--rename-section", ".bss=cuda_shared", str(object_))
        # Without the library of C++, which whoever loads it has loaded: to read it takes a linker twice
        # as long as all the rest.
        linker = ("gcc",) if mode != "sanitized" else ("g++", *_FLAGS[mode][1:])
        tool(*linker, "-shared", str(object_), *map(str, objects), "-o", str(library))
        library.rename(path)


def _wrapped(text: str, kernel: str) -> str:
    """``text`` with a way in to ``kernel``, and with what its launch bounds are.

    g++ has no such attribute, but can compute them: by a struct of the kernel's template parameters.
    """
    if text.count("__launch_bounds__") != len(re.findall(_BOUNDS.format(name=r"\w+"), text)):
        message = (
            f"{kernel}: launch bounds stand behind `__global__ void`, or nobody reads them here"
        )
        raise KernelFault(message)
    name, bracket, rest = kernel.partition("<")
    found = re.search(_BOUNDS.format(name=re.escape(name.strip())), text)
    template, bounds = found.groups(default="") if found else ("", str(MOST_THREADS))
    arguments = bracket + rest if template else ""
    return _WRAPPER.format(
        header=_FOLDER / "host.h",
        text=text,
        kernel=kernel,
        template=template,
        bounds=bounds,
        arguments=arguments,
    )


def _runtime_object(name: str, mode: str) -> Path:
    """The object of the runtime's file ``name``, itself instrumented for AddressSanitizer only."""
    flags = ("-fsanitize=address",) if mode == "sanitized" else ()
    key = hashlib.sha256("\0".join((toolchain(), name, *flags)).encode()).hexdigest()[:32]
    path = cache_folder() / f"{key}.o"
    if not path.exists():
        with locked(key), tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
            object_ = Path(folder) / "r.o"
            tool("g++", *_COMMON, *flags, "-O2", "-c", str(_FOLDER / name), "-o", str(object_))
            object_.rename(path)
    return path


def tool(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelFault(f"does not compile:\n{done.stderr[:4000]}")


@cache
def toolchain() -> str:
    """What a compiled kernel depends on besides its text."""
    for tool in ("g++", "gcc", "objcopy", "addr2line", "nm"):
        if not shutil.which(tool):
            raise RuntimeError(f"{tool} is missing: install g++ (with binutils)")
    version = subprocess.run(
        ["g++", "--version"], capture_output=True, text=True, check=True
    ).stdout
    files = [path.read_text() for path in sorted(_FOLDER.glob("*.[hc]*"))]
    return "\0".join(
        (version.splitlines()[0], _WRAPPER, *_COMMON, *map(str, _FLAGS.items()), *files)
    )


@cache
def cache_folder() -> Path:
    """Where compiled kernels are kept, for all processes of this user."""
    folder = os.environ.get("ARRAYCNN_HOST_CUDA_CACHE")
    path = Path(folder or Path(tempfile.gettempdir()) / f"arraycnn-host-cuda-{os.getuid()}")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_uid != os.getuid():
        raise RuntimeError(f"{path} belongs to another user: set ARRAYCNN_HOST_CUDA_CACHE")
    return path


class locked:
    """One process at a time for what ``key`` names."""

    def __init__(self, key: str) -> None:
        self._path = cache_folder() / f"{key}.lock"

    def __enter__(self) -> None:
        import fcntl  # here, so that other systems can import the package and skip its tests

        self._file = self._path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: Any) -> None:
        self._file.close()
