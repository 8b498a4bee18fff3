"""The main loops of CUDA's products, found in their machine code and held to bounds.

A kernel may have several products side by side: its name or its text says which. Each has a loop of its
own, whose turn multiplies what a step along k of its tile asks for. tests/cuda_loops.txt has, for the
products of the benchmarks' networks and some others, how many instructions all threads issue in such a
turn on each architecture. What has no row there is held to the worst of its family.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from pathlib import Path

from arraycnn.ops.cuda.sources import is_generated, source
from host_cuda.device_code import ARCHITECTURES
from host_cuda.machine_code import Loop, MachineCode

FILE = Path(__file__).parent / "cuda_loops.txt"
ROOM = 1.02
"""By what factor a turn may be longer than its row says."""
STAGES = 3
"""Tiles in shared memory, by ops/cuda/tiles.cuh: of them one is read, and the next waited for."""

_PRODUCT = re.compile(
    r"\b(\w+?)(?:_block)?<(Mma16|Mma|Fma)<([^<>]*)>, (Form<[^<>]*>, Form<[^<>]*>)"
)
_BEGIN = re.compile(r"\b\w+<\w*(?:Mma|Fma)\w*<")


class NotFoundError(AssertionError):
    """A product is not found: in the text of a kernel, or in its machine code."""


@dataclass(frozen=True)
class Product:
    """What a kernel multiplies, and how.

    Attributes
    ----------
    kernel : str
        Such as "conv2d_dx", also where it shares a launch.
    unit : str
        "Mma", "Mma16" or "Fma".
    parameters : tuple of str
        Of the unit: kind of numbers, tile of a block, tile of a warp or thread.
    forms : str
        Of both operands.
    """

    kernel: str
    unit: str
    parameters: tuple[str, ...]
    forms: str

    def __str__(self) -> str:
        return f"{self.kernel}<{self.unit}<{', '.join(self.parameters)}>, {self.forms}>"

    @property
    def of_turn(self) -> int:
        """How many instructions multiply in a turn: those of tensor cores, else fused ones."""
        numbers = [int(one) for one in self.parameters if one.isdigit()]
        tall, wide = numbers[2:4]
        if self.unit == "Fma":
            return tall * wide * 16
        if self.unit == "Mma16":
            depth = numbers[4] if len(numbers) > 4 else 32
            return tall // 16 * (wide // 8) * (depth // 16)
        return tall // 16 * (wide // 8) * (1 if "Bf16" in self.parameters else 2)

    @property
    def family(self) -> tuple[str, bool]:
        """What multiplies, and whether numbers of an operand are copied one by one."""
        kind = f"<{self.parameters[0]}>" if self.unit == "Mma" else ""
        return self.unit + kind, re.search(r"<(true|false), 1[,>]", self.forms) is not None

    @property
    def copies(self) -> bool:
        """Whether a turn copies the next tiles, and waits; conv2d_patch has all of them before."""
        return self.kernel != "conv2d_patch"


@dataclass(frozen=True)
class MainLoop:
    """The loop of a product, which the compiler may have made of several turns."""

    product: Product
    loop: Loop

    @property
    def turns(self) -> int:
        return _multiplications(self.loop, self.product) // self.product.of_turn

    @property
    def of_turn(self) -> float:
        """Instructions of a turn, on the way of all tiles but the last."""
        return len(self.loop.path) / self.turns

    def __str__(self) -> str:
        return f"{len(self.loop.path)}/{_multiplications(self.loop, self.product)}"


def products_of(file: str, kernel: str) -> list[Product]:
    """The products of a kernel: by its name, or by the text where several share a launch.

    Raises `NotFoundError` where there is one whose parameters are not understood.
    """
    text = source(file) if is_generated(file) and not _BEGIN.search(kernel) else kernel
    found = [
        Product(name, unit, tuple(parameters.split(", ")), forms)
        for name, unit, parameters, forms in _PRODUCT.findall(text)
    ]
    if len(found) != len(_BEGIN.findall(text)):
        message = f"a product is not understood: {', '.join(_BEGIN.findall(text))}"
        raise NotFoundError(message)
    return found


def main_loops(
    code: MachineCode, products: list[Product], rows: Mapping[str, int]
) -> list[MainLoop]:
    """The loop of each product.

    Where more than one could be that of a product, they are told apart by the rows: as it fits best.

    Raises `NotFoundError` where a product has no loop, or tensor cores work in a loop of no product.
    """
    on_tensor_cores = [loop for loop in code.loops if loop.own.products]
    fused = [loop for loop in code.loops if loop.own.fused and not loop.own.products]
    ways = []
    for loops in permutations((*on_tensor_cores, *_large(fused, products)), len(products)):
        way = [MainLoop(*both) for both in zip(products, loops, strict=True)]
        if all(_fits(one) for one in way):
            ways.append(way)
    if not ways or len(on_tensor_cores) > len(products):
        names = ", ".join(map(str, products))
        message = f"{len(on_tensor_cores)} loops of tensor cores, not one for each of: {names}"
        raise NotFoundError(message)
    return min(ways, key=lambda way: max((_excess(one, rows) for one in way), default=0))


def _multiplications(loop: Loop, product: Product) -> int:
    return loop.own.fused if product.unit == "Fma" else loop.own.products


def _large(loops: list[Loop], products: list[Product]) -> list[Loop]:
    """Those that could be of a product without tensor cores."""
    least = [product.of_turn for product in products if product.unit == "Fma"]
    return [loop for loop in loops if least and loop.own.fused >= min(least)]


def _fits(one: MainLoop) -> bool:
    count = _multiplications(one.loop, one.product)
    waits = one.loop.own.barriers > 0
    return count > 0 and count % one.product.of_turn == 0 and waits == one.product.copies


def _excess(one: MainLoop, rows: Mapping[str, int]) -> float:
    return one.of_turn / rows.get(str(one.product), one.product.of_turn)


def wrong_with_loop(one: MainLoop, rows: Mapping[str, int]) -> list[str]:
    """What makes a main loop worse than it was."""
    name, product, wrong = str(one.product), one.product, []
    most = rows[name] if name in rows else most_of_family(product, rows)
    if most is None:
        wrong.append(f"{name}: {FILE.name} has no row of its family; look why it is, and write one")
    elif one.of_turn > ROOM * most:
        wrong.append(
            f"{name}: {one.of_turn:g} instructions for {product.of_turn} products, at most {most:g}"
        )
    waits = [f"SB0, {STAGES - 2:#x}"] * one.turns * product.copies
    found = [each.operands for each in one.loop.own.instructions if each.name == "DEPBAR"]
    if found != waits:
        wrong.append(f"{name}: waits {found} for copies, must wait {waits}")
    return wrong


def most_of_family(product: Product, rows: Mapping[str, int]) -> float | None:
    """The most instructions of a turn of a product without a row; None where none is known.

    By the worst of those of its family with the largest tiles that are no larger: the larger a tile is,
    the less is issued for each multiplication. Where its kernel has none, by those of all kernels.
    """
    alike = [
        (other.kernel == product.kernel, other.of_turn, most / other.of_turn)
        for name, most in rows.items()
        for other in _products_of_row(name)
        if other.family == product.family and other.of_turn <= product.of_turn
    ]
    return max(alike)[-1] * product.of_turn if alike else None


@cache
def _products_of_row(name: str) -> tuple[Product, ...]:
    return tuple(products_of("", name))


@cache
def sections(architecture: int = 90) -> dict[str, dict[str, int]]:
    """The rows of tests/cuda_loops.txt, most instructions of a turn by product, under what is said of
    them there; for an architecture that is not there those of the one before."""
    column = max(
        number for number, one in enumerate(ARCHITECTURES) if one <= architecture or not number
    )
    found: dict[str, dict[str, int]] = {}
    said: list[str] = []
    for line in FILE.read_text().splitlines():
        if line.startswith("#"):
            said.append(line.lstrip("# "))
        elif line:
            *most, name = line.split(None, len(ARCHITECTURES))
            found.setdefault(" ".join(said), {})[name] = int(most[column])
        else:
            said = []
    return found


def rows_for(architecture: int = 90) -> dict[str, int]:
    return {name: most for rows in sections(architecture).values() for name, most in rows.items()}
