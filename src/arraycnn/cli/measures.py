"""What was measured, in words: shares as percent, errors in the unit of the labels."""

from collections.abc import Mapping

import click

from arraycnn.losses import Loss


def measured(name: str, value: float) -> str:
    """accuracy 98.76%, f1 91.20%, mean absolute error 0.1234."""
    is_share = name.endswith(("accuracy", "f1", "f1_micro"))
    return f"{name.replace('_', ' ')} {f'{value:.2%}' if is_share else f'{value:.4g}'}"


def measures(found: Mapping[str, float | None], prefix: str = "", between: str = "  ") -> str:
    """All of ``found`` on one line, the loss first; None is left out."""
    loss = found[f"{prefix}loss"]
    rest = (
        measured(name, value)
        for name, value in found.items()
        if value is not None and name.rpartition("_")[2] != "loss"
    )
    before = prefix.replace("_", " ")
    return between.join([f"{before}loss {loss:.4f}", *rest])


def check_monitor(metric: str, loss: Loss) -> None:
    """Refuse a metric that ``loss`` does not measure. Raises click.UsageError."""
    names = [f"validation_{name}" for name in ("loss", *loss.measures)]
    if metric not in names:
        message = f"--monitor: must be one of {', '.join(names)}, got {metric!r}"
        raise click.UsageError(message)
