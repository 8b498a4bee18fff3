"""How long a kernel takes by the instructions it executes: a model, of a device that nobody measured.

A multiprocessor works through its share of the blocks. That takes it the longest of

- the instructions of all warps, of which it issues so many a cycle;
- the loads that wait for one another, in a block after the other of those that it cannot hold at once;
- the products on its tensor cores, one a cycle at their peak;

and from one node of a graph to the next there is a pause. What it moves to and from memory is not in
it: `Work.floor` has that, with the products. No constant was fitted, and none may be moved to make a
figure nicer: at commit e7d5888, by these, it agrees within 10 % with a table that was made by hand
before (bench/frozen/roofline-e7d5888.json, tests/bench/test_roofline.py).
"""

import heapq
import math
from dataclasses import dataclass

CLOCK = 1.83e9
"""Cycles a second of an H200 under load: of the table made by hand."""
MULTIPROCESSORS = 132
"""Of an H200 SXM, by its data sheet."""
ISSUED = 4
"""Warp instructions a cycle: a scheduler for each quarter of a multiprocessor (CUDA's manual, 9.0)."""
NODE = 0.95e-6
"""Seconds from a node of a graph to the next: of the table made by hand, and near the 0.88 us that
80 small kernels in a graph took each elsewhere."""
TURN = 305
"""Cycles from a load to its number, out of the second-level cache: of the table made by hand, where
54 of them are 9 us."""
BYTES = 4.8e12
"""A second, between multiprocessors and memory: by the data sheet."""
FUSED = 4
"""Fused multiply-adds of a warp in a cycle: 67 TFLOP/s by the data sheet."""

# What a multiprocessor of compute capability 9.0 has for the blocks that it holds at once.
_WARPS, _BLOCKS, _REGISTERS, _SHARED = 64, 32, 65536, 228 * 1024
_SHARED_OF_SYSTEM = 1024


@dataclass(frozen=True)
class Share:
    """Blocks of a launch that do the same: how many, and what one executes, as `Work` has it."""

    blocks: int
    issued: int
    products: int
    fused: int
    turns: int


@dataclass(frozen=True)
class Work:
    """What a launch asks of the device.

    Attributes
    ----------
    kernel : str
    blocks, threads : int
    registers : int, of a thread
    shared : int, bytes of a block
    issued, products, fused : int
        Instructions that a block's warps execute: all, of tensor cores, fused multiply-adds.
    turns : int
        Loads of a warp that wait for one another.
    bytes : int
        Of the arrays that it is given, each once.
    shares : tuple of Share
        Where not all blocks do the same, in their order: then what is said above of a block is the mean
        of all, and of loads that wait the most.
    """

    kernel: str
    blocks: int
    threads: int
    registers: int
    shared: int
    issued: int
    products: int
    fused: int
    turns: int
    bytes: int
    shares: tuple[Share, ...] = ()

    @property
    def resident(self) -> int:
        """Blocks that a multiprocessor holds at once."""
        warps = math.ceil(self.threads / 32)
        registers = math.ceil(self.registers / 8) * 8 * 32 * warps
        return max(
            1,
            min(
                _BLOCKS,
                _WARPS // warps,
                _REGISTERS // registers,
                _SHARED // (self.shared + _SHARED_OF_SYSTEM),
            ),
        )

    @property
    def predicted(self) -> float:
        """Seconds, as a node of a graph."""
        cycles = max(
            self._longest("issued", 1) / ISSUED,
            self._longest("turns", self.resident) * TURN,
            self._longest("products", 1),
        )
        return NODE + cycles / CLOCK

    def _longest(self, name: str, at_once: int) -> int:
        """Of what is done on one multiprocessor, ``at_once`` blocks at a time, the most: a block goes
        where one has ended first."""
        places = MULTIPROCESSORS * at_once
        if not self.shares:
            return math.ceil(self.blocks / places) * getattr(self, name)
        ends = [0] * places
        for share in self.shares:
            for _ in range(share.blocks):
                heapq.heapreplace(ends, ends[0] + getattr(share, name))
        return max(ends)

    @property
    def floor(self) -> float:
        """The least seconds in which these products and bytes can be had."""
        a_cycle = MULTIPROCESSORS * CLOCK
        products = self.blocks * max(self.products, self.fused / FUSED)
        return max(products / a_cycle, self.bytes / BYTES)


def work_of_shares(
    kernel: str, threads: int, registers: int, shared: int, size: int, shares: list[Share]
) -> Work:
    """The work of a launch whose grid is ``shares``; ``size`` is the bytes of its arrays."""
    blocks = sum(share.blocks for share in shares)

    def mean(name: str) -> int:
        return sum(share.blocks * getattr(share, name) for share in shares) // max(blocks, 1)

    means = (mean(name) for name in ("issued", "products", "fused"))
    turns = max(share.turns for share in shares)
    apart = tuple(shares) if len(shares) > 1 else ()
    return Work(kernel, blocks, threads, registers, shared, *means, turns, size, apart)


def predicted(works: list[Work]) -> float:
    """Seconds of a step."""
    return sum(work.predicted for work in works)


def with_bytes(works: list[Work]) -> float:
    """Seconds of a step where no kernel is quicker than its bytes, too."""
    return sum(max(work.predicted, NODE + work.floor) for work in works)
