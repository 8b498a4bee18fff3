"""What the blocks of a product do with whole lines of it once these are stored, as what a loss makes of
logits: one node of a graph less, and the numbers are in the nearest cache."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.beside import Start, kind_of
from arraycnn.ops.cuda.launcher import Argument, Launcher
from arraycnn.ops.cuda.tiles import Tile


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
    """

    name: str
    text: str
    kinds: tuple[str, ...]
    args: tuple[Argument, ...]
    shared: int


MakesEnding: TypeAlias = Callable[[Array, Tile, Array], Ending | None]
"""Of what the product is stored in, its tile, whose lines a block has, and counters that nobody uses;
None where it must be done by a kernel of its own."""


def launch_with_ending(launcher: Launcher, start: Start, ending: Ending) -> None:
    """Start a kernel whose work is a function ``<its name>_block`` that says whether its block has
    stored whole lines, and let those blocks end with ``ending``."""
    kinds = tuple(map(kind_of, start.args))
    signature = start.file, start.kernel, start.block, start.text, kinds
    text, name = _with_ending(signature, ending.name, ending.text, ending.kinds)
    args = tuple(value for value in start.args if value is not None) + ending.args
    shared = max(start.shared, ending.shared)
    launcher.launch_source(text, name, start.grid, start.block, args, shared)


@lru_cache(maxsize=256)
def _with_ending(
    signature: tuple, function: str, definition: str, kinds: tuple[str, ...]
) -> tuple[str, str]:
    """The text of the kernel, and its name."""
    file, kernel, block, text, own = signature
    given = ["nullptr" if kind is None else f"p{number}" for number, kind in enumerate(own)]
    declared = [f"{kind} p{number}" for number, kind in enumerate(own) if kind is not None]
    declared += [f"{kind} e{number}" for number, kind in enumerate(kinds)]
    name = f"{kernel.partition('<')[0]}_and_{function}"
    product = f"{kernel.replace('<', '_block<', 1)}(at, {', '.join(given)})"
    others = "".join(f", e{number}" for number in range(len(kinds)))
    whole = [
        *(f'#include "{file}.cu"', text, definition),
        f"__global__ void __launch_bounds__({math.prod(block)}, 1)",
        f"{name}_KERNEL({', '.join(declared)})",
        *("{", "const Block at = block_of_grid();", "DYNAMIC_SHARED(unsigned char, shared);"),
        f"if (!{product}) return;",
        *("// The lines are there for all threads of the block.", "__syncthreads();"),
        *(f"{function}(at.x, gridDim.x, shared{others});", "}\n"),
    ]
    joined = "\n".join(whole)
    digest = hashlib.sha256(joined.encode()).hexdigest()[:16]
    return joined.replace("KERNEL", digest), f"{name}_{digest}"
