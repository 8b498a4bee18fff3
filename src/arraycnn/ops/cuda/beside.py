"""Kernels that need nothing of each other as one launch, on blocks side by side: a node of a graph
costs about a microsecond, and the blocks of one kernel leave no multiprocessor idle while those of
another wait.

A kernel takes part whose work is a function ``<its name>_block`` of a `Block` of device.cuh and of the
kernel's own parameters.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from arraycnn.errors import InvalidValueError
from arraycnn.ops.cuda.launcher import Argument, Launcher, Size, Struct, c_name


@dataclass(frozen=True)
class Start:
    """A kernel that is to be started: as `Launcher.launch` takes it.

    Attributes
    ----------
    text : str
        What is to be read behind ``file``, as the definition of a struct that it takes.
    """

    file: str
    kernel: str
    grid: Size
    block: Size
    args: tuple[Argument, ...]
    shared: int = 0
    text: str = ""

    @property
    def blocks(self) -> int:
        return math.prod(self.grid)

    def launch(self, launcher: Launcher) -> None:
        how = self.kernel, self.grid, self.block, self.args, self.shared
        if self.text:
            launcher.launch_source(f'#include "{self.file}.cu"\n{self.text}\n', *how)
        else:
            launcher.launch(self.file, *how)


def launch_beside(launcher: Launcher, starts: Sequence[Start]) -> None:
    """Start kernels of blocks of one size as one, which has the blocks of all of them, in their order.

    None of them may read what another writes.
    """
    starts = [start for start in starts if start.blocks]
    if len(starts) < 2:
        for start in starts:
            start.launch(launcher)
        return
    if len({start.block for start in starts}) > 1:
        sizes = ", ".join(str(start.block) for start in starts)
        message = f"kernels side by side: must have blocks of one size, got {sizes}"
        raise InvalidValueError(message)
    signature, args = [], []
    for number, start in enumerate(starts):
        ahead = [] if number == len(starts) - 1 else [start.blocks]
        given = [*ahead, *(*start.grid, 1)[:2], *start.args]
        kinds = tuple(map(kind_of, given))
        signature.append((start.file, start.kernel, start.block, start.text, kinds))
        args += [value for value in given if value is not None]
    text, name = _joined(tuple(signature))
    grids = tuple([start.grid for start in starts])
    grid, shared = (
        (sum([start.blocks for start in starts]),),
        max([start.shared for start in starts]),
    )
    launcher.launch_shared(grids, text, name, grid, starts[0].block, tuple(args), shared)


def kind_of(value: Argument) -> str | None:
    """The C++ type of a parameter that is given ``value``; None for a null pointer."""
    if value is None:
        return None
    if isinstance(value, int):
        return "long long"
    return value.name if isinstance(value, Struct) else f"{c_name(value)}*"


_Signature: TypeAlias = tuple[str, str, Size, str, tuple[str | None, ...]]


@lru_cache(maxsize=1024)
def _joined(signature: tuple[_Signature, ...]) -> tuple[str, str]:
    """The text of one kernel for all, and its name.

    Of each kernel: its file, name, block and text, and the types of its parameters. But for the last
    one, its number of blocks comes first, then their numbers along x and y.
    """
    declared: list[str] = []
    lines = []
    for number, (_, kernel, _, _, kinds) in enumerate(signature):
        names = []
        for kind in kinds:
            names.append("nullptr" if kind is None else f"p{len(declared)}")
            declared += [] if kind is None else [f"{kind} p{len(declared)}"]
        is_last = number == len(signature) - 1
        wide, tall, *values = names if is_last else names[1:]
        function = kernel.replace("<", "_block<", 1)
        at = f"block_of_share((unsigned)block, (unsigned){wide}, (unsigned){tall})"
        call = f"{function}({', '.join((at, *values))});"
        before = [f"if (block < {names[0]}) {call}", f"else {{ block -= {names[0]};"]
        lines += [call] if is_last else before
    lines.append("}" * (len(signature) - 1))
    files = dict.fromkeys(f'#include "{file}.cu"' for file, *_ in signature)
    texts = dict.fromkeys(text for _, _, _, text, _ in signature if text)
    name = "_and_".join(kernel.partition("<")[0] for _, kernel, *_ in signature)
    whole = [
        f"__global__ void __launch_bounds__({math.prod(signature[0][2])}, 1)",
        f"{name}_KERNEL({', '.join(declared)})",
        *("{", "long long block = blockIdx.x;", *lines, "}\n"),
    ]
    text = "\n".join([*files, *texts, *whole])
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return text.replace("KERNEL", digest), f"{name}_{digest}"
