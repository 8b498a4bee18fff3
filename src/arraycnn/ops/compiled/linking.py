"""From kernels to machine code: each is compiled when first asked for, and kept."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from arraycnn.ops.compiled.objects import (
    Loaded,
    ObjectFiles,
    digest_of_files,
    digest_of_machine,
    machine_code,
)
from arraycnn.ops.compiled.translation.functions import Function, Variant
from arraycnn.ops.compiled.translation.module import module_of


def load(function: Function, dtype: str, words: int, files: ObjectFiles) -> Loaded:
    """``function`` for ``dtype``, a kernel's launches of so many ``words``, and all it calls."""
    first = Variant(function)
    parts: dict[Variant, bytes] = {}
    waiting = [first]
    while waiting:
        variant = waiting.pop()
        if variant not in parts:
            callees, parts[variant] = _object(variant, dtype, words, files)
            waiting += callees
    return Loaded(list(parts.values()), first.name)


def _object(
    variant: Variant, dtype: str, words: int, files: ObjectFiles
) -> tuple[list[Variant], bytes]:
    """What ``variant`` is linked with, and its object."""
    key = f"{key_of_sources()} {variant.name} {dtype}"
    found = files.read(key)
    if found is not None:
        note, content = found
        return [_variant(*one) for one in note], content
    module, callees = module_of(variant, dtype, words)
    content = machine_code(module, True)
    note = [[callee.function.full_name, callee.known] for callee in callees]
    files.write(key, note, content)
    return callees, content


def _variant(name: str, known: list[list[Any]]) -> Variant:
    module, _, name = name.rpartition(".")
    return Variant(
        getattr(import_module(module), name), tuple((place, value) for place, value in known)
    )


_SOURCES = digest_of_files(Path(__file__).parent.parent)
"""As they were imported."""


def key_of_sources() -> str:
    """Of all that is compiled, of what compiles it and of the processor."""
    return _SOURCES + digest_of_machine()
