"""Plans: how a pure step is run. A backend chooses the plan; the layers never know."""

from arraycnn.execution.eager import EagerInference, EagerTraining
from arraycnn.execution.plan import Finished, InferencePlan, StepMemory, Task, TrainingPlan
from arraycnn.execution.recorded import RecordedTraining
from arraycnn.execution.recorded_inference import RecordedInference
from arraycnn.execution.streaming import Streaming

__all__ = [
    "EagerInference",
    "EagerTraining",
    "Finished",
    "InferencePlan",
    "RecordedInference",
    "RecordedTraining",
    "StepMemory",
    "Streaming",
    "Task",
    "TrainingPlan",
]
