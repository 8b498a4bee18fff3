"""Optimizers: frozen records of settings with a pure update.

``init(params)`` gives the state, a tree of arrays; ``update(ops, params, gradients, state,
learning_rate)`` gives new parameters and state. Whatever changes from step to step is an array.
"""

from arraycnn.optimizers.adam import Adam, AdamW
from arraycnn.optimizers.clip_norm import ClipNorm
from arraycnn.optimizers.ema import EMA
from arraycnn.optimizers.lion import Lion
from arraycnn.optimizers.lookahead import Lookahead
from arraycnn.optimizers.muon import Muon
from arraycnn.optimizers.optimizer import (
    Optimizer,
    check_schedule,
    frozen_paths,
    learning_rates,
    paired,
    zeros_like,
)
from arraycnn.optimizers.parameter_groups import (
    NO_DECAY,
    Group,
    ParameterGroups,
    rule_of,
)
from arraycnn.optimizers.sgd import SGD
from arraycnn.optimizers.wrapper import Wrapper

OPTIMIZERS = (SGD, Adam, AdamW, Lion, Muon)
"""Those of this library that compute updates; a `Wrapper` changes those of another one."""

__all__ = [
    "EMA",
    "NO_DECAY",
    "OPTIMIZERS",
    "SGD",
    "Adam",
    "AdamW",
    "ClipNorm",
    "Group",
    "Lion",
    "Lookahead",
    "Muon",
    "Optimizer",
    "ParameterGroups",
    "Wrapper",
    "check_schedule",
    "frozen_paths",
    "learning_rates",
    "paired",
    "rule_of",
    "zeros_like",
]
