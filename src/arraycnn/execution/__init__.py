"""Plans: how a pure step is run. A backend chooses the plan; the layers never know."""

from arraycnn.execution.eager import EagerInference, EagerTraining
from arraycnn.execution.plan import InferencePlan, Task, TrainingPlan

__all__ = ["EagerInference", "EagerTraining", "InferencePlan", "Task", "TrainingPlan"]
