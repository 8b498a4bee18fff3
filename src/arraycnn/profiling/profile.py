"""Where the time of a step of a model goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from arraycnn.backends import NumPy
from arraycnn.backends.backend import on_its_device
from arraycnn.backends.numpy import usable_cores
from arraycnn.errors import InvalidValueError
from arraycnn.model.inputs import check_optimizer
from arraycnn.model.model import Model
from arraycnn.optimizers import SGD, Optimizer
from arraycnn.profiling.machine import Machine, measured_machine
from arraycnn.profiling.parts import Part, parts_of
from arraycnn.profiling.rounds import interleaved
from arraycnn.profiling.steps import Steps, trial_data
from arraycnn.profiling.text import lines_of
from arraycnn.profiling.torch_twin import NoTwinError, torch_step, torch_threads
from arraycnn.setting_checks import check_count
from arraycnn.training.machine_failures import failures_in_words

MODES = ("train", "infer")


@dataclass(frozen=True)
class Profile:
    """What a step, or a pass forward, takes, and what its parts do.

    Attributes
    ----------
    mode : "train" or "infer"
    batch_size : int
    seconds : float
        A step as it is always run, the median of interleaved rounds.
    machine : Machine or None
    parts : tuple of Part
        Empty where ``unparted`` says why.
    parts_images : int
        Of how many images the parts are: of fewer than a batch, where a pass is cut.
    torch_seconds : float or None
        The same in PyTorch; None where ``untwinned`` says why.
    """

    mode: str
    batch_size: int
    seconds: float
    machine: Machine | None
    parts: tuple[Part, ...]
    parts_images: int
    unparted: str
    torch_seconds: float | None
    untwinned: str

    @property
    def parts_seconds(self) -> float:
        """The sum of the parts."""
        return sum(part.seconds for part in self.parts)

    def __str__(self) -> str:
        return "\n".join(lines_of(self))

    def to_plain(self) -> dict[str, Any]:
        """All of it for JSON, times in seconds."""
        return {
            **{name: value for name, value in asdict(self).items() if name != "parts"},
            "images_per_second": self.batch_size / self.seconds,
            "parts_seconds": self.parts_seconds,
            "parts": [self._plain_part(part) for part in self.parts],
        }

    def _plain_part(self, part: Part) -> dict[str, Any]:
        found = {
            **asdict(part),
            "share": part.seconds / max(self.parts_seconds, 1e-12),
            "bytes": part.bytes,
            "operations": part.operations,
        }
        if self.machine is not None and part.steps and part.operations is not None:
            least, bound = self.machine.least_seconds(part.operations, part.bytes)
            found |= {"of_machine": least / max(part.seconds, 1e-12), "bound": bound}
        return found


@on_its_device
def profiled(
    model: Model,
    mode: str,
    batch_size: int,
    optimizer: Optimizer,
    seconds: float,
    machine: Machine | None,
    with_torch: bool,
    now: Callable[[], float],
) -> Profile:
    """Measure one mode and batch size; ``model`` stays as it is. See `profile`."""
    images, labels = trial_data(model, batch_size)
    steps = Steps(model, mode, batch_size, optimizer, images, labels)
    with failures_in_words(model.backend), torch_threads(_threads(model)), closing(steps):
        subjects = {"whole": steps.usual()}
        timed, apart = steps.clocked()
        if timed is not None:
            subjects["parts"] = timed
        if apart is not None:
            subjects["apart"] = apart
        untwinned = ""
        try:
            if not with_torch:
                raise NoTwinError("not asked for")
            subjects["torch"] = torch_step(model, mode, optimizer, images, labels, batch_size)
        except NoTwinError as error:
            untwinned = str(error)
        took = interleaved(subjects, seconds, now)
    found: list[Part] = []
    unparted, count = f"backend {model.backend.name} runs the step as one", batch_size
    if timed is not None:
        unparted = "the step is no program, but runs layer by layer"
        if timed.schedule is not None:
            others = None if apart is None else apart.samples
            found, unparted = parts_of(timed.schedule, timed.samples, others), ""
            if mode == "infer":
                count = timed.schedule.program.inputs["images"].shape[0]
    return Profile(
        *(mode, batch_size, took["whole"], machine, tuple(found), count, unparted),
        *(took.get("torch"), untwinned),
    )


def profile(
    model: Model,
    batch_size: int = 64,
    *,
    mode: str = "train",
    optimizer: Optimizer | None = None,
    seconds: float = 3.0,
    with_torch: bool = True,
) -> Profile:
    """Where the time of a training step, or of a pass forward, goes: print it.

    Images are random, and the learning rate 0: ``model`` stays as it is.

    Parameters
    ----------
    batch_size : int
    mode : "train" or "infer"
    optimizer : Optimizer or None
        Whose update is part of a training step; None is ``SGD(0.05)``.
    seconds : float
        About how long to measure, once all is compiled and recorded.
    with_torch : bool
        Whether to run the same network in PyTorch, where that is installed, in turn.

    Raises
    ------
    InvalidValueError
        A mode, a number of images or of seconds that is none.
    """
    if mode not in MODES:
        message = f'profile: mode must be "train" or "infer", got {mode!r}'
        raise InvalidValueError(message)
    if not 0 < seconds < float("inf"):
        message = f"profile: seconds must be above 0 and finite, got {seconds!r}"
        raise InvalidValueError(message)
    count, rule = check_count("batch_size:", batch_size), check_optimizer(optimizer or SGD(0.05))
    now = time.perf_counter
    machine = machine_of(model, seconds / 4, now)
    return profiled(model, mode, count, rule, seconds, machine, with_torch, now)


def machine_of(model: Model, seconds: float, now: Callable[[], float]) -> Machine | None:
    """The rates of the machine that ``model`` is on; None where its parts are not timed."""
    if not isinstance(model.backend, NumPy):
        return None
    return measured_machine(_threads(model), model.dtype, seconds, now)


def _threads(model: Model) -> int:
    backend = model.backend
    return (isinstance(backend, NumPy) and backend.threads) or usable_cores()
