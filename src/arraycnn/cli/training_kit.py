"""Optimizer and schedule of ``arraycnn train``, and what stands around them."""

from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from arraycnn.cli import options
from arraycnn.optimizers import (
    EMA,
    SGD,
    Adam,
    AdamW,
    ClipNorm,
    Lion,
    Lookahead,
    Muon,
    Optimizer,
)
from arraycnn.optimizers.schedules import (
    Constant,
    Cosine,
    Exponential,
    OneCycle,
    Schedule,
    StepDecay,
    Warmup,
    check_length,
)
from arraycnn.training.plateau import Plateau

# For each optimizer: how it is made, and the learning rate that serves it unless one is given.
OPTIMIZERS: dict[str, tuple[Callable[[Schedule], Optimizer], float]] = {
    "sgd": (SGD, 0.1),
    "momentum": (lambda rate: SGD(rate, momentum=0.9, nesterov=True), 0.03),
    "adam": (Adam, 0.003),
    "adamw": (AdamW, 0.003),
    "lion": (Lion, 0.002),
    "muon": (Muon, 0.02),
}
SCHEDULES = ("one-cycle", "cosine", "step", "exponential", "plateau", "constant")
PLATEAU_EPOCHS = 3

_OPTIONS = (
    click.option(
        "--warmup",
        type=options.FiniteFloat(0.0, strict=True),
        metavar="EPOCHS",
        help="Raise the learning rate to that of the schedule during so many epochs, such as 0.5.",
    ),
    click.option(
        "--clip-norm",
        type=options.FiniteFloat(0.0, strict=True),
        metavar="NORM",
        help="Scale gradients down where the norm of all together is larger.",
    ),
    click.option(
        "--ema",
        type=options.FiniteFloat(0.0, below=1.0),
        metavar="DECAY",
        help="Measure and save the moving average of the weights, such as 0.999; what is trained "
        "goes on beside it.",
    ),
    click.option(
        "--lookahead",
        type=click.IntRange(min=1),
        metavar="STEPS",
        help="Draw the weights half way back every so many steps, such as 5.",
    ),
    click.option(
        "--accumulate",
        type=click.IntRange(min=1),
        default=1,
        metavar="PARTS",
        help="Compute the gradients of each batch in so many parts, one after the other.",
    ),
)


def kit(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options, of which the command hands the values by name to `schedule_of` and `around`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check_together(given: dict[str, Any]) -> None:
    """Refuse a schedule that has nothing to go by or no time, and more parts than there are images."""
    if given["schedule"] == "plateau" and given["validation"] == 0:
        message = "--schedule plateau needs images to watch: give --validation a share above 0"
        raise click.UsageError(message)
    patience = given["patience"]
    waits = given["schedule"] == "plateau" and _is_asked(given, "schedule", "patience")
    if waits and patience is not None and patience <= PLATEAU_EPOCHS:
        message = (
            f"--patience must be above {PLATEAU_EPOCHS} with --schedule plateau, got {patience}: the "
            f"rate falls after {PLATEAU_EPOCHS} epochs without a better one, where training would end"
        )
        raise click.UsageError(message)
    if given["accumulate"] > 1 and given["deterministic"]:
        message = (
            "--accumulate and --deterministic exclude each other: the blocks of a batch are computed "
            "one after the other already"
        )
        raise click.UsageError(message)
    check_accumulate(given["accumulate"], given["batch_size"])


def _is_asked(given: dict[str, Any], *names: str) -> bool:
    """Whether this command asks for one of these: a run that is resumed goes on as it began."""
    source_of = click.get_current_context().get_parameter_source
    is_new = given["resume"] is None
    return is_new or any(source_of(name) is ParameterSource.COMMANDLINE for name in names)


def check_accumulate(parts: int, batch_size: int) -> None:
    """Refuse more parts than a batch has images. Raises click.UsageError."""
    if parts > batch_size:
        message = (
            f"--accumulate must be at most --batch-size, and the images of a batch, {batch_size}, "
            f"got {parts}: a batch is cut into so many parts"
        )
        raise click.UsageError(message)


def schedule_of(given: dict[str, Any], rate: float, steps: int, epochs: int) -> Schedule:
    """What the options ask for, ``rate`` at the most, in a training of so many ``steps``.

    Raises click.UsageError where the training ends before its rate has risen.
    """
    schedule, warmup = _schedule(given["schedule"], rate, steps, given["monitor"]), given["warmup"]
    if warmup is None:
        return schedule
    is_new = _is_asked(given, "warmup") or not (given["resume"] / "last.npz").exists()
    part = min(warmup, epochs) if is_new else warmup
    rising_steps = round(part * steps / epochs)
    if part < epochs:  # the last step has the rate of the schedule, however few there are
        rising_steps = min(rising_steps, steps - 1)
    rising = Warmup(schedule, max(1, rising_steps))
    if is_new and not rising.ends_within(steps):
        message = (
            f"--warmup must take fewer steps than the {steps} of the training, got {warmup:g} of "
            f"{epochs} epochs: the rate would never be that of the schedule; "
            "have fewer epochs of it or none, or more --epochs"
        )
        raise click.UsageError(message)
    return rising


def around(optimizer: Optimizer, given: dict[str, Any], steps: int) -> Optimizer:
    """``optimizer`` within what the options ask for, in a training of so many ``steps``.

    Raises InvalidValueError where that is too short for it.
    """
    if given["lookahead"] is not None:
        optimizer = Lookahead(optimizer, given["lookahead"])
    if given["clip_norm"] is not None:
        optimizer = ClipNorm(optimizer, given["clip_norm"])
    if given["ema"] is not None:
        optimizer = EMA(optimizer, given["ema"])
    check_length(optimizer, steps)  # before there is a run
    return optimizer


def _schedule(name: str, rate: float, steps: int, monitor: str) -> Schedule:
    if name == "one-cycle":
        return OneCycle(rate)
    if name == "cosine":
        return Cosine(rate)
    if name == "step":
        return StepDecay(rate, every=max(1, steps // 3))
    if name == "exponential":
        return Exponential(rate, every=max(1, steps // 2))
    if name == "plateau":
        return Plateau(rate, monitor, patience=PLATEAU_EPOCHS)
    return Constant(rate)
