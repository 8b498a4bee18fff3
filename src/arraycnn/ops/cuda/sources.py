"""The text of CUDA kernels, of .cu files and generated, as compilers are given it."""

import hashlib
from functools import cache
from pathlib import Path

from arraycnn.errors import InvalidTypeError, InvalidValueError

_generated: dict[str, str] = {}
"""Texts that are no file's, by the names that `generated` gave them."""


def source(file: str) -> str:
    """The text of ``file``.cu, or generated, with our headers put in place of their includes.

    One text, because compilers and CuPy's kernel cache then see all that a kernel depends on.
    """
    return _generated.get(file) or _of_file(file)


def generated(text: str) -> str:
    """The name under which `source` has ``text``: by its digest, so that equal texts are one.

    It may include our headers, as a .cu file does.
    """
    if not isinstance(text, str):
        message = f"the text of CUDA kernels: must be a string, got {type(text).__name__}"
        raise InvalidTypeError(message)
    name = _name_of(text)
    if name not in _generated:
        _generated[name] = _with_headers(text, name, set())
    return name


def is_generated(file: str) -> bool:
    return file in _generated


@cache
def _name_of(text: str) -> str:
    return f"generated_{hashlib.sha256(text.encode()).hexdigest()[:16]}"


@cache
def _of_file(file: str) -> str:
    return _with_headers(_read(f"{file}.cu"), f"{file}.cu", set())


@cache
def _files() -> dict[str, Path]:
    """The .cu and .cuh files by name: each lies with its op, and here where several share it."""
    return {path.name: path for path in Path(__file__).parent.parent.rglob("*.cu*")}


def _read(name: str) -> str:
    return _files()[name].read_text(encoding="utf-8")


def _with_headers(text: str, name: str, seen: set[str]) -> str:
    lines = [f'#line 1 "{name}"']
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith('#include "'):
            header = line.split('"')[1]
            if header not in _files():
                message = f"{name}: includes {header!r}, must be one of {', '.join(_headers())}"
                raise InvalidValueError(message)
            if header not in seen:
                seen.add(header)
                lines += [_with_headers(_read(header), header, seen)]
            lines += [f'#line {number + 1} "{name}"']
        elif line.strip() != "#pragma once":  # which means nothing in the main text
            lines.append(line)
    return "\n".join(lines) + "\n"


def _headers() -> list[str]:
    return sorted(name for name in _files() if name.endswith(".cuh"))
