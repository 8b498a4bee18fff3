"""Machine code of loops: compiled once, kept in memory and on disk.

A file of the cache is named by the digest of the loop's code, of this renderer and of the processor:
what it holds is never stale. It lies where the other compiled kernels do
(`arraycnn.ops.compiled.caching`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
from llvmlite import binding

from arraycnn.files import write_atomically
from arraycnn.program.render.llvm import LoopKernel
from arraycnn.program.render.loop_code import LoopCode
from arraycnn.program.render.structs import Struct

_NAME = "kernel"

MOST_IN_MEMORY = 1024
"""Kernels kept for loops that come again; recordings hold theirs themselves."""

MOST_ON_DISK = 256 * 2**20
"""Bytes of the cache's files; the oldest are removed."""


@dataclass(frozen=True, eq=False)
class Kernel:
    """Machine code, and the struct that a launch of it fills in."""

    address: int
    struct: Struct
    engine: Any
    """Owns the code."""


class KernelCache:
    """The kernels of loops, by their codes."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._kernels: OrderedDict[LoopCode, Kernel] = OrderedDict()
        self._lock = threading.Lock()
        self.compiled = 0
        """How many kernels were compiled, and not found."""
        self._tell: Callable[[], None] | None = None

    def kernel(self, code: LoopCode) -> Kernel:
        """The kernel for ``code``: from memory, from disk, or compiled now."""
        with self._lock:
            if code not in self._kernels:
                self._kernels[code] = self._from_disk(code) or self._new(code)
                if len(self._kernels) > MOST_IN_MEMORY:
                    self._kernels.popitem(last=False)
            self._kernels.move_to_end(code)
            return self._kernels[code]

    def sizes(self) -> dict[str, int]:
        """Kernels in memory, files and their bytes."""
        files = self._files()
        return {
            "in memory": len(self._kernels),
            "files": len(files),
            "bytes": sum(size for _, size, _ in files),
        }

    @contextmanager
    def telling(self, act: Callable[[], None]) -> Iterator[None]:
        """Within the block, ``act`` when the first kernel is compiled."""
        self._tell = act
        try:
            yield
        finally:
            self._tell = None

    def _new(self, code: LoopCode) -> Kernel:
        if self._tell is not None:
            tell, self._tell = self._tell, None
            tell()
        written = LoopKernel(code, _NAME)
        module = binding.parse_assembly(str(written.module))
        module.verify()
        machine = _target_machine()
        options = binding.create_pipeline_tuning_options(speed_level=2)
        options.loop_vectorization = options.slp_vectorization = False
        passes = binding.create_pass_builder(machine, options)
        passes.getModulePassManager().run(module, passes)
        content = machine.emit_object(module)
        self.compiled += 1
        self._to_disk(code, written.struct, content)
        return _loaded(content, written.struct)

    def _path(self, code: LoopCode) -> Path | None:
        if self._folder is None:
            return None
        digest = hashlib.sha256(f"{_digest()} {code!r}".encode()).hexdigest()
        return self._folder / f"{digest}.kernel"

    def _from_disk(self, code: LoopCode) -> Kernel | None:
        path = self._path(code)
        if path is None:
            return None
        try:
            digest, _, rest = path.read_bytes().partition(b"\n")
        except OSError:
            return None
        if hashlib.sha256(rest).hexdigest().encode() != digest:
            return None
        names, _, content = rest.partition(b"\n")
        struct = Struct({name: place for place, name in enumerate(json.loads(names))})
        return _loaded(content, struct)

    def _to_disk(self, code: LoopCode, struct: Struct, content: bytes) -> None:
        path = self._path(code)
        if path is None:
            return
        rest = json.dumps(list(struct.fields)).encode() + b"\n" + content
        digest = hashlib.sha256(rest).hexdigest().encode()
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time alone
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, digest + b"\n" + rest)
            self._make_room()

    def _files(self) -> list[tuple[float, int, Path]]:
        """(time of writing, bytes, path) of the files, the oldest first."""
        if self._folder is None:
            return []
        files = []
        for path in self._folder.glob("*.kernel"):
            with contextlib.suppress(OSError):
                status = path.stat()
                files.append((status.st_mtime, status.st_size, path))
        return sorted(files)

    def _make_room(self) -> None:
        files = self._files()
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= MOST_ON_DISK:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size


@cache
def kernel_cache() -> KernelCache:
    """The cache of this process, in the folder of the kernels that numba compiles."""
    from arraycnn.ops.compiled.caching import is_kept
    from arraycnn.ops.compiled.launches import run

    return KernelCache(Path(run._cache.cache_path) / "programs" if is_kept(run) else None)


def _loaded(content: bytes, struct: Struct) -> Kernel:
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), _target_machine())
    engine.add_object_file(binding.ObjectFileRef.from_data(content))
    engine.finalize_object()
    return Kernel(engine.get_function_address(_NAME), struct, engine)


def _target_machine() -> Any:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = binding.get_host_cpu_features().flatten()
    return binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=features, opt=2, jit=True
    )


@cache
def _digest() -> str:
    """Of the renderer, the compiler and the processor."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    machine = (
        llvmlite.__version__,
        binding.get_default_triple(),
        binding.get_host_cpu_name(),
        binding.get_host_cpu_features().flatten(),
    )
    content = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(content + repr(machine).encode()).hexdigest()
