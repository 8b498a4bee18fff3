"""The blocks of a batch, each computed by itself: sums of fixed shapes, in a fixed order.

Each has a plan of its own, parameters too, and a thread. One at a time is at work: from one sum over
the batch to the next, where all meet (`arraycnn.distributed.sums.OrderedSums`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from arraycnn.distributed.meeting import AbandonedError
from arraycnn.distributed.sums import OrderedSums
from arraycnn.execution.plan import Finished, StepMemory, TrainingPlan
from arraycnn.training.step import Carry


class BlockTraining:
    """A `TrainingPlan` of several that do the same with other images, in lock step.

    Parameters
    ----------
    plans : sequence of TrainingPlan
        One for each block that this rank has of a whole batch, all from the same carry.
    sums : OrderedSums
        Theirs.
    """

    def __init__(self, plans: Sequence[TrainingPlan], sums: OrderedSums) -> None:
        self._plans, self._sums = plans, sums

    def run(
        self, first_step: int, batches: Sequence[np.ndarray], learning_rates: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        results: list[tuple[np.ndarray, np.ndarray] | None] = [None] * len(self._plans)
        errors: list[BaseException] = []

        def work(place: int) -> None:
            self._sums.at(place)
            try:
                with self._sums.meeting.taking_part:
                    results[place] = self._plans[place].run(first_step, batches, learning_rates)
            except AbandonedError:
                return
            except BaseException as error:
                errors.append(error)
                self._sums.meeting.abandon()

        threads = [
            threading.Thread(target=work, args=(place,), daemon=True)
            for place in range(1, len(self._plans))
        ]
        for thread in threads:
            thread.start()
        work(0)
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        found = results[0]
        assert found is not None
        return found

    def finished(self) -> Finished | None:
        """None: not all blocks may have come as far."""
        return None

    def snapshot(self) -> Carry:
        return self._plans[0].snapshot()

    def restore(self, carry: Carry) -> None:
        for plan in self._plans:
            plan.restore(carry)

    def memory(self) -> StepMemory:
        one = self._plans[0].memory()
        return StepMemory(one.fixed * len(self._plans), one.per_image)

    def close(self) -> None:
        for plan in self._plans:
            plan.close()
