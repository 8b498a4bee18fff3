"""`Standing`: what a model has come to, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from arraycnn.optimizers.evaluated import evaluated
from arraycnn.training.state import TrainingState
from arraycnn.tree import Tree


@dataclass(frozen=True, eq=False)
class Standing:
    """Parameters, and how many steps have made them; a `Model` holds one, and replaces it whole.

    So whoever looks, and whenever an interrupt comes, parameters and counts belong together.

    Attributes
    ----------
    params, state : tree of arrays, on the backend
        What is evaluated (`arraycnn.optimizers.evaluated`): ``unfinished`` has what is trained.
    epochs_done, steps_done : int
    unfinished : TrainingState or None
    """

    params: Tree
    state: Tree
    epochs_done: int = 0
    steps_done: int = 0
    unfinished: TrainingState | None = None


def standing_at(training: TrainingState) -> Standing:
    """Where a model is whose training stands there."""
    trained, state, optimizer_state = training.carry
    params = evaluated(trained, optimizer_state)
    return Standing(params, state, training.epochs_done, training.steps_done, training)


class Stands:
    """What `Model` shows of its standing."""

    standing: Standing

    @property
    def epochs_done(self) -> int:
        """Whole epochs over the life of the model."""
        return self.standing.epochs_done

    @property
    def steps_done(self) -> int:
        """Steps over the life of the model: those that have made `parameters` what they are."""
        return self.standing.steps_done

    @property
    def unfinished(self) -> TrainingState | None:
        """Where the last `fit` stood if an error, an interrupt or a callback ended it."""
        return self.standing.unfinished

    @property
    def trees(self) -> tuple[Tree, Tree]:
        """(parameters, state) as the layers take them: the backend's own arrays, no copies."""
        standing = self.standing
        return standing.params, standing.state


_BEFORE = {
    "_params": "params",
    "_state": "state",
    "epochs_done": "epochs_done",
    "steps_done": "steps_done",
    "unfinished": "unfinished",
}


def with_standing(attributes: dict[str, Any]) -> dict[str, Any]:
    """A pickled model's attributes; one of 0.1 had those of its standing one by one."""
    if "standing" in attributes:
        return attributes
    rest = {name: value for name, value in attributes.items() if name not in _BEFORE}
    return {**rest, "standing": Standing(**{new: attributes[old] for old, new in _BEFORE.items()})}
