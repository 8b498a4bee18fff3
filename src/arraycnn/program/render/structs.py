"""The struct that a launch hands to a kernel: named fields, one definition read by both sides.

All fields are 64 bits: addresses, sizes, strides in numbers, and the bits of float64 numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from arraycnn.ops.compiled.launch_struct import Int64s, LaunchStruct


class LoopLaunch(LaunchStruct):
    """Of the kernel of a loop, whose fields hang on its code: they are elsewhere, a `Struct`."""

    struct: Int64s


@dataclass
class Struct:
    """Fields by name, in order."""

    fields: dict[str, int] = field(default_factory=dict)

    def place(self, name: str) -> int:
        """Where the field ``name`` lies; a new one comes last."""
        return self.fields.setdefault(name, len(self.fields))

    def pack(self, values: dict[str, int | float]) -> np.ndarray:
        """The struct with ``values``, int64; floats as the bits of their float64."""
        packed = np.zeros(max(len(self.fields), 1), np.int64)
        for name, place in self.fields.items():
            value = values[name]
            if isinstance(value, float):
                packed[place : place + 1].view(np.float64)[0] = value
            else:
                packed[place] = value
        return packed
