"""What a kernel goes on with, one node of a graph less: the blocks of a product with whole lines of it,
once these are stored, as what a loss makes of logits; the last block of a gradient with what updates
make of it, while blocks beside its own do what needs nothing of it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.beside import Start, kind_of
from arraycnn.ops.cuda.launcher import Argument, Launcher


@dataclass(frozen=True)
class Ending:
    """A function that a block calls with its number among those that share the lines, how many these
    are, shared memory, and what it is given.

    Attributes
    ----------
    name, text : str
        Of the C++ function, and its definition.
    kinds : tuple of str
        The types of its parameters, but for the first three.
    args : tuple of Argument
        What a launch gives them.
    shared : int
        Bytes of dynamic shared memory.
    blocks : int
        Behind a gradient: how many it has of its own.
    """

    name: str
    text: str
    kinds: tuple[str, ...]
    args: tuple[Argument, ...]
    shared: int
    blocks: int = 0


MakesEnding: TypeAlias = Callable[[Array, int, int, Array], Ending | None]
"""Of what the product is stored in, the lines of a block and its threads, and counters that nobody
uses; None where it must be done by a kernel of its own."""

MakesUpdates: TypeAlias = Callable[[Array, Array, int, Array], Ending | None]
"""Of where the gradients of weights and bias will be, the threads of a block, and counters that nobody
uses; None as above."""


def launch_with_ending(launcher: Launcher, start: Start, ending: Ending) -> None:
    """Start a kernel whose work is a function ``<its name>_block`` that says whether its block has
    stored whole lines, and let those blocks end with ``ending``."""
    text, name = _joined(_with_ending, start, ending)
    args = (*[value for value in start.args if value is not None], *ending.args)
    shared = max(start.shared, ending.shared)
    launcher.launch_source(text, name, start.grid, start.block, args, shared)


def launch_with_updates(launcher: Launcher, start: Start, ending: Ending) -> None:
    """Start a kernel whose work is a function ``<its name>_block``, which leaves parts of sums, and
    ``<its name>_last``, which adds up those of so many blocks, with ``ending``: its blocks run beside
    them, and its end after the sums."""
    text, name = _joined(_with_updates, start, ending)
    wide, tall = (*start.grid, 1)[:2]
    args = (wide, tall, *[value for value in start.args if value is not None], *ending.args)
    grids = start.grid, (ending.blocks,)
    grid, shared = (start.blocks + ending.blocks,), max(start.shared, ending.shared)
    launcher.launch_shared(grids, text, name, grid, start.block, args, shared)


_Joins: TypeAlias = Callable[[Start, Sequence[str | None], Ending], tuple[str, str]]

_known: dict[tuple, tuple[str, str]] = {}


def _joined(join: _Joins, start: Start, ending: Ending) -> tuple[str, str]:
    """The kernel's text and name: made once, since the names of both tell the types of parameters."""
    absent = tuple([value is None for value in start.args])
    key = join, start.file, start.kernel, start.block, start.text, absent, ending.name
    if key not in _known:
        _known[key] = join(start, list(map(kind_of, start.args)), ending)
    return _known[key]


def _with_updates(start: Start, own: Sequence[str | None], ending: Ending) -> tuple[str, str]:
    kernel, function, kinds = start.kernel, ending.name, ending.kinds
    given = ", ".join("nullptr" if kind is None else f"p{n}" for n, kind in enumerate(own))
    declared = [f"{kind} p{number}" for number, kind in enumerate(own) if kind is not None]
    declared += [f"{kind} e{number}" for number, kind in enumerate(kinds)]
    name = f"{kernel.partition('<')[0]}_and_{function}"
    each, last = (kernel.replace("<", f"_{part}<", 1) for part in ("block", "last"))
    others = "".join(f", e{number}" for number in range(len(kinds)))
    whole = [
        *(f'#include "{start.file}.cu"', start.text, ending.text),
        f"__global__ void __launch_bounds__({math.prod(start.block)})",
        f"{name}_KERNEL({', '.join(('long long wide', 'long long tall', *declared))})",
        *("{", "DYNAMIC_SHARED(unsigned char, shared);"),
        "const Block at = block_of_share(blockIdx.x, (unsigned)wide, (unsigned)tall);",
        "// Below 0 for blocks of the gradient.",
        "const long long number = (long long)blockIdx.x - wide * tall;",
        f"if (number < 0) {each}(at, {given});",
        f"const auto sums = [&] {{ {last}((int)(wide * tall), {given}); }};",
        *(f"{function}(number, gridDim.x, shared, sums{others});", "}\n"),
    ]
    return _named(whole, name)


def _named(lines: list[str], name: str) -> tuple[str, str]:
    """A text of ``lines``, of which KERNEL becomes what no other text has, and the kernel's name."""
    joined = "\n".join(lines)
    digest = hashlib.sha256(joined.encode()).hexdigest()[:16]
    return joined.replace("KERNEL", digest), f"{name}_{digest}"


def _with_ending(start: Start, own: Sequence[str | None], ending: Ending) -> tuple[str, str]:
    kernel, function, kinds = start.kernel, ending.name, ending.kinds
    given = ["nullptr" if kind is None else f"p{number}" for number, kind in enumerate(own)]
    declared = [f"{kind} p{number}" for number, kind in enumerate(own) if kind is not None]
    declared += [f"{kind} e{number}" for number, kind in enumerate(kinds)]
    name = f"{kernel.partition('<')[0]}_and_{function}"
    product = f"{kernel.replace('<', '_block<', 1)}(at, {', '.join(given)})"
    others = "".join(f", e{number}" for number in range(len(kinds)))
    whole = [
        *(f'#include "{start.file}.cu"', start.text, ending.text),
        f"__global__ void __launch_bounds__({math.prod(start.block)}, 1)",
        f"{name}_KERNEL({', '.join(declared)})",
        *("{", "const Block at = block_of_grid();", "DYNAMIC_SHARED(unsigned char, shared);"),
        f"if (!{product}) return;",
        *("// The lines are there for all threads of the block.", "__syncthreads();"),
        *(f"{function}(at.x, gridDim.x, shared{others});", "}\n"),
    ]
    return _named(whole, name)
