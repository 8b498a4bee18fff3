"""What stands around the optimizer of ``arraycnn train``: --ema."""

from typing import Any

import click

from arraycnn.cli import options
from arraycnn.optimizers import EMA, Optimizer

ema: options.Decorator = click.option(
    "--ema",
    type=options.FiniteFloat(0.0, below=1.0),
    metavar="DECAY",
    help="Measure and save the moving average of the weights, such as 0.999; what is trained goes on "
    "beside it.",
)


def around(optimizer: Optimizer, given: dict[str, Any]) -> Optimizer:
    """``optimizer`` within what the options' values by name ask for."""
    if given["ema"] is not None:
        optimizer = EMA(optimizer, given["ema"])
    return optimizer
