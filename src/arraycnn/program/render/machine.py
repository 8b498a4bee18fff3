"""Machine code of loops: compiled once, kept in memory and on disk.

A file of the cache is named by the digest of the loop's code, of this renderer and of the processor.
It lies where the other compiled kernels do (`arraycnn.ops.compiled.caching`).
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from arraycnn.ops.compiled.caching import cache_folder
from arraycnn.ops.compiled.objects import (
    Loaded,
    ObjectFiles,
    digest_of_files,
    digest_of_machine,
    machine_code,
)
from arraycnn.program.render.llvm import LoopKernel
from arraycnn.program.render.loop_code import LoopCode
from arraycnn.program.render.structs import Struct

_NAME = "kernel"

_SOURCES = digest_of_files(Path(__file__).parent)
"""The renderer's, as they were imported."""

MOST_IN_MEMORY = 1024
"""Kernels kept for loops that come again; recordings hold theirs themselves."""


@dataclass(frozen=True, eq=False)
class Kernel:
    """Machine code, and the struct that a launch of it fills in."""

    code: Loaded
    struct: Struct

    @property
    def address(self) -> int:
        return self.code.address


class KernelCache:
    """The kernels of loops, by their codes."""

    def __init__(self, folder: Path | None) -> None:
        self._objects = ObjectFiles(folder)
        self._kernels: OrderedDict[LoopCode, Kernel] = OrderedDict()
        self._process, self._lock = os.getpid(), threading.Lock()
        self.compiled = 0
        """How many kernels were compiled, and not found."""

    def kernel(self, code: LoopCode) -> Kernel:
        """The kernel for ``code``: from memory, from disk, or compiled now."""
        with self._alone:
            if code not in self._kernels:
                self._kernels[code] = self._found_or_new(code)
                if len(self._kernels) > MOST_IN_MEMORY:
                    self._kernels.popitem(last=False)
            self._kernels.move_to_end(code)
            return self._kernels[code]

    @property
    def _alone(self) -> threading.Lock:
        if os.getpid() != self._process:  # forked, perhaps while a thread was at work
            self._process, self._lock = os.getpid(), threading.Lock()
        return self._lock

    def sizes(self) -> dict[str, int]:
        """Kernels in memory, files and their bytes."""
        files = self._objects.files()
        return {
            "in memory": len(self._kernels),
            "files": len(files),
            "bytes": sum(size for _, size, _ in files),
        }

    def _found_or_new(self, code: LoopCode) -> Kernel:
        key = f"{_SOURCES}{digest_of_machine()} {code!r}"
        found = self._objects.read(key)
        if found is None:
            written = LoopKernel(code, _NAME)
            found = list(written.struct.fields), machine_code(written.module)
            self.compiled += 1
            self._objects.write(key, *found)
        names, content = found
        struct = Struct({name: place for place, name in enumerate(names)})
        return Kernel(Loaded([content], _NAME), struct)


@cache
def kernel_cache() -> KernelCache:
    """The cache of this process, in the folder of the other compiled kernels."""
    folder = cache_folder()
    return KernelCache(None if folder is None else folder / "programs")
