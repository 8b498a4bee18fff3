"""Callbacks of `Model.fit`: what watches a training, keeps it, or ends it."""

from arraycnn.callbacks.callback import Callback
from arraycnn.callbacks.checkpoints import BestCheckpoint, Checkpoint
from arraycnn.callbacks.early_stopping import EarlyStopping
from arraycnn.callbacks.logs import CSVLog, JSONLog, StepLog
from arraycnn.callbacks.tensorboard import TensorBoard
from arraycnn.callbacks.time_limit import TimeLimit

__all__ = [
    "BestCheckpoint",
    "CSVLog",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "JSONLog",
    "StepLog",
    "TensorBoard",
    "TimeLimit",
]
