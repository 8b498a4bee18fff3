"""Whose kernels the nodes of a captured graph are."""

import re
from collections.abc import Iterable

from cuda_figures import listed

_MADE = re.compile(r"(fused|\w+_and_\w+)_[0-9a-f]{16}")
"""The names of kernels whose text is made for a network: they end with its digest."""


def not_ours(nodes: Iterable[str]) -> list[str]:
    """Those of `host_driver.State.nodes` that start no kernel of this package.

    Copies, settings of memory, and the kernels of CuPy's, whose names begin with ``cupy_``.
    """
    ours = {kernel.split("<")[0] for kernels in listed().values() for kernel in kernels}

    def is_ours(node: str) -> bool:
        kind, _, kernel = node.partition(" ")
        name = kernel.split("<")[0]
        return kind == "kernel" and (name in ours or bool(_MADE.fullmatch(name)))

    return [node for node in nodes if not is_ours(node)]
