"""`Distributed`: how a training, or a measurement, is shared among ranks; a value of settings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from arraycnn.distributed.communicator import Communicator
from arraycnn.errors import InvalidTypeError
from arraycnn.setting_checks import check_count

BLOCK = 8
"""Images of a block: few enough that small batches have one for each rank."""


@dataclass(frozen=True)
class Distributed(ABC):
    """What `Model.fit` takes as ``distributed``; derive from it for another transport.

    Parameters
    ----------
    deterministic : bool
        Whether the blocks of a batch are computed each by itself, and their sums added up in order:
        on NumPy's arrays every bit is then the same for any number of ranks, one among them. It
        takes more bytes, more memory (parameters once a block) and more time.
    block : int
        Images in a block. A rank has whole blocks of each batch, which so must have at least one for
        each rank; `Mixup` and the like choose partners in a block.
    """

    deterministic: bool = False
    block: int = BLOCK

    def __post_init__(self) -> None:
        name = type(self).__name__
        if not isinstance(self.deterministic, bool):
            message = f"{name}: deterministic must be True or False, got {self.deterministic!r}"
            raise InvalidTypeError(message)
        check_count(f"{name}: block", self.block)

    @property
    @abstractmethod
    def communicator(self) -> Communicator:
        """This rank's end of it; the same object each time."""


def check_distributed(distributed: Distributed | None) -> Distributed | None:
    """``distributed``, or InvalidTypeError where it is no such value."""
    if distributed is not None and not isinstance(distributed, Distributed):
        message = f"distributed: must be a value such as MPI(), got {distributed!r}"
        raise InvalidTypeError(message)
    return distributed
