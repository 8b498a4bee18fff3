"""What a recorded plan asks of what runs its kernels, and of what renders its program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np

from arraycnn.ops import Array, Kernels
from arraycnn.ops.step_tables import StepTables
from arraycnn.program.collectives import SumCall
from arraycnn.program.memo import rendered_of
from arraycnn.program.passes.schedule import Schedule


class Launcher(Protocol):
    """What the plan asks of what runs its kernels (`arraycnn.ops.cuda.launcher` has the contracts)."""

    @property
    def sends(self) -> bool:
        """Whether images on the host must be sent, while kernels run."""

    @property
    def atomic(self) -> bool:
        """Whether a recording whose replay was begun is run to its end, whatever signals come."""

    def owns(self, array: Any) -> bool: ...

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array: ...

    def contiguous(self, array: Array) -> Array: ...

    def asarray(self, array: np.ndarray) -> Array: ...

    def to_numpy(self, array: Array) -> np.ndarray: ...

    def sender(self, shape: tuple[int, ...], dtype: Any) -> Any: ...

    def rehearse(self, work: Callable[[], None]) -> None: ...

    def capture(self, work: Callable[[], None]) -> Callable[[], None]: ...

    def release(self, recording: Callable[[], None]) -> None: ...


class Steps(Protocol):
    """The kernels that read a step's share of the tables, and note its results there."""

    def begin_step(
        self, launcher: Any, tables: StepTables, labels: Array
    ) -> tuple[Array, Array, Array, Array, Array]:
        """The step's (indices (N,), rows (N,), labels (N,), number (1,), learning rate ())."""

    def finish_step(
        self, launcher: Any, tables: StepTables, loss_sum: Array, correct: Array
    ) -> None:
        """Note the step's results, and go on to the next."""


class Rendered(Protocol):
    """A schedule as launches, or as calls."""

    def __call__(
        self, launcher: Any, ops: Kernels, arrays: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], list[Any]]:
        """Make or record them: the outputs by name, and what is to be held with the recording."""


Render: TypeAlias = Callable[[Schedule], Rendered]


def rendered(render: Render, schedule: Schedule) -> Rendered:
    """Kept for the next plan, unless there are calls of one plan's layers."""
    calls = (step.head.attrs[0] for step in schedule.steps if step.is_call and step.head)
    if all(isinstance(call, SumCall) for call in calls):
        return rendered_of(render, schedule)
    return render(schedule)
