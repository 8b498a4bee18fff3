"""The callbacks, each against what it says of itself."""

import csv
import json
import struct
import sys
from dataclasses import replace

import numpy as np
import pytest

from arraycnn import (
    SGD,
    BestCheckpoint,
    Callback,
    Checkpoint,
    CSVLog,
    Dense,
    EarlyStopping,
    EpochRecord,
    Flatten,
    Huber,
    InvalidTypeError,
    InvalidValueError,
    JSONLog,
    MissingPackageError,
    Model,
    Sequential,
    SoftmaxCrossEntropy,
    StepLog,
    TensorBoard,
    TimeLimit,
)
from arraycnn.training import loop as fitting
from arraycnn.training.history import METRICS, best_epoch

NETWORK = Sequential(Flatten(), Dense(3))
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.normal(size=(10, 2, 2, 1)), RNG.integers(0, 3, 10)
STEPS = 3


def fit(model, callbacks, epochs=2, **settings):
    chosen = {"batch_size": 4, "optimizer": SGD(0.1), "validation": (IMAGES, LABELS), **settings}
    return model.fit(IMAGES, LABELS, epochs=epochs, callbacks=callbacks, **chosen)


def new_model():
    return Model(NETWORK, (2, 2), seed=1)


def record(epoch, validation_loss=None, **values):
    chosen = {"train_loss": 1.0, "train_accuracy": 0.5, "validation_accuracy": None, **values}
    times = {"seconds": 1.0, "images_per_second": 1.0, "learning_rate": 0.1}
    return EpochRecord(epoch=epoch, validation_loss=validation_loss, **chosen, **times)


class Tell(Callback):
    """Replaces the validation losses that `fit` measured by ``losses``, for another callback."""

    def __init__(self, losses, other):
        self.losses, self.other = losses, other

    def on_begin(self, state):
        return self.other.on_begin(state)

    def on_epoch(self, measured):
        return self.other.on_epoch(record(measured.epoch, self.losses[measured.epoch - 1]))


class StopAfter(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch(self, measured):
        return measured.epoch == self.epoch


# --- the best epoch, and stopping early -----------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "values", "min_delta", "best"),
    [
        ("validation_loss", [3.0, 2.0, 2.0, 4.0], 0.0, 2),
        ("validation_loss", [3.0, 2.9, 2.8, 2.4], 0.5, 4),
        ("validation_loss", [3.0, 2.9, 2.5, 2.6], 0.5, 1),
        ("validation_accuracy", [0.5, 0.7, 0.7, 0.6], 0.0, 2),
        ("train_loss", [1.0, 2.0], 0.0, 1),
        ("train_accuracy", [0.1, 0.2], 0.0, 2),
        ("validation_loss", [None, None], 0.0, None),
        ("validation_loss", [], 0.0, None),
    ],
)
def test_the_best_epoch(metric, values, min_delta, best):
    records = [record(number, **{metric: value}) for number, value in enumerate(values, start=1)]
    found = best_epoch(records, metric, min_delta)
    assert (found.epoch if found else None) == best


@pytest.mark.parametrize(
    ("losses", "patience", "ends_after"),
    [
        ([5, 4, 3, 2, 1, 0], 1, 6),
        ([5, 6, 4, 3, 2, 1], 1, 2),
        ([5, 6, 4, 5, 3, 4], 2, 6),
        ([5, 6, 7, 4, 3, 2], 2, 3),
        ([5, 5, 5, 5, 5, 5], 3, 4),
        ([5, 6, 4, 4, 4, 4], 2, 5),
    ],
)
def test_early_stopping_waits_as_long_as_it_says(losses, patience, ends_after):
    stopping = EarlyStopping(patience)
    history = fit(new_model(), [Tell(losses, stopping)], epochs=6)
    assert len(history) == ends_after
    assert stopping.stopped == (ends_after < 6)


def test_early_stopping_counts_on_after_a_resume():
    losses = [5, 6, 6, 6, 6, 6]
    model = new_model()
    fit(model, [Tell(losses, EarlyStopping(9)), StopAfter(2)], epochs=6)
    # The measured losses of before count, not the invented ones: make them so that none is better.
    records = tuple(
        record(r.epoch, loss) for r, loss in zip(model.unfinished.records, losses, strict=False)
    )
    state = replace(model.unfinished, records=records)
    stopping = EarlyStopping(3)
    history = fit(model, [Tell(losses, stopping)], epochs=6, resume=state)
    assert len(history) == 4
    assert stopping.stopped


def test_a_training_that_had_ended_early_ends_at_once_when_resumed():
    model = new_model()
    fit(model, [Tell([1, 2, 3], EarlyStopping(2))], epochs=9)
    records = tuple(record(n, float(n)) for n in (1, 2, 3))
    stopping = EarlyStopping(2)
    history = fit(model, [stopping], epochs=9, resume=replace(model.unfinished, records=records))
    assert len(history) == 3
    assert stopping.stopped
    assert len(history.step_losses) == 0


def test_early_stopping_without_validation_says_so():
    model = new_model()
    with pytest.raises(InvalidValueError, match="validation_loss needs validation data"):
        fit(model, [EarlyStopping(1)], validation=None)
    assert model.steps_done == 0
    fit(new_model(), [EarlyStopping(1, "train_loss")], validation=None)


@pytest.mark.parametrize("given", [EarlyStopping, EarlyStopping(2), "early", None, 3])
def test_what_is_no_callback_is_refused_before_any_work(given):
    model = new_model()
    for callbacks in (given, [given]) if not isinstance(given, EarlyStopping) else (given,):
        with pytest.raises(
            InvalidTypeError, match="callbacks: must be a sequence of callbacks, got"
        ):
            fit(model, callbacks)
    assert model.steps_done == 0


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: EarlyStopping(0), InvalidValueError),
        (lambda: EarlyStopping(1.5), InvalidTypeError),
        (lambda: EarlyStopping(1, "loss"), InvalidValueError),
        (lambda: EarlyStopping(1, min_delta=-1.0), InvalidValueError),
        (lambda: EarlyStopping(1, min_delta=float("nan")), InvalidValueError),
        (lambda: TimeLimit(0), InvalidValueError),
        (lambda: TimeLimit(-1.0), InvalidValueError),
        (lambda: TimeLimit("1"), InvalidTypeError),
        (lambda: BestCheckpoint(new_model(), "x", "test_accuracy"), InvalidValueError),
    ],
)
def test_bad_settings_are_refused(make, error):
    with pytest.raises(error, match=r"^(EarlyStopping|TimeLimit|BestCheckpoint)"):
        make()


def test_best_checkpoint_keeps_the_model_of_the_best_epoch(tmp_path):
    class Keep(Callback):
        def __init__(self, model):
            self.model, self.parameters = model, []

        def on_epoch(self, measured):
            self.parameters.append(self.model.parameters)

    # A learning rate that first helps, then harms.
    model = new_model()
    keep = Keep(model)
    best = BestCheckpoint(model, tmp_path / "best.npz")
    rates = SGD(lambda step, total: 0.1 if step < 3 * STEPS else 30.0)
    history = fit(model, [keep, best], epochs=6, optimizer=rates)
    losses = [r.validation_loss for r in history]
    chosen = int(np.argmin(losses))
    assert 0 < chosen < 5
    loaded = Model.load(tmp_path / "best.npz")
    assert loaded.epochs_done == chosen + 1
    for name, array in keep.parameters[chosen].items():
        np.testing.assert_array_equal(loaded.parameters[name], array)
    assert loaded.evaluate(IMAGES, LABELS).loss == losses[chosen]


def test_a_training_ended_within_an_epoch_leaves_the_best_whole_epoch(tmp_path, monkeypatch):
    """Where all callbacks are handed the state, the parameters of half an epoch among it."""
    monkeypatch.setattr(fitting, "_MOST_STEPS", 1)

    class Ends(Callback):
        def on_steps(self, progress):
            return (progress.epoch, progress.step) == (3, 2)

    whole, model = new_model(), new_model()
    fit(whole, [], epochs=2)
    best = BestCheckpoint(model, tmp_path / "best.npz", "train_loss")
    fit(model, [Ends(), best], epochs=4)
    assert model.unfinished.place == "epoch 3, step 2 of 3"
    kept = Model.load(tmp_path / "best.npz")
    assert (kept.epochs_done, kept.steps_done) == (2, 2 * STEPS)
    for name, array in whole.parameters.items():
        np.testing.assert_array_equal(kept.parameters[name], array)


def test_best_checkpoint_without_validation_keeps_nothing(tmp_path):
    fit_with = new_model()
    fit(fit_with, [BestCheckpoint(fit_with, tmp_path / "best.npz")], validation=None)
    assert not (tmp_path / "best.npz").exists()


def test_a_kill_between_last_and_best_is_made_good_by_the_resume(tmp_path):
    model = new_model()
    last, best = Checkpoint(model, tmp_path / "last.npz"), tmp_path / "best.npz"
    fit(model, [StopAfter(1), last, BestCheckpoint(model, best)])
    content = best.read_bytes()
    best.unlink()
    model, training = Model.load_training(tmp_path / "last.npz")
    fit(model, [TimeLimit(1e-9), BestCheckpoint(model, best)], resume=training)
    assert best.read_bytes() == content


# --- time -----------------------------------------------------------------------------------------


class Clock:
    """A clock that goes on by ``tick`` each time it is read."""

    def __init__(self, tick):
        self.now, self.tick = 1000.0, tick

    def monotonic(self):
        self.now += self.tick
        return self.now


@pytest.mark.parametrize(("seconds", "steps"), [(1.0, 1), (2.5, 3), (4.0, 3), (5.0, 4)])
def test_a_time_limit_ends_within_an_epoch(seconds, steps, monkeypatch):
    monkeypatch.setattr(fitting, "_MOST_STEPS", 1)
    monkeypatch.setattr("arraycnn.callbacks.time_limit.time", Clock(1.0))
    model, limit = new_model(), TimeLimit(seconds)
    fit(model, [limit], epochs=9)
    assert limit.reached
    # It is looked at after each step and after each epoch.
    assert model.steps_done == steps
    assert model.unfinished.position == steps


def test_a_time_limit_begins_again_with_each_fit(monkeypatch):
    monkeypatch.setattr("arraycnn.callbacks.time_limit.time", Clock(1.0))
    limit = TimeLimit(1000.0)
    for _ in range(3):
        fit(new_model(), [limit])
        assert not limit.reached


def test_a_clock_that_jumps_changes_nothing(monkeypatch):
    """The time of day may be set while a training runs; nothing reads it."""
    import time

    def refuse(*_):
        raise AssertionError("the time of day was read")

    for name in ("time", "time_ns", "localtime", "gmtime"):
        monkeypatch.setattr(time, name, refuse)
    history = fit(new_model(), [TimeLimit(1000.0)])
    assert all(r.seconds > 0 for r in history)


# --- logs -----------------------------------------------------------------------------------------


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_json_log_writes_a_line_an_epoch(tmp_path):
    path = tmp_path / "log.jsonl"
    history = fit(new_model(), [JSONLog(path, {"backend": "numpy"})], epochs=3)
    expected = [{**vars(r), "backend": "numpy"} for r in history]
    assert [line.pop("others") for line in expected] == [{}] * 3
    assert lines(path) == expected


def test_csv_log_writes_a_row_an_epoch(tmp_path):
    path = tmp_path / "log.csv"
    history = fit(new_model(), [CSVLog(path)], epochs=3, validation=None)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    for row, r in zip(rows, history, strict=True):
        assert float(row["train_loss"]) == r.train_loss
        assert row["validation_loss"] == ""
    assert [*rows[0], "others"] == list(vars(history[0]))


def test_logs_have_what_else_a_loss_measures(tmp_path):
    """Lines and columns of their own; a table that has rows already gets the columns it lacks."""
    json_log, table = tmp_path / "log.jsonl", tmp_path / "log.csv"
    values = RNG.normal(size=(10, 3))
    held_out = {"validation": (IMAGES, values), "batch_size": 4}
    model = Model(NETWORK, (2, 2), loss=Huber())
    logs = [JSONLog(json_log), CSVLog(table)]
    history = [*model.fit(IMAGES, values, epochs=2, callbacks=logs, **held_out)]
    names = ["train_mean_absolute_error", "validation_mean_absolute_error"]
    assert [[line[name] for name in names] for line in lines(json_log)] == [
        [r.others[name] for name in names] for r in history
    ]
    # A later fit of the model adds rows, and one whose loss measures something else adds a column.
    history += model.fit(IMAGES, values, epochs=1, callbacks=logs, **held_out)
    other = Model(NETWORK, (2, 2), loss=SoftmaxCrossEntropy(top_k=2))
    other.standing = replace(other.standing, epochs_done=3)
    top = fit(other, logs, epochs=1)[0].others["validation_top_2_accuracy"]
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    for row, r in zip(rows[:3], history, strict=True):
        assert [float(row[name]) for name in names] == [r.others[name] for name in names]
        assert row["train_accuracy"] == row["validation_top_2_accuracy"] == ""
    assert [float(row["validation_top_2_accuracy"] or 9.0) for row in rows] == [9.0, 9.0, 9.0, top]
    assert [row[names[0]] == "" for row in rows] == [False, False, False, True]


def test_step_log_writes_a_line_a_step(tmp_path):
    path = tmp_path / "steps.jsonl"
    history = fit(new_model(), [StepLog(path)], optimizer=SGD(lambda step, total: 0.1 / (step + 1)))
    found = lines(path)
    assert [(line["epoch"], line["step"]) for line in found] == [
        (epoch, step) for epoch in (1, 2) for step in (1, 2, 3)
    ]
    assert [line["loss"] for line in found] == list(history.step_losses)
    assert [line["learning_rate"] for line in found] == [0.1 / n for n in range(1, 7)]
    hits = [line["accuracy"] * size for line, size in zip(found, [4, 4, 2] * 2, strict=True)]
    assert sum(hits[:3]) / 10 == pytest.approx(history[0].train_accuracy)


@pytest.mark.parametrize(
    "tail", [b"", b'{"epoch": 3', b"\xff\xfe", b"[]\n", b"\n", b"{}\n", b'{"epoch": []}\n']
)
def test_logs_go_on_after_a_resume_with_no_line_twice_and_none_missing(tail, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "_MOST_STEPS", 1)
    names = ("log.jsonl", "steps.jsonl", "log.csv")

    def logs(folder):
        return [
            kind(folder / name)
            for kind, name in zip((JSONLog, StepLog, CSVLog), names, strict=True)
        ]

    (tmp_path / "whole").mkdir()
    fit(new_model(), logs(tmp_path / "whole"), epochs=4)
    model = new_model()
    # Saved after 4 steps, but killed later: the logs hold more than the checkpoint knows of.
    keep = Checkpoint(model, tmp_path / "last.npz")
    fit(model, [StopAtStep(4), keep], epochs=4)
    fit(new_model(), [*logs(tmp_path), StopAfter(3)], epochs=4)
    for name in names:
        with open(tmp_path / name, "ab") as file:
            file.write(tail)
    model, training = Model.load_training(tmp_path / "last.npz")
    fit(model, logs(tmp_path), epochs=4, resume=training)
    times = ("seconds", "images_per_second")
    for name in names[:2]:
        whole, found = lines(tmp_path / "whole" / name), lines(tmp_path / name)
        assert [{k: v for k, v in line.items() if k not in times} for line in found] == [
            {k: v for k, v in line.items() if k not in times} for line in whole
        ]
    with open(tmp_path / "log.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3", "4"]


class StopAtStep(Callback):
    def __init__(self, step):
        self.step = step

    def on_steps(self, progress):
        return (progress.epoch - 1) * progress.steps + progress.step == self.step


def test_a_log_that_cannot_be_written_leaves_no_half_line(tmp_path, monkeypatch):
    import os

    path = tmp_path / "log.jsonl"
    write = os.write

    def full(descriptor, content):
        if b'"epoch": 2' in bytes(content):
            write(descriptor, bytes(content)[:9])
            raise OSError(28, "No space left on device")
        return write(descriptor, content)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        fit(new_model(), [JSONLog(path)])
    assert [line["epoch"] for line in lines(path)] == [1]


# --- TensorBoard ----------------------------------------------------------------------------------


def events(folder):
    """(name, step, value) of the scalars in the folder's event files, which are TFRecords."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            content = content[12 + length + 4 :]
            found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
    return found


def test_tensorboard_gets_steps_and_epochs(tmp_path):
    pytest.importorskip("tensorboardX")
    history = fit(new_model(), [TensorBoard(tmp_path)])
    found = events(tmp_path)
    losses = [value for name, _, value in found if name == "step/loss"]
    np.testing.assert_allclose(losses, history.step_losses, rtol=1e-6)
    assert [step for name, step, _ in found if name == "step/loss"] == [1, 2, 3, 4, 5, 6]
    for metric in METRICS:
        told = [(step, value) for name, step, value in found if name == f"epoch/{metric}"]
        assert [step for step, _ in told] == [3, 6]
        expected = [getattr(r, metric) for r in history]
        np.testing.assert_allclose([value for _, value in told], expected, rtol=1e-6)


def test_tensorboard_goes_on_after_a_resume(tmp_path):
    pytest.importorskip("tensorboardX")
    model = new_model()
    fit(model, [TensorBoard(tmp_path / "one"), StopAfter(1)])
    fit(model, [TensorBoard(tmp_path / "two")], resume=model.unfinished)
    assert {step for _, step, _ in events(tmp_path / "two")} == {4, 5, 6}


def test_tensorboard_without_its_package_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingPackageError, match=r'pip install "arraycnn\[tensorboard\]"'):
        TensorBoard(tmp_path)


# --- who is told what -----------------------------------------------------------------------------


class Notes(Callback):
    def __init__(self):
        self.calls = []

    def on_begin(self, state):
        self.calls.append(("begin", state.position))

    def on_steps(self, progress):
        self.calls.append(("steps", progress.step))

    def on_epoch(self, measured):
        self.calls.append(("epoch", measured.epoch))

    def on_save(self, state):
        self.calls.append(("save", state.position))

    def on_end(self):
        self.calls.append(("end",))


def test_the_order_in_which_a_callback_is_told(monkeypatch):
    monkeypatch.setattr(fitting, "_MOST_STEPS", 2)
    notes = Notes()
    notes.save_every = 2
    fit(new_model(), [notes], epochs=1)
    told = [*(("steps", 1), ("steps", 2), ("save", 2), ("steps", 3)), ("epoch", 1), ("save", 3)]
    assert notes.calls == [("begin", 0), *told, ("end",)]


def test_on_end_is_called_after_an_error_too():
    class Fail(Callback):
        def on_steps(self, progress):
            raise RuntimeError

    notes = Notes()
    with pytest.raises(RuntimeError):
        fit(new_model(), [notes, Fail()])
    assert notes.calls[-1] == ("end",)


def test_on_steps_may_end_the_training_there(monkeypatch):
    monkeypatch.setattr(fitting, "_MOST_STEPS", 1)
    model, notes = new_model(), Notes()
    history = fit(model, [StopAtStep(2), notes], epochs=3)
    assert len(history) == 0
    assert len(history.step_losses) == model.steps_done == 2
    assert notes.calls[-2:] == [("save", 2), ("end",)]


def test_an_end_at_the_last_step_of_an_epoch_lets_it_be_measured(monkeypatch):
    monkeypatch.setattr(fitting, "_MOST_STEPS", 1)
    model, notes = new_model(), Notes()
    history = fit(model, [StopAtStep(3), notes], epochs=3)
    assert len(history) == 1
    # Saved at once, and with its record once it is measured.
    assert notes.calls[-4:] == [("save", 3), ("epoch", 1), ("save", 3), ("end",)]
    assert model.unfinished.step == 0


def test_lines_that_were_lost_are_written_again(tmp_path):
    path = tmp_path / "log.jsonl"
    model = new_model()
    history = fit(model, [JSONLog(path), StopAfter(3)], epochs=4)
    text = path.read_text().splitlines(keepends=True)
    path.write_text(text[0] + text[2] + text[2])
    state = model.unfinished
    unknown = [replace(r, seconds=float("nan"), images_per_second=float("nan")) for r in history]
    fit(model, [JSONLog(path)], epochs=4, resume=replace(state, records=tuple(unknown)))
    found = lines(path)
    assert [line["epoch"] for line in found] == [1, 2, 3, 4]
    assert [line["seconds"] is None for line in found] == [False, True, False, False]
    assert found[1]["train_loss"] == history[1].train_loss
