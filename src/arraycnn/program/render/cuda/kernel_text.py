"""The text of one kernel: loops side by side on the grid, and loops that its last block runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, replace

import numpy as np

from arraycnn.program.nodes import Node
from arraycnn.program.passes.loops import Step
from arraycnn.program.passes.schedule import Schedule
from arraycnn.program.render.cuda.grouping import Group
from arraycnn.program.render.cuda.loop_text import LoopText, parts_of
from arraycnn.program.render.cuda.parameters import Parameters, Value
from arraycnn.program.render.cuda.rows import FEWEST_ROWS, rows_of_block
from arraycnn.program.render.cuda.short_rows import ShortRows, lanes_of_row
from arraycnn.program.render.cuda.sums import SumRoot
from arraycnn.program.render.cuda.updates import updates
from arraycnn.program.render.cuda.walk import Walk, walked

THREADS = 256
THREADS_ALONE = 512
"""Of the block of a kernel that has one only."""

_TAKEN = "const int thread, const long long block, const long long blocks, unsigned char* shared"
"""What the function of each loop takes before its own parameters."""


@dataclass(frozen=True)
class KernelText:
    """A kernel and how it is launched.

    Attributes
    ----------
    text : str
        With an include of pointwise.cuh; kernels of several texts have different names.
    name : str
    blocks, threads : int
    values : tuple of Value
        What it takes, in order.
    aligned : tuple of (Node, int)
        Buffers that must begin at a multiple of so many bytes.
    """

    text: str
    name: str
    blocks: int
    threads: int
    values: tuple[Value, ...]
    aligned: tuple[tuple[Node, int], ...]

    @property
    def parameter_bytes(self) -> int:
        sizes = (v.dtype.itemsize if isinstance(v, np.generic) else 8 for v in self.values)
        return sum(sizes)


def kernel_text(group: Group, schedule: Schedule, wide: bool) -> KernelText:
    """The kernel of a group of loops; with ``wide``, threads move several numbers at once."""
    threads = THREADS if group.beside or group.rows else THREADS_ALONE
    if group.rows:
        body, blocks = _body_of_rows(group, schedule, wide, 0, threads, frozenset(), "blockIdx.x")
    else:
        body = _body(group, schedule, wide, 0, threads)
        blocks = body.add_beside(group.beside)
    body.add_following(group)
    return KernelText(
        *body.text(), blocks, body.threads, tuple(body.parameters.values), body.aligned()
    )


@dataclass(frozen=True)
class EndingText:
    """Loops as a function that a block of another kernel calls, as `Ending` has it.

    Attributes
    ----------
    text, name : str
    kinds : tuple of str
        The types of what it takes, ``values``.
    shared : int
        Bytes of shared memory that it needs.
    aligned
        As of a kernel.
    blocks : int
        That it has of its own, behind a gradient.
    """

    text: str
    name: str
    kinds: tuple[str, ...]
    values: tuple[Value, ...]
    shared: int
    aligned: tuple[tuple[Node, int], ...]
    blocks: int


def ending_text(
    before: Group, schedule: Schedule, wide: bool, rows: int, threads: int
) -> EndingText:
    """``before.ending``, for blocks of so many ``threads`` that have ``rows`` each; 0 of a gradient."""
    assert before.ending is not None
    also = {node for step in (before.alone, before.epilogue) if step for node in step.writes}
    own = 0
    if rows:
        group = before.ending
        body, _ = _body_of_rows(group, schedule, wide, rows, threads, also, "number")
        body.blocks = "blocks"
        body.add_following(group)
    else:
        group = updates(before, schedule)
        body = _body(group, schedule, wide, rows, threads, also)
        body.block, body.blocks = "number", "blocks"
        own = body.add_guarded(group.beside)
        body.add_after_sums(group)
    kinds = tuple(declared.rpartition(" ")[0] for declared in body.parameters.declarations)
    values = tuple(body.parameters.values)
    text, name = body.ending(after_sums=not rows)
    return EndingText(text, name, kinds, values, body.shared_bytes(), body.aligned(), own)


def _body_of_rows(
    group: Group,
    schedule: Schedule,
    wide: bool,
    rows: int,
    threads: int,
    also: Set[Node],
    block: str,
) -> tuple[_Body, int]:
    """What the block of that number does with its ``rows``, as many as serve for 0; how many blocks
    there are."""
    walks = [walked(step.roots, set(schedule.held) - step.recomputed, False) for step in group.rows]
    lanes = lanes_of_row(walks, schedule.place_of)
    if lanes and rows * lanes <= threads:
        rows = rows or threads // lanes
        body = _body(group, schedule, False, rows, threads, also)
        body.block = block
        return body, body.add_short_rows(group.rows, lanes, rows)
    rows = rows or rows_of_block(group.rows)
    wide = wide and rows >= FEWEST_ROWS  # packs may lie across fewer
    body = _body(group, schedule, wide, rows, threads, also)
    body.block = block
    return body, body.add_rows(group.rows)


def _body(
    group: Group,
    schedule: Schedule,
    wide: bool,
    rows: int,
    threads: int,
    also: Set[Node] = frozenset(),
) -> _Body:
    """Of the loops of ``group``, where others write ``also``."""
    writes = {schedule.place_of(node) for step in group.loops for node in step.writes}
    writes |= {schedule.place_of(node) for node in also}
    known = {node for step in group.loops for node in (*step.reads, *step.writes)}
    written = {node for node in known if schedule.place_of(node) in writes}
    held = set(schedule.held) | known  # of parts that wait, the schedule knows nothing
    walks = {
        step: replace(
            walked(step.roots, held - step.recomputed, wide, rows if step in group.rows else 0),
            sharing=max(1, len(group.beside)),
            whole=any(isinstance(root, SumRoot) for root in step.roots),
        )
        for step in group.loops
    }
    return _Body(walks, written, threads, schedule.place_of)


class _Body:
    """A kernel as it grows: functions of loops, and calls of them."""

    def __init__(
        self,
        walks: dict[Step, Walk],
        written: set[Node],
        threads: int,
        place: Callable[[Node], Node],
    ) -> None:
        self._walks, self._written, self._place = walks, written, place
        self.threads, self.parameters = threads, Parameters(written, place)
        self._parts = {step: parts_of(walk, threads) for step, walk in walks.items()}
        is_far = any(walk.is_wide for walk in walks.values())
        self._index = f"using Index = {'long long' if is_far else 'int'};"
        self._functions: dict[str, list[int]] = {}
        """What each is made of, and how often it is called: loops of equal texts share one."""
        self._lines: list[str] = []
        self._sizes: dict[str, None] = {}
        self.block, self.blocks = "blockIdx.x", "gridDim.x"

    def add_beside(self, steps: list[Step]) -> int:
        """Loops that share the grid; how many blocks it has."""
        if len(steps) == 1:
            self._call(steps[0], LoopText.on_grid, self.block, self.blocks)
            return self._walks[steps[0]].blocks(self.threads)
        return self.add_guarded(steps) or 1

    def add_guarded(self, steps: list[Step]) -> int:
        """The same where there are other blocks, too, whose numbers are below 0."""
        counts = [self._walks[step].blocks(self.threads) for step in steps]
        self._lines.append(f"int block = (int){self.block};")
        for step, count in zip(steps, counts, strict=True):
            own = self.parameters.whole(count)
            self._lines.append(f"if (block >= 0 && block < (int){own})")
            self._call(step, LoopText.on_grid, "block", own)
            self._lines.append(f"block -= (int){own};")
        return sum(counts)

    def add_rows(self, steps: list[Step]) -> int:
        """Loops that each block runs on rows of its own; how many blocks there are."""
        for number, step in enumerate(steps):
            if number:
                self._lines.append("__syncthreads();")
            self._call(step, LoopText.in_rows, self.block, self.blocks)
        walk = self._walks[steps[0]]
        return -(-walk.roots[0].space[0] // walk.rows)

    def add_short_rows(self, steps: list[Step], lanes: int, rows: int) -> int:
        """The same, where each row has so many lanes of a warp."""
        walks = {step: self._walks[step] for step in steps}
        short = ShortRows(walks, self.parameters, lanes, rows, self.threads, self._parts)
        self._lines += short.lines(self.block)
        for step in steps:
            loop = LoopText(walks[step], self._written, self.threads, self._parts[step])
            self._sizes |= dict.fromkeys(loop.shared_sizes())
        return -(-steps[0].roots[0].space[0] // rows)

    def add_following(self, group: Group) -> None:
        """What the last block does: sums of blocks, and the loops that follow."""
        on_grid = group.beside or group.rows
        reducing = [step for step in on_grid if self._walks[step].is_shared]
        if reducing or (on_grid and group.following):
            parts = [part.bytes for step in reducing for part in self._parts[step].values()]
            waits = self.parameters.whole(int(bool(group.following) or any(parts)))
            counter = self.parameters.counter()
            last = f"is_last_block({counter}, (int){self.blocks})"
            self._lines.append(f"if (!{waits} || !{last}) return;")
        self._add_last(reducing, group.following)

    def add_after_sums(self, group: Group) -> None:
        """The same, once the last block of all has made the sums of the gradient before."""
        last = f"is_last_block({self.parameters.counter()}, (int){self.blocks})"
        self._lines += [f"if (!{last}) return;", "sums();", "__syncthreads();"]
        reducing = [step for step in group.beside if self._walks[step].is_shared]
        self._add_last(reducing, group.following)

    def _add_last(self, reducing: list[Step], following: list[Step]) -> None:
        for step in reducing:
            self._call(step, LoopText.combining, "0", "1")
        for number, step in enumerate(following):
            if number or reducing:
                self._lines.append("__syncthreads();")
            self._call(step, LoopText.in_block, "0", "1")

    def ending(self, after_sums: bool) -> tuple[str, str]:
        """The text and name of a function of (number of the block, blocks, shared) and the parameters;
        before these, of what makes the sums."""
        takes = "".join(f", {declared}" for declared in self.parameters.declarations)
        takes = f", const Sums& sums{takes}" if after_sums else takes
        whole = [
            *(["template <typename Sums>"] if after_sums else []),
            "DEVICE void ending_KERNEL(const long long number, const long long blocks,",
            f"unsigned char* shared{takes})",
            *("{", "const int thread = (int)threadIdx.x;", *self._lines, "}\n"),
        ]
        return _named([*self._functions_text(), *whole], "ending")

    def shared_bytes(self) -> int:
        loops = (LoopText(walk, self._written, self.threads, {}) for walk in self._walks.values())
        return max([loop.shared_bytes() for loop in loops], default=0)

    def aligned(self) -> tuple[tuple[Node, int], ...]:
        return _aligned(self._walks.values())

    def text(self) -> tuple[str, str]:
        """The kernel's text and name."""
        shared = "unsigned char* const shared = nullptr;"
        if self._sizes:
            shared = (
                f"__shared__ __align__(16) unsigned char shared[most({', '.join(self._sizes)})];"
            )
        kernel = [
            f"__global__ void __launch_bounds__({self.threads})",
            f"fused_KERNEL({', '.join(self.parameters.declarations)})",
            *("{", "const int thread = (int)threadIdx.x;", shared, *self._lines, "}\n"),
        ]
        return _named([*self._functions_text(), *kernel], "fused")

    def _functions_text(self) -> list[str]:
        functions = []
        for number, (body, (calls,)) in enumerate(self._functions.items()):
            how = "static __device__ __noinline__" if calls > 1 else "DEVICE"
            functions.append(f"{how} void loop{number}_KERNEL({_TAKEN}{body}")
        return functions

    def _call(
        self, step: Step, part: Callable[[LoopText], list[str]], block: str, blocks: str
    ) -> None:
        loop = LoopText(self._walks[step], self._written, self.threads, self._parts[step])
        lines = part(loop)
        takes = "".join(f", {declared}" for declared in loop.parameters.declarations)
        body = "\n".join([f"{takes})", "{", self._index, *lines, "}"])
        self._functions.setdefault(body, [0])[0] += 1
        number = list(self._functions).index(body)
        given = [
            self._given(declared.rpartition(" ")[0], value)
            for declared, value in zip(
                loop.parameters.declarations, loop.parameters.values, strict=True
            )
        ]
        arguments = ", ".join(["thread", block, blocks, "shared", *given])
        self._lines.append(f"loop{number}_KERNEL({arguments});")
        self._sizes |= dict.fromkeys(loop.shared_sizes())

    def _given(self, kind: str, value: Value) -> str:
        if isinstance(value, Node):
            return self.parameters.buffer(value)
        return self.parameters.add(kind, value)


def _named(lines: list[str], name: str) -> tuple[str, str]:
    """A text of ``lines``, of which KERNEL becomes what no other text has, and its name."""
    text = "\n".join(['#include "pointwise.cuh"\n', *lines])
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return text.replace("KERNEL", digest), f"{name}_{digest}"


def _aligned(walks: Iterable[Walk]) -> tuple[tuple[Node, int], ...]:
    """What must begin at whole packs."""
    found: dict[tuple[Node, int], None] = {}
    for walk in walks:
        if walk.lanes == 1:
            continue
        for number, one in enumerate(walk.instructions):
            if one.buffer is not None and walk.varies[number]:
                found[one.buffer, one.dtype.itemsize * walk.lanes] = None
        for root, target in zip(walk.roots, walk.targets, strict=True):
            if target is not None:
                found[root.target, root.target.dtype.itemsize * walk.lanes] = None
    return tuple(found)
