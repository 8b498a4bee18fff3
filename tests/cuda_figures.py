"""What each CUDA kernel takes on a device, written down: of one text one compiler makes one kernel.

    python tests/cuda_figures.py            # compiles what is not written down, and writes it
    python tests/cuda_figures.py --check    # compiles all, and compares: minutes

tests/cuda_figures.txt has a digest of each file of kernels and of its compiler, and of each kernel
(tests/cuda_kernels.txt) registers, spilled bytes, stack, static shared memory and most threads on each
architecture. The tests compile what has another digest now, which is why the file need not be up to
date, and of the rest a tenth, another for each digest, which must take on sm_90 what is written.
.ci/long compiles all. Registers may be some more or fewer: NVRTC, asked by several threads, does not
always give the same.
"""

import hashlib
import sys
from collections import defaultdict
from dataclasses import astuple, replace
from functools import cache
from importlib import metadata
from pathlib import Path

from arraycnn.ops.cuda.sources import source
from host_cuda.device_code import ARCHITECTURES, AS_CUPY, Figures, figures

LIST = Path(__file__).parent / "cuda_kernels.txt"
FILE = Path(__file__).parent / "cuda_figures.txt"
SAMPLED = 90
"""The architecture for which the tests compile some kernels whatever is written."""
SHARE = 10
"""One of how many kernels is compiled."""

OfFile = dict[int, dict[str, Figures]]
"""By architecture and kernel."""


def listed() -> dict[str, tuple[str, ...]]:
    """The kernels of each file, as tests/cuda_kernels.txt has them."""
    kernels = defaultdict(list)
    for line in LIST.read_text().splitlines():
        file, kernel = line.split(" ", 1)
        kernels[file].append(kernel)
    return {file: tuple(names) for file, names in kernels.items()}


def figures_everywhere(file: str, kernels: tuple[str, ...]) -> OfFile:
    """The figures of ``kernels`` of ``file``.cu on each architecture, written down or compiled.

    Raises `DoesNotCompile` with NVRTC's message, and AssertionError where of one of the `sample`
    something else is written than the compiler says.
    """
    known, found = written(file), {}
    for architecture in ARCHITECTURES:
        kept = known.get(architecture, {})
        again = sample(file, kernels) if architecture == SAMPLED else ()
        asked = [name for name in kernels if name in again or name not in kept]
        rows = kept | figures(file, tuple(asked), architecture)
        found[architecture] = {name: rows[name] for name in kernels}
    for name, row in found[SAMPLED].items():
        said = known.get(SAMPLED, {}).get(name, row)
        assert alike(row, said), (
            f"{FILE.name}: {file} {name} takes {row} on sm_{SAMPLED}, written: {said}"
        )
    return found


def sample(file: str, kernels: tuple[str, ...]) -> frozenset[str]:
    """A tenth of ``kernels``, at least one: others where the text of ``file``.cu is another."""
    of = digest(file)
    drawn = sorted(kernels, key=lambda name: hashlib.sha256(f"{of}{name}".encode()).digest())
    return frozenset(drawn[: -(-len(drawn) // SHARE)])


def alike(one: Figures, other: Figures) -> bool:
    """Whether they are the same but for registers that are not spilled."""
    return replace(one, registers=other.registers) == other


def written(file: str) -> OfFile:
    """What is written of ``file``.cu as it is now; nothing where it was another, or the compiler."""
    is_of, rows = _read().get(file, ("", {}))
    return rows if is_of == digest(file) else {}


@cache
def _read() -> dict[str, tuple[str, OfFile]]:
    """(digest, figures) by file."""
    found: dict[str, tuple[str, OfFile]] = {}
    for line in FILE.read_text().splitlines() if FILE.exists() else ():
        file, rest = line.split(" ", 1)
        if "\t" not in rest:
            found[file] = rest, {architecture: {} for architecture in ARCHITECTURES}
            continue
        kernel, *of_each = rest.split("\t")
        for numbers in of_each:
            architecture, *row = map(int, numbers.split())
            found[file][1][architecture][kernel] = Figures(*row)
    return found


def digest(file: str) -> str:
    """Of the text of ``file``.cu with all that it includes, of the compiler and of its options."""
    try:
        version = metadata.version("nvidia-cuda-nvrtc")
    except metadata.PackageNotFoundError:
        return "no compiler whose version is known"
    whole = "\0".join((source(file), version, *AS_CUPY))
    return f"NVRTC {version}, {hashlib.sha256(whole.encode()).hexdigest()}"


def text_of(found: dict[str, OfFile]) -> str:
    """What `FILE` holds of these."""
    lines = []
    for file, rows in found.items():
        lines.append(f"{file} {digest(file)}")
        for kernel in rows[SAMPLED]:
            numbers = [" ".join(map(str, (n, *astuple(of[kernel])))) for n, of in rows.items()]
            lines.append("\t".join((f"{file} {kernel}", *numbers)))
    return "".join(f"{line}\n" for line in lines)


def main(*arguments: str) -> None:
    if arguments not in ((), ("--check",)):
        raise SystemExit(__doc__)
    if arguments:
        for file, kernels in listed().items():
            known = written(file)
            for architecture in ARCHITECTURES:
                for name, row in figures(file, kernels, architecture).items():
                    said = known.get(architecture, {}).get(name)
                    if said is None or not alike(row, said):
                        message = f"{file} {name} on sm_{architecture}: {row}, written: {said}"
                        raise SystemExit(message)
        print(f"{FILE.name} is what the kernels take")
        return
    found = {file: figures_everywhere(file, kernels) for file, kernels in listed().items()}
    FILE.write_text(text_of(found))
    print(f"{sum(len(rows[SAMPLED]) for rows in found.values())} kernels written to {FILE.name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
