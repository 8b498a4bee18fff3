"""`TrainingState`: where a training stands, as a value."""

import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from arraycnn.errors import InvalidValueError
from arraycnn.losses import Loss
from arraycnn.optimizers import Optimizer
from arraycnn.setting_checks import check_count, check_number
from arraycnn.training.batch_order import BatchOrder
from arraycnn.training.history import EpochRecord
from arraycnn.training.step import CROSS_ENTROPY, Carry
from arraycnn.tree import Tree, flatten, with_leaves

_TIMES = ("seconds", "images_per_second")
_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")


@dataclass(frozen=True, eq=False)
class TrainingState:
    """A training between two steps: `Model.fit` hands it out, and goes on from it exactly.

    Attributes
    ----------
    course : BatchOrder
        Which images each step sees.
    optimizer : str
        The optimizer's settings, its learning rate or schedule among them, in words.
    records : tuple of EpochRecord
        The epochs that are done.
    step : int
        The steps of the next epoch that are done, 0 to ``course.steps``.
    loss_sum, correct : float, int
        Over the images of these steps: the sum of their losses, and how many were right, or, a
        float, the sum of what the loss measures.
    carry : Carry
        Parameters, layer state and optimizer state, on the backend that computed them.
    loss : str
        The loss in words, as the optimizer; empty for cross-entropy without settings.
    accumulate : int
        In how many parts the gradients of a batch are computed.
    untold : tuple of (float, int)
        Mean loss and number of correct images of the last steps of these, where an interrupt or an
        error came before the callbacks were told of them; a training that goes on tells first.
    """

    course: BatchOrder
    optimizer: str
    records: tuple[EpochRecord, ...]
    step: int
    loss_sum: float
    correct: float
    carry: Carry
    untold: tuple[tuple[float, float], ...] = ()
    loss: str = ""
    accumulate: int = 1

    @property
    def told(self) -> int:
        """The steps of the next epoch that are done and that the callbacks were told of."""
        return self.step - len(self.untold)

    @property
    def position(self) -> int:
        """The steps of this training that are done."""
        return len(self.records) * self.course.steps + self.step

    @property
    def images(self) -> int:
        """The images seen in the steps of the next epoch that are done."""
        return min(self.step * self.course.batch_size, self.course.images)

    @property
    def epochs_done(self) -> int:
        """Whole epochs over the life of the model."""
        return self.course.first_epoch + len(self.records)

    @property
    def steps_done(self) -> int:
        """Steps over the life of the model."""
        return self.course.first_step + self.position

    @property
    def place(self) -> str:
        """Where it stands: "epoch 3, step 40 of 52", or "the end of epoch 3"."""
        if self.step or not self.epochs_done:
            return f"epoch {self.epochs_done + 1}, step {self.step} of {self.course.steps}"
        return f"the end of epoch {self.epochs_done}"

    @property
    def complete(self) -> bool:
        """Whether every epoch of the course is done."""
        return len(self.records) >= self.course.epochs

    def after_epoch(self, record: EpochRecord) -> "TrainingState":
        """This state with its epoch finished as ``record``."""
        return replace(self, records=(*self.records, record), step=0, loss_sum=0.0, correct=0)

    def to_plain(self) -> dict[str, Any]:
        """All but the carry, for JSON; without the times, which differ from run to run."""
        records = [
            {name: value for name, value in asdict(record).items() if name not in _TIMES}
            for record in self.records
        ]
        for record in records:
            if not record["others"]:  # as before there were any
                del record["others"]
        names = ("optimizer", "step", "loss_sum", "correct")
        return {
            "course": asdict(self.course),
            **{name: getattr(self, name) for name in names},
            "records": records,
            **({"untold": [list(step) for step in self.untold]} if self.untold else {}),
            **({"loss": self.loss} if self.loss else {}),
            **({"accumulate": self.accumulate} if self.accumulate > 1 else {}),
        }


def training_state_from_plain(plain: dict[str, Any], carry: Carry) -> TrainingState:
    """The state that `TrainingState.to_plain` described.

    Raises KeyError, TypeError or ValueError where ``plain`` describes none.
    """
    numbers = {name: check_count(f"{name}:", value, 0) for name, value in plain["course"].items()}
    check_count("batch_size:", numbers["batch_size"])
    course = BatchOrder(**numbers)
    times: dict[str, Any] = dict.fromkeys(_TIMES, math.nan)
    records = tuple(EpochRecord(**record, **times) for record in plain["records"])
    loss = str(plain.get("loss", ""))
    number_of = _any_number if loss else _finite
    for number, record in enumerate(records, start=course.first_epoch + 1):
        _check_record(record, number, number_of)
    state = TrainingState(
        course=course,
        optimizer=str(plain["optimizer"]),
        records=records,
        step=check_count("step:", plain["step"], 0),
        loss_sum=number_of("loss_sum", plain["loss_sum"]),
        correct=_measured("correct", plain["correct"]),
        carry=carry,
        untold=tuple(
            (number_of("untold", one), _measured("untold", measured))
            for one, measured in plain.get("untold", ())
        ),
        loss=loss,
        accumulate=check_count("accumulate:", plain.get("accumulate", 1)),
    )
    is_off = not loss and (state.correct > state.images or state.correct < 0)
    if state.step > course.steps or is_off or state.told < 0:
        message = "step, correct and untold must lie within one epoch"
        raise ValueError(message)
    return state


def describe_optimizer(optimizer: Optimizer) -> str:
    """The settings in words, the same in every process."""
    return _ADDRESS.sub("", repr(optimizer))  # of a function given as the schedule


def describe_loss(loss: Loss) -> str:
    """The settings in words; none for cross-entropy without settings."""
    return "" if loss == CROSS_ENTROPY else _ADDRESS.sub("", repr(loss))


def resumed(
    state: TrainingState,
    course: BatchOrder,
    optimizer: str,
    expected: Carry,
    override: bool,
    loss: str = "",
    accumulate: int = 1,
) -> TrainingState:
    """``state`` as the beginning of the training that the settings describe.

    ``expected`` is that training's first carry: its names and shapes. With ``override``, settings
    may differ: an epoch in other batches begins again, and an optimizer that keeps other arrays
    begins afresh.

    Raises
    ------
    InvalidValueError
        A setting differs and ``override`` is False, or the parameters are another network's.
    """
    was, now = asdict(state.course), asdict(course)
    differences = [
        f"{name} was {was[name]}, got {now[name]}"
        for name in ("epochs", "batch_size", "images", "seed")
        if was[name] != now[name]
    ]
    if state.optimizer != optimizer:
        differences.append(f"optimizer was {state.optimizer}, got {optimizer}")
    if state.loss != loss:
        names = [one or repr(CROSS_ENTROPY) for one in (state.loss, loss)]
        differences.append(f"loss was {names[0]}, got {names[1]}")
    if state.accumulate != accumulate:
        differences.append(f"accumulate was {state.accumulate}, got {accumulate}")
    if differences and not override:
        message = (
            f"fit: a training resumes with the settings it began with: {'; '.join(differences)}; "
            "pass those, or override=True (--override)"
        )
        raise InvalidValueError(message)
    carry = Carry(
        _like("parameters", expected.params, state.carry.params),
        _like("layer state", expected.state, state.carry.state),
        _optimizer_state(expected.optimizer_state, state.carry.optimizer_state, override),
    )
    steps_before = state.steps_done
    if (course.batch_size, course.images) != (state.course.batch_size, state.course.images):
        state = replace(state, step=0, loss_sum=0.0, correct=0, untold=())
    course = replace(course, first_epoch=state.course.first_epoch, first_step=0)
    state = replace(state, course=course, optimizer=optimizer, carry=carry, loss=loss)
    state = replace(state, accumulate=accumulate)
    # The numbers of steps go on whatever an epoch's length is: no two share random bits.
    return replace(state, course=replace(course, first_step=steps_before - state.position))


def _optimizer_state(expected: Tree, given: Tree, override: bool) -> Tree:
    try:
        return _like("optimizer state", expected, given)
    except InvalidValueError:
        if not override:
            raise
        return expected


def _like(what: str, expected: Tree, given: Tree) -> Tree:
    """``given``'s arrays in the tree of ``expected``, whose names and shapes they must have."""
    arrays, shapes = flatten(given), {n: tuple(a.shape) for n, a in flatten(expected).items()}
    if {name: tuple(array.shape) for name, array in arrays.items()} != shapes:
        message = (
            f"fit: the {what} to resume from must have the names and shapes of this model and "
            f"optimizer, {shapes}, got { {n: tuple(a.shape) for n, a in arrays.items()} }; "
            "resume with the model and the optimizer that the training was begun with"
        )
        raise InvalidValueError(message)
    return with_leaves(expected, [arrays[name] for name in shapes])


def _check_record(record: EpochRecord, number: int, number_of: Callable[..., float]) -> None:
    if check_count("epoch:", record.epoch) != number:
        message = f"the records of epochs must be numbered on from {number}, got {record.epoch}"
        raise ValueError(message)
    number_of("train_loss", record.train_loss)
    if record.train_accuracy is not None or number_of is _finite:
        _finite("train_accuracy", record.train_accuracy)
    _finite("learning_rate", record.learning_rate)
    for name in ("validation_loss", "validation_accuracy"):
        if getattr(record, name) is not None:
            number_of(name, getattr(record, name))
    for name, value in record.others.items():
        _any_number(name, value)


def _finite(name: str, value: Any) -> float:
    check_number(name, value, minimum=0.0)
    return float(value)


def _any_number(name: str, value: Any) -> float:
    """Of a user's loss, which may be below 0."""
    return _finite(name, abs(value)) and float(value)


def _measured(name: str, value: Any) -> float:
    """A number of images, or a sum of what the loss measures."""
    return (
        _any_number(name, value) if isinstance(value, float) else check_count(f"{name}:", value, 0)
    )
