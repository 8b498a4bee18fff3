"""Machine code: made of LLVM's modules, kept in files, and loaded.

A file is named by the digest of all that its code was made of: what it holds is never stale. Sources
are read as they are imported, and not when code is made of them: the package may be updated meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
from llvmlite import binding

from arraycnn.ops.compiled.caching import tell_not_kept
from arraycnn.storage.atomic_writes import remove_leftovers, write_atomically

MOST_ON_DISK = 256 * 2**20
"""Bytes of a folder's files; the oldest are removed."""

_ABANDONED = 3600.0
"""Seconds after which a file that is half written is no process's any more."""

_THIS_FILE = Path(__file__).read_bytes()

_llvm = threading.RLock()
"""Held by who is inside LLVM. A fork waits for it: the child would find LLVM's own locks held by a
thread that it does not have."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_llvm.acquire, after_in_parent=_llvm.release, after_in_child=_llvm.release
    )


def machine_code(module: Any, loops_to_vectors: bool = False) -> bytes:
    """The object file of ``module``, of `llvmlite.ir`.

    ``loops_to_vectors`` : whether LLVM is to look for loops that it can make vector code of.
    """
    for act in list(_listening):
        act()
    with _llvm:
        return _made(module, loops_to_vectors)


def _made(module: Any, loops_to_vectors: bool) -> bytes:
    machine = _target_machine()
    parsed = binding.parse_assembly(_text(module, machine))
    parsed.verify()
    options = binding.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization, options.slp_vectorization = loops_to_vectors, False
    passes = binding.create_pass_builder(machine, options)
    passes.getModulePassManager().run(parsed, passes)
    return bytes(machine.emit_object(parsed))


def _text(module: Any, machine: Any) -> str:
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    return str(module)


class Loaded:
    """Objects in memory, linked with each other; ``address`` is that of a function of theirs."""

    def __init__(self, contents: list[bytes], name: str) -> None:
        with _llvm:
            empty = binding.parse_assembly("")
            self._engine = binding.create_mcjit_compiler(empty, _target_machine())
            for content in contents:
                self._engine.add_object_file(binding.ObjectFileRef.from_data(content))
            self._engine.finalize_object()
            self.address = int(self._engine.get_function_address(name))
        # Not at the end of the process: by then LLVM may be gone, and the memory goes anyway.
        weakref.finalize(self, _close, self._engine).atexit = False


def _close(engine: Any) -> None:
    with _llvm:
        engine.close()


_listening: list[Callable[[], None]] = []


@contextmanager
def at_first_compilation(act: Callable[[], None]) -> Iterator[None]:
    """Within the block, ``act`` when the first code is compiled, and not found in a file."""

    def once() -> None:
        try:
            _listening.remove(once)
        except ValueError:  # another thread's compilation came first
            return
        act()

    _listening.append(once)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            _listening.remove(once)


def _target_machine() -> Any:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = binding.get_host_cpu_features().flatten()
    return binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=features, opt=2, jit=True
    )


@cache
def digest_of_machine() -> str:
    """Of the compiler, how it is used here, and the processor."""
    with _llvm:
        machine = (
            _THIS_FILE,
            llvmlite.__version__,
            binding.llvm_version_info,
            binding.get_default_triple(),
            binding.get_host_cpu_name(),
            binding.get_host_cpu_features().flatten(),
        )
    return hashlib.sha256(repr(machine).encode()).hexdigest()


def digest_of_files(folder: Path) -> str:
    """Of all Python files in ``folder`` and below: their names and contents.

    Raises ImportError where there are none, as in an installation of compiled modules alone: all that
    is kept would have one name.
    """
    names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.py"))
    if not names:
        raise ImportError(f"{folder} has no source files, which compiled kernels are made of")
    contents = [(name, (folder / name).read_bytes()) for name in names]
    return hashlib.sha256(repr(contents).encode()).hexdigest()


class ObjectFiles:
    """Object files in a folder, each with a note in JSON; none are kept where there is no folder."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def read(self, key: str) -> tuple[Any, bytes] | None:
        """The note and the object under ``key``; None where there is none, or it is damaged."""
        path = self._path(key)
        if path is None:
            return None
        try:
            digest, _, rest = path.read_bytes().partition(b"\n")
        except OSError:
            return None
        if hashlib.sha256(rest).hexdigest().encode() != digest:
            return None
        note, _, content = rest.partition(b"\n")
        return json.loads(note), content

    def write(self, key: str, note: Any, content: bytes) -> None:
        path = self._path(key)
        if path is None:
            return
        rest = json.dumps(note).encode() + b"\n" + content
        digest = hashlib.sha256(rest).hexdigest().encode()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, digest + b"\n" + rest)
        except OSError as error:
            tell_not_kept(error)
        self._make_room()

    def files(self) -> list[tuple[float, int, Path]]:
        """(time of writing, bytes, path) of the files, the oldest first."""
        if self._folder is None:
            return []
        files = []
        for path in self._folder.glob("*.kernel"):
            with contextlib.suppress(OSError):
                status = path.stat()
                files.append((status.st_mtime, status.st_size, path))
        return sorted(files)

    def _path(self, key: str) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}.kernel"

    def _make_room(self) -> None:
        assert self._folder is not None
        with contextlib.suppress(OSError):
            remove_leftovers(self._folder, _ABANDONED)
        files = self.files()
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= MOST_ON_DISK:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size
