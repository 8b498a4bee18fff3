"""EMA: evaluate the exponential moving average of the weights."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from arraycnn.ops import Array, Kernels, array_namespace
from arraycnn.optimizers.evaluated import EVALUATED
from arraycnn.optimizers.optimizer import check_share, paired, trained_part
from arraycnn.optimizers.wrapper import Wrapper
from arraycnn.tree import Tree, with_leaves


@dataclass(frozen=True)
class EMA(Wrapper):
    """Any optimizer, and beside what it trains the moving average of it: ``EMA(AdamW(), 0.999)``.

    Polyak and Juditsky, 1992, with the weights of an exponential average: after each update,
    average = d average + (1 - d) parameter, with d = min(decay, (1 + t) / (10 + t)) in update t,
    counted from 1, so that the first, random parameters are soon forgotten (as
    `tf.train.ExponentialMovingAverage` has it).

    The model is the averaged one: `Model.evaluate`, `predict`, `parameters`, `save`, validation after
    each epoch, `BestCheckpoint` and all exports. The training goes on from the parameters that are
    trained, to the last bit after a resume, too: a `Checkpoint` holds both. A new call of `fit`
    without ``resume`` begins with the model as it is, which is the average.

    What `BatchNorm` keeps, running mean and variance, is no parameter: it is taken as training has
    left it, as in `torch.optim.swa_utils.AveragedModel`. It is an average over batches already.

    Parameters
    ----------
    optimizer : Optimizer
        Another wrapper, too; EMA is the outermost. What `ParameterGroups` freezes has no average.
    decay : float
        In [0, 1): 0.999 averages over about 1,000 steps.
    """

    decay: float = 0.999

    outermost: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("EMA", "decay", self.decay)

    def init(self, params: Tree) -> Tree:
        average = trained_part(self.optimizer, params)
        return {
            "optimizer": self.optimizer.init(params),
            EVALUATED: average,
            "updates": np.zeros(()),
        }

    def update(
        self, ops: Kernels, params: Tree, gradients: Tree, state: Tree, learning_rate: Array
    ) -> tuple[Tree, Tree]:
        xp = array_namespace(learning_rate)
        moved, inner = self.optimizer.update(
            ops, params, gradients, state["optimizer"], learning_rate
        )
        updates = state["updates"] + 1.0
        warming = (1.0 + updates) / (10.0 + updates)
        forgotten = 1.0 - xp.where(warming < self.decay, warming, self.decay)
        average, trained = state[EVALUATED], trained_part(self.optimizer, moved)
        averages = [a + forgotten * (p - a) for p, a in paired(trained, average)]
        return moved, {
            "optimizer": inner,
            EVALUATED: with_leaves(trained, averages),
            "updates": updates,
        }
