"""The chart of a search for a learning rate."""

from typing import TYPE_CHECKING

import numpy as np

from arraycnn.model.rate_search import RateSearch
from arraycnn.report.figures import BLUE, ORANGE, RULE, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def plot_rate_search(found: RateSearch) -> "Figure":
    """The loss of each step by its learning rate, and the rate at which it falls fastest."""
    figure = new_figure(5.2, 2.8)
    axes = figure.subplots()
    axes.plot(found.rates, found.losses, color=RULE, lw=0.9, zorder=1)
    axes.plot(found.rates, found.smoothed, color=BLUE, lw=1.6, label="mean of steps around")
    place = int(np.argmin(np.abs(found.rates - found.suggestion)))
    axes.plot(
        *([found.suggestion], [found.smoothed[place]]),
        color=ORANGE, marker="o", ls="none", label=f"falls fastest, {found.suggestion:.2g}",
    )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda rate, _: f"{rate:g}")
    low, high = float(found.smoothed.min()), float(found.smoothed[0])
    axes.set_ylim(low - 0.1 * (high - low), high + 0.6 * (high - low))  # not where it diverges
    axes.set_title("Loss by learning rate")
    axes.set_xlabel("learning rate of the step")
    axes.legend(loc="lower left")
    return figure
