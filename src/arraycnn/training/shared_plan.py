"""`SharedTraining`: a plan of one rank among several."""

from collections.abc import Callable, Sequence

import numpy as np

from arraycnn.distributed.sums import Traffic
from arraycnn.execution import Finished, StepMemory, TrainingPlan
from arraycnn.training.step import Carry


class SharedTraining:
    """A `TrainingPlan` whose steps are whole on all ranks, or on none.

    Parameters
    ----------
    plan : TrainingPlan
    traffic : Traffic
        What its sums have cost.
    say : function or None
        Told of the traffic of the first run, and of its steps.
    """

    def __init__(
        self, plan: TrainingPlan, traffic: Traffic, say: Callable[[Traffic, int], None] | None
    ) -> None:
        self._plan, self.traffic, self._say = plan, traffic, say

    def run(
        self, first_step: int, batches: Sequence[np.ndarray], learning_rates: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        found = self._plan.run(first_step, batches, learning_rates)
        if self._say is not None:
            self._say(self.traffic, len(batches))
            self._say = None
        return found

    def finished(self) -> Finished | None:
        """None: an error may have ended a step that other ranks wait in, or have gone on from."""
        return None

    def snapshot(self) -> Carry:
        return self._plan.snapshot()

    def restore(self, carry: Carry) -> None:
        self._plan.restore(carry)

    def memory(self) -> StepMemory:
        return self._plan.memory()

    def close(self) -> None:
        self._plan.close()
