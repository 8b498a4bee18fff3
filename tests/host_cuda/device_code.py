"""What NVRTC makes of the kernels for a device: it needs no driver."""

import hashlib
import json
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from arraycnn.ops.cuda.cupy import compiler_options
from arraycnn.ops.cuda.sources import source
from host_cuda.build import cache_folder

ARCHITECTURES = (80, 90, 100)
AS_CUPY = (*compiler_options((12, 4)), "-ftz=true", "--device-as-default-execution-space")
"""What CuPy compiles with, by NVRTC 12.4 or later; tests/ops/test_cuda_launcher.py compares."""
_OPTIONS = (*AS_CUPY, "--ptxas-options=-v")


class DoesNotCompile(AssertionError):
    """NVRTC refused a kernel."""


@dataclass(frozen=True)
class Figures:
    """What one kernel takes on one architecture.

    Attributes
    ----------
    registers : int, of a thread
    spilled : int
        Bytes of registers moved to memory and back, for want of registers.
    stack : int
        Bytes of memory of a thread's own, for arrays that are not in registers.
    shared : int
        Bytes of static shared memory of a block.
    most_threads : int
        Threads of a block, by __launch_bounds__; 1024 without it.
    """

    registers: int
    spilled: int
    stack: int
    shared: int
    most_threads: int


@dataclass(frozen=True)
class Compiled:
    """A kernel as NVRTC compiles it: its figures, its name in the code, and the file with that."""

    figures: Figures
    name: str
    cubin: Path


def compiled(file: str, kernel: str, architecture: int) -> Compiled:
    """``kernel`` of ``file``.cu, compiled as a program of its own, and kept on disk.

    ``file`` may be the name of a `generated` text, too.

    Raises `DoesNotCompile` with NVRTC's message.
    """
    from cupy_backends.cuda.libs import nvrtc

    text = source(file)
    key = ("one", text, kernel, str(architecture), *_OPTIONS, str(nvrtc.getVersion()))
    path = cache_folder() / f"{hashlib.sha256('|'.join(key).encode()).hexdigest()[:32]}.json"
    cubin = path.with_suffix(".cubin")
    if not path.exists():
        found, name, code = _compile(nvrtc, file, kernel, architecture, text)
        keep(cubin, code)
        # Last: where it is, the other is.
        keep(path, json.dumps({"name": name, "figures": asdict(found)}).encode())
    kept = json.loads(path.read_text())
    return Compiled(Figures(**kept["figures"]), kept["name"], cubin)


def figures(file: str, kernels: tuple[str, ...], architecture: int) -> dict[str, Figures]:
    """The figures of ``kernels`` of ``file``.cu; those not kept are compiled at the same time.

    Raises `DoesNotCompile` with NVRTC's message.
    """
    of_one = partial(compiled, file, architecture=architecture)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(of_one, kernels)
        return {kernel: row.figures for kernel, row in zip(kernels, found, strict=True)}


def keep(path: Path, content: bytes) -> None:
    """Write ``path`` whole, whatever other processes write it at the same time."""
    unfinished = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    unfinished.write_bytes(content)
    unfinished.rename(path)


def _compile(
    nvrtc, file: str, kernel: str, architecture: int, text: str
) -> tuple[Figures, str, bytes]:
    program = nvrtc.createProgram(text, f"{file}.cu", [], [])
    try:
        nvrtc.addNameExpression(program, kernel)
        try:
            nvrtc.compileProgram(program, [f"--gpu-architecture=sm_{architecture}", *_OPTIONS])
        except nvrtc.NVRTCError as error:
            message = f"{file}.cu for sm_{architecture}: {nvrtc.getProgramLog(program)}"
            raise DoesNotCompile(message) from error
        log = nvrtc.getProgramLog(program)
        code = nvrtc.getPTX(program).decode()
        name = nvrtc.getLoweredName(program, kernel)
        # CuPy takes the last byte for the end of a string and drops it.
        cubin = nvrtc.getCUBIN(program) + b"\0"
    finally:
        nvrtc.destroyProgram(program)
    return _read(log, code, name), name, cubin


def _read(log: str, ptx: str, name: str) -> Figures:
    part = log.split(f"Compiling entry function '{name}'")[1].split("Compiling entry function")[0]
    stack, stores, loads = re.search(
        r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part
    ).groups()
    shared = re.search(r"(\d+) bytes smem", part)
    entry = ptx.split(f".entry {name}(")[1].split("{")[0]
    threads = re.search(r"\.maxntid (\d+)(?:, (\d+), (\d+))?", entry)
    return Figures(
        registers=int(re.search(r"Used (\d+) registers", part)[1]),
        spilled=int(stores) + int(loads),
        stack=int(stack),
        shared=int(shared[1]) if shared else 0,
        most_threads=int(threads[1]) if threads else 1024,
    )
