"""The text of CUDA kernels, as compilers are given it."""

from functools import cache
from pathlib import Path


@cache
def source(file: str) -> str:
    """The text of ``file``.cu with its own headers put in place of their includes.

    One text, because compilers and CuPy's kernel cache then see all that a kernel depends on.
    """
    return _with_headers(f"{file}.cu", set())


@cache
def _files() -> dict[str, Path]:
    """The .cu and .cuh files by name: each lies with its op, and here where several share it."""
    return {path.name: path for path in Path(__file__).parent.parent.rglob("*.cu*")}


def _with_headers(name: str, seen: set[str]) -> str:
    lines = [f'#line 1 "{name}"']
    text = _files()[name].read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith('#include "'):
            header = line.split('"')[1]
            if header not in seen:
                seen.add(header)
                lines += [_with_headers(header, seen)]
            lines += [f'#line {number + 1} "{name}"']
        elif line.strip() != "#pragma once":  # which means nothing in the main text
            lines.append(line)
    return "\n".join(lines) + "\n"
