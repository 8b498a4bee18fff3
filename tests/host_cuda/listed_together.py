"""The machine code of many kernels by few runs of nvdisasm, of which each takes 0.3 s to begin.

    codes = machine_codes_together([("tiles", "sum_splits<float>"), ...], 90)

It lists the plain code of them all, one after the other, without what a file says of it: branches have
labels as in `machine_code.machine_code`, but places that are no branch's have the numbers of the code.
"""

import hashlib
import os
import re
import struct
import subprocess
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from host_cuda.build import cache_folder
from host_cuda.device_code import Compiled, compiled, keep
from host_cuda.machine_code import MachineCode, nvdisasm, read

_ADDRESS = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/(.*)$")
_GOES_TO = re.compile(r"(\b(?:BRA|CALL)\b[^;]*?)\b0x([0-9a-f]+)\s*;")


def machine_codes_together(
    kernels: Iterable[tuple[str, str]], architecture: int = 90
) -> dict[tuple[str, str], MachineCode]:
    """The machine code of kernels, each (file, kernel)."""
    kernels = tuple(kernels)
    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        made = list(pool.map(lambda one: compiled(*one, architecture), kernels))
        missing = [one for one in made if not _kept(one).exists()]
        portions = [missing[number::cores] for number in range(cores)]
        list(pool.map(lambda some: _list_together(some, architecture), portions))
    codes = [read(_kept(one).read_text(), one.name) for one in made]
    return dict(zip(kernels, codes, strict=True))


def _kept(kernel: Compiled) -> Path:
    _, version = nvdisasm()
    key = hashlib.sha256(kernel.cubin.read_bytes() + version.encode()).hexdigest()[:32]
    return cache_folder() / f"{key}.plain-sass"


def _list_together(kernels: list[Compiled], architecture: int) -> None:
    if not kernels:
        return
    texts = [code_of(kernel.cubin.read_bytes(), kernel.name) for kernel in kernels]
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(b"".join(texts))
        file.flush()
        command = (str(nvdisasm()[0]), "--binary", f"SM{architecture}", file.name)
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = iter(listing.splitlines())
    found = (match for match in map(_ADDRESS.match, lines) if match)
    begin, waiting = 0, next(found, None)
    for kernel, text in zip(kernels, texts, strict=True):
        end = begin + len(text)
        mine = []
        while waiting and int(waiting[1], 16) < end:
            mine.append((int(waiting[1], 16) - begin, waiting[2]))
            waiting = next(found, None)
        keep(_kept(kernel), _with_labels(kernel.name, mine, begin).encode())
        begin = end


def _with_labels(name: str, rows: list[tuple[int, str]], begin: int) -> str:
    """A listing of one kernel, with labels where branches go, of rows (address, what follows)."""
    places: set[int] = set()

    def label(match: re.Match[str]) -> str:
        place = int(match[2], 16) - begin
        places.add(place)
        return f"{match[1]}`(.L_{place:x}) ;"

    named = [(address, _GOES_TO.sub(label, row)) for address, row in rows]
    lines = ["", f"{name}:"]
    for address, row in named:
        lines += [f".L_{address:x}:"] if address in places else []
        lines.append(f"        /*{address:04x}*/{row}")
    return "\n".join(lines)


def code_of(cubin: bytes, name: str) -> bytes:
    """The instructions of a kernel in an ELF file of a device."""
    (start,) = struct.unpack_from("<Q", cubin, 0x28)
    size, count, names = struct.unpack_from("<HHH", cubin, 0x3A)
    heads = [struct.unpack_from("<IIQQQQ", cubin, start + size * number) for number in range(count)]
    for place, _, _, _, offset, length in heads:
        at = heads[names][4] + place
        if cubin[at : cubin.index(b"\0", at)] == f".text.{name}".encode():
            return cubin[offset : offset + length]
    raise ValueError(f"no code of {name}")
