"""A training that was stopped and resumed ends as one that never stopped, to the last bit."""

import math
import zipfile
from dataclasses import asdict, replace

import numpy as np
import pytest

from arraycnn import (
    SGD,
    Adam,
    AdamW,
    ArrayAPIStrict,
    BatchNorm2d,
    Callback,
    Checkpoint,
    CheckpointError,
    Conv2d,
    Cosine,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    InvalidTypeError,
    InvalidValueError,
    Model,
    NonFiniteError,
    OneCycle,
    ReLU,
    Residual,
    Sequential,
    fitting,
    get_backend,
)
from arraycnn.checkpoint import read_checkpoint, write_checkpoint

EPOCHS, BATCH, STEPS = 3, 4, 3  # 10 images: batches of 4, 4 and 2
NETWORK = Sequential(
    Conv2d(3, 2),
    BatchNorm2d(),
    ReLU(),
    Residual(Conv2d(3, 3, padding="same")),
    Dropout(0.25),
    Flatten(),
    Dropout(0.5),
    Dense(3),
)
RNG = np.random.default_rng(1)
IMAGES, LABELS = RNG.normal(size=(10, 3, 3, 1)), RNG.integers(0, 3, 10)
HELD_OUT = (RNG.normal(size=(6, 3, 3, 1)), np.arange(6) % 3)
OPTIMIZERS = [
    SGD(OneCycle(0.1)),
    SGD(0.1, momentum=0.9, nesterov=True),
    Adam(Cosine(0.01)),
    AdamW(OneCycle(0.01)),
]


@pytest.fixture(params=["numpy", "device1", "torch", "jax"])
def backend(request):
    if request.param in ("torch", "jax"):
        pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    return ArrayAPIStrict("device1") if request.param == "device1" else get_backend(request.param)


class StopAt(Callback):
    """Ends the training once ``position`` steps are done, and keeps every state it is told of."""

    def __init__(self, position):
        self.save_every = max(position, 1)
        self.position, self.states = position, []

    def on_begin(self, state):
        return self.position == 0

    def on_steps(self, progress):
        return (progress.epoch - 1) * progress.steps + progress.step == self.position

    def on_save(self, state):
        self.states.append(state)


def new_model(backend="numpy", **settings):
    return Model(NETWORK, (3, 3), backend, **{"seed": 5, **settings})


def fit(model, optimizer=None, **settings):
    chosen = {"epochs": EPOCHS, "batch_size": BATCH, "validation": HELD_OUT, **settings}
    return model.fit(IMAGES, LABELS, optimizer=optimizer or AdamW(OneCycle(0.01)), **chosen)


def without_times(records):
    rows = [asdict(record) for record in records]
    return [
        {name: value for name, value in row.items() if name not in ("seconds", "images_per_second")}
        for row in rows
    ]


def check_same(one, other):
    assert (one.epochs_done, one.steps_done) == (other.epochs_done, other.steps_done)
    for name, array in one.parameters.items():
        np.testing.assert_array_equal(other.parameters[name], array)
    np.testing.assert_array_equal(one.predict(HELD_OUT[0]), other.predict(HELD_OUT[0]))


def whole_run(path, backend="numpy", optimizer=None):
    model = new_model(backend)
    return model, fit(model, optimizer, callbacks=[Checkpoint(model, path)])


def stopped_run(path, position, backend="numpy", optimizer=None):
    """The file of a training that ended after ``position`` steps."""
    model = new_model(backend)
    stop = StopAt(position)
    fit(model, optimizer, callbacks=[stop, Checkpoint(model, path)])
    return path


# --- the same end -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole_of(tmp_path_factory):
    """The training that nobody stopped, once for each optimizer: (model, history, bytes saved)."""
    known = {}

    def whole(optimizer):
        if repr(optimizer) not in known:
            path = tmp_path_factory.mktemp("whole") / "last.npz"
            known[repr(optimizer)] = *whole_run(path, optimizer=optimizer), path.read_bytes()
        return known[repr(optimizer)]

    return whole


@pytest.mark.parametrize("position", range(EPOCHS * STEPS + 1))
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)
def test_resumed_at_any_step_the_end_is_the_same_to_the_last_bit(
    position, optimizer, tmp_path, whole_of
):
    whole, history, saved = whole_of(optimizer)
    stopped_run(tmp_path / "last.npz", position, optimizer=optimizer)
    model, training = Model.load_training(tmp_path / "last.npz")
    assert training.position == model.steps_done == position
    save = Checkpoint(model, tmp_path / "last.npz")
    resumed = fit(model, optimizer, resume=training, callbacks=[save])
    check_same(whole, model)
    assert without_times(resumed) == without_times(history)
    np.testing.assert_array_equal(resumed.step_losses, history.step_losses[position:])
    assert (tmp_path / "last.npz").read_bytes() == saved
    assert model.unfinished is None


@pytest.mark.parametrize("position", [4, 9])
def test_every_backend_resumes_its_own_training_exactly(position, backend, tmp_path):
    whole, history = whole_run(tmp_path / "whole.npz", backend)
    stopped_run(tmp_path / "last.npz", position, backend)
    model, training = Model.load_training(tmp_path / "last.npz", backend)
    resumed = fit(model, resume=training)
    check_same(whole, model)
    assert without_times(resumed) == without_times(history)


def test_a_training_of_one_backend_goes_on_on_another(backend, tmp_path):
    optimizer = SGD(OneCycle(0.1), momentum=0.9)
    whole, history = whole_run(tmp_path / "whole.npz", optimizer=optimizer)
    stopped_run(tmp_path / "last.npz", 4, backend, optimizer)
    model, training = Model.load_training(tmp_path / "last.npz", "numpy")
    resumed = fit(model, optimizer, resume=training)
    for name, array in whole.parameters.items():
        np.testing.assert_allclose(model.parameters[name], array, rtol=1e-4, atol=1e-5)
    assert resumed[-1].train_loss == pytest.approx(history[-1].train_loss, rel=1e-4)
    # and the other way
    stopped_run(tmp_path / "last.npz", 4, "numpy", optimizer)
    model, training = Model.load_training(tmp_path / "last.npz", backend)
    fit(model, optimizer, resume=training)
    for name, array in whole.parameters.items():
        np.testing.assert_allclose(model.parameters[name], array, rtol=1e-4, atol=1e-5)


def test_stopped_again_and_again_the_end_is_the_same(tmp_path):
    whole, history = whole_run(tmp_path / "whole.npz")
    path = stopped_run(tmp_path / "last.npz", 0)
    for position in range(1, EPOCHS * STEPS + 1):
        model, training = Model.load_training(path)
        stop = StopAt(position)
        resumed = fit(model, resume=training, callbacks=[stop, Checkpoint(model, path)])
    check_same(whole, model)
    assert without_times(resumed) == without_times(history)


def test_a_second_training_of_a_model_resumes_too(tmp_path):
    models = [new_model(), new_model()]
    for model in models:
        fit(model, epochs=1)
    fit(models[0], epochs=2)
    fit(models[1], epochs=2, callbacks=[StopAt(-1), save := Checkpoint(models[1], tmp_path / "x")])
    model = models[1]
    model, training = Model.load_training(tmp_path / "x")
    assert save.save_every is None
    assert (training.course.first_epoch, training.course.first_step) == (1, STEPS)
    check_same(models[0], model)


class EndSecondFit(StopAt):
    def on_steps(self, progress):
        return (progress.epoch, progress.step) == (2, 2)


def test_a_second_training_stopped_within_its_first_epoch_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "_MOST_STEPS", 1)
    models = [new_model(), new_model()]
    for model in models:
        fit(model, epochs=1)
    fit(models[0], epochs=2)
    save = Checkpoint(models[1], tmp_path / "last.npz")
    fit(models[1], epochs=2, callbacks=[EndSecondFit(1), save])
    model, training = Model.load_training(tmp_path / "last.npz")
    assert (training.position, training.steps_done) == (2, STEPS + 2)
    fit(model, epochs=2, resume=training)
    check_same(models[0], model)


def test_float64_is_resumed_as_float64(tmp_path):
    whole = new_model(dtype="float64")
    fit(whole)
    model = new_model(dtype="float64")
    fit(model, callbacks=[StopAt(4), Checkpoint(model, tmp_path / "last.npz")])
    model, training = Model.load_training(tmp_path / "last.npz")
    assert model.dtype == "float64"
    fit(model, resume=training)
    check_same(whole, model)


def test_a_finished_training_resumes_to_itself(tmp_path):
    whole, history = whole_run(tmp_path / "whole.npz")
    model, training = Model.load_training(tmp_path / "whole.npz")
    assert training.complete
    resumed = fit(model, resume=training)
    assert without_times(resumed) == without_times(history)
    assert resumed.step_losses.shape == (0,)
    check_same(whole, model)


# --- where a training may be saved ----------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 2, 4096])
@pytest.mark.parametrize("every", [1, 2, 4, 7, 100])
def test_the_state_is_handed_out_every_so_many_steps_and_after_epochs(every, most, monkeypatch):
    monkeypatch.setattr(fitting, "_REPORT_SECONDS", 1e9)
    monkeypatch.setattr(fitting, "_MOST_STEPS", most)
    told = StopAt(-1)
    told.save_every = every
    fit(new_model(), callbacks=[told])
    last = EPOCHS * STEPS
    expected = sorted({*range(every, last + 1, every), *range(STEPS, last + 1, STEPS)})
    assert [state.position for state in told.states] == expected
    for state in told.states:
        assert (len(state.records), state.step) == divmod(state.position, STEPS)


def test_chunks_and_saves_do_not_show_in_a_bit_of_the_records(monkeypatch):
    images, labels = RNG.normal(size=(300, 3, 3, 1)), RNG.integers(0, 3, 300)
    monkeypatch.setattr(fitting, "_REPORT_SECONDS", 1e9)
    found = []
    for most, every in ((4096, None), (1, None), (3, None), (4096, 5), (7, 4)):
        monkeypatch.setattr(fitting, "_MOST_STEPS", most)
        told = StopAt(-1)
        told.save_every = every
        model = new_model()
        history = model.fit(images, labels, epochs=2, batch_size=7, callbacks=[told])
        found.append((without_times(history), [a.tobytes() for a in model.parameters.values()]))
    assert all(each == found[0] for each in found)


def test_a_checkpoint_holds_no_times_and_no_time_of_day(tmp_path):
    stopped_run(tmp_path / "last.npz", 5)
    header, _ = read_checkpoint(tmp_path / "last.npz")
    assert header["training"]["records"]
    assert "second" not in str(header)
    entries = zipfile.ZipFile(tmp_path / "last.npz").infolist()
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    _, training = Model.load_training(tmp_path / "last.npz")
    assert all(math.isnan(r.seconds) and math.isnan(r.images_per_second) for r in training.records)


def test_times_after_a_resume_are_those_of_the_images_since(tmp_path):
    stopped_run(tmp_path / "last.npz", STEPS + 1)
    model, training = Model.load_training(tmp_path / "last.npz")
    history = fit(model, resume=training)
    assert history[1].images_per_second == pytest.approx(6 / history[1].seconds)
    assert history[2].images_per_second == pytest.approx(10 / history[2].seconds)


def test_a_checkpoint_is_a_model_file_too(tmp_path):
    stopped_run(tmp_path / "last.npz", 4)
    loaded = Model.load(tmp_path / "last.npz")
    model, training = Model.load_training(tmp_path / "last.npz")
    check_same(loaded, model)
    assert (loaded.epochs_done, loaded.steps_done) == (1, 4)
    assert len(training.records) == 1


# --- what an interrupt or an error leaves ---------------------------------------------------------


class Stop(Exception):
    pass


class RaiseOnce(Callback):
    """Raises in ``hook`` when it is called for the ``at``-th time, from 1."""

    def __init__(self, hook, at, error):
        self.left, self.error = at, error
        setattr(self, hook, self._count)

    def _count(self, *_):
        self.left -= 1
        if self.left == 0:
            raise self.error


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("hook", ["on_steps", "on_epoch", "on_save", "on_begin"])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_what_is_unfinished_goes_on_to_the_same_end(hook, at, error, monkeypatch):
    monkeypatch.setattr(fitting, "_MOST_STEPS", 2)
    whole = new_model()
    expected = fit(whole)
    model = new_model()
    harm = RaiseOnce(hook, 1 if hook == "on_begin" else at, error)
    with pytest.raises(error):
        fit(model, callbacks=[harm])
    assert model.unfinished is not None
    assert model.unfinished.epochs_done == model.epochs_done
    history = fit(model, resume=model.unfinished)
    check_same(whole, model)
    assert without_times(history) == without_times(expected)
    assert model.unfinished is None


def test_a_training_whose_last_save_failed_is_not_lost(tmp_path):
    class FailAtTheEnd(Callback):
        def on_save(self, state):
            if state.complete:
                raise OSError(28, "No space left on device")

    model = new_model()
    with pytest.raises(OSError, match="No space"):
        fit(model, callbacks=[FailAtTheEnd()])
    assert model.unfinished.complete
    model.save(tmp_path / "last.npz", model.unfinished)
    assert Model.load_training(tmp_path / "last.npz")[1].complete


def test_an_interrupt_within_a_step_resumes_from_the_last_look(monkeypatch):
    class Interrupted(SGD):
        left = 5

        def update(self, *arguments):
            Interrupted.left -= 1
            if Interrupted.left == 0:
                raise KeyboardInterrupt
            return super().update(*arguments)

        __repr__ = SGD.__repr__

    whole = new_model()
    fit(whole, SGD(0.1))
    model = new_model()
    with pytest.raises(KeyboardInterrupt):
        fit(model, Interrupted(0.1))
    assert model.unfinished.position <= 4
    fit(model, SGD(0.1), resume=model.unfinished, override=True)
    check_same(whole, model)


class ExplodesAt:
    """A learning rate that is harmless but at one step, counted from 0."""

    def __init__(self, step, rate=3e38):
        self.step, self.rate = step, rate

    def __call__(self, step, total):
        return self.rate if step == self.step else 0.01

    def __repr__(self):
        return f"ExplodesAt({self.step}, {self.rate})"


@pytest.mark.parametrize("most", [1, 2, 4096])
@pytest.mark.parametrize("at", [1, 2, 4, 8])
def test_a_loss_of_nan_saves_the_state_before_the_harm(at, most, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "_MOST_STEPS", most)
    monkeypatch.setattr(fitting, "_REPORT_SECONDS", 1e9)
    path = tmp_path / "last.npz"
    model = new_model()
    with pytest.raises(NonFiniteError) as caught:
        fit(model, SGD(ExplodesAt(at)), callbacks=[Checkpoint(model, path)])
    loaded, training = Model.load_training(path)
    check_same(loaded, model)
    assert training.position == at
    # The same settings lead to the same end; milder ones go on as if they had been there before.
    with pytest.raises(NonFiniteError) as again:
        fit(loaded, SGD(ExplodesAt(at)), resume=training)
    assert (again.value.epoch, again.value.step) == (caught.value.epoch, caught.value.step)
    loaded, training = Model.load_training(path)
    history = fit(loaded, SGD(ExplodesAt(-1)), resume=training, override=True)
    mild = new_model()
    expected = fit(mild, SGD(ExplodesAt(-1)))
    check_same(mild, loaded)
    assert without_times(history) == without_times(expected)


# --- other settings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": 4}, "epochs was 3, got 4"),
        ({"epochs": 2}, "epochs was 3, got 2"),
        ({"batch_size": 5}, "batch_size was 4, got 5"),
        (
            {"optimizer": AdamW(OneCycle(0.02))},
            "got AdamW(learning_rate=OneCycle(learning_rate=0.0",
        ),
        ({"optimizer": SGD(0.1)}, "got SGD(learning_rate=0.1"),
    ],
    ids=str,
)
def test_other_settings_are_refused_by_name_or_overridden(change, said, tmp_path):
    model, training = Model.load_training(stopped_run(tmp_path / "last.npz", 4))
    before = model.parameters
    with pytest.raises(InvalidValueError) as caught:
        fit(model, resume=training, **change)
    assert said in str(caught.value)
    assert "override" in str(caught.value)
    assert "\n" not in str(caught.value)
    for name, array in before.items():
        np.testing.assert_array_equal(model.parameters[name], array)
    history = fit(model, resume=training, override=True, **change)
    assert len(history) == change.get("epochs", EPOCHS)
    assert without_times(history)[0] == without_times(training.records)[0]


def test_other_images_are_refused(tmp_path):
    model, training = Model.load_training(stopped_run(tmp_path / "last.npz", 4))
    with pytest.raises(InvalidValueError, match="images was 10, got 9"):
        model.fit(IMAGES[:9], LABELS[:9], epochs=EPOCHS, batch_size=BATCH, resume=training)


def test_more_epochs_go_on_where_the_others_ended(tmp_path):
    optimizer = SGD(0.1, momentum=0.9)
    _, training = Model.load_training(stopped_run(tmp_path / "last.npz", 9, optimizer=optimizer))
    model = Model.load(tmp_path / "last.npz")
    fit(model, optimizer, epochs=5, resume=training, override=True)
    whole = new_model()
    fit(whole, optimizer, epochs=5)
    check_same(whole, model)


def test_another_batch_size_begins_the_epoch_again_and_draws_new_bits(tmp_path):
    model, training = Model.load_training(stopped_run(tmp_path / "last.npz", 4))
    told = StopAt(-1)
    told.save_every = 1
    fit(model, batch_size=5, resume=training, override=True, callbacks=[told])
    # 4 steps are done of the old size; the second epoch begins again with 2 of the new size.
    assert [state.steps_done for state in told.states] == [4, 5, 6, 7, 8]
    assert [state.position for state in told.states] == [2, 3, 4, 5, 6]


def test_a_state_of_another_model_is_refused(tmp_path):
    _, training = Model.load_training(stopped_run(tmp_path / "last.npz", 4))
    other = Model(Sequential(GlobalAvgPool2d(), Dense(3)), (3, 3), seed=5)
    with pytest.raises(InvalidValueError, match="parameters to resume from"):
        fit(other, resume=training)
    with pytest.raises(InvalidValueError, match="seed was 5, got 6"):
        fit(new_model(seed=6), resume=training)


def test_a_model_without_a_training_cannot_be_resumed(tmp_path):
    new_model().save(tmp_path / "model.npz")
    with pytest.raises(CheckpointError, match="holds a model and no training to resume"):
        Model.load_training(tmp_path / "model.npz")


@pytest.mark.parametrize("save_every", [0, -1, 1.5, True])
def test_save_every_is_a_count(save_every, tmp_path):
    with pytest.raises((InvalidValueError, InvalidTypeError), match="save_every must be"):
        Checkpoint(new_model(), tmp_path / "x", save_every)


# --- a file that is not what it says --------------------------------------------------------------


def edited(path, change):
    """The file at ``path`` with its training's description, or its arrays, changed."""
    stopped_run(path, 4)
    header, arrays = read_checkpoint(path)
    change(header, header["training"], arrays)
    write_checkpoint(path, header, arrays)
    return path


def put(name, value):
    return lambda header, training, arrays: training.update({name: value})


def put_course(name, value):
    return lambda header, training, arrays: training["course"].update({name: value})


def put_record(name, value):
    return lambda header, training, arrays: training["records"][0].update({name: value})


@pytest.mark.parametrize(
    "change",
    [
        put("step", -1),
        put("step", STEPS + 1),
        put("step", "2"),
        put("step", 2),  # not the model's steps_done
        put("correct", 11),
        put("correct", 5),  # of the four images of the one step that is done
        put("loss_sum", "1"),
        put("loss_sum", None),
        put("records", [{}]),
        put("records", 5),
        put("records", []),
        put("course", {}),
        put("course", None),
        put("untold", 5),
        put("untold", [[0.5]]),
        put("untold", [[0.5, -1]]),
        put("untold", [["low", 1]]),
        put("untold", [[0.5, 1]] * (STEPS + 1)),
        put_course("images", 0),
        put_course("batch_size", 0),
        put_course("seed", 6),
        put_course("steps", 6),
        put_course("first_step", 1),
        put_record("epoch", 2),
        put_record("train_loss", "low"),
        put_record("seconds", 1.0),
        put_record("surplus", 1.0),
        lambda header, training, arrays: training.pop("optimizer"),
        lambda header, training, arrays: training.pop("records"),
        lambda header, training, arrays: header.update(training=[1]),
        lambda header, training, arrays: header.update(training=None),
        lambda header, training, arrays: header.update(training=5),
    ],
)
def test_a_header_that_describes_no_training_is_refused(change, tmp_path):
    path = edited(tmp_path / "last.npz", change)
    with pytest.raises(CheckpointError, match="does not describe a training") as caught:
        Model.load_training(path)
    assert "\n" not in str(caught.value)


def drop(name):
    return lambda header, training, arrays: arrays.pop(name)


def add(name, value):
    return lambda header, training, arrays: arrays.update({name: value})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop("optimizer/first_moment.7.bias"), "optimizer state to resume from"),
        (drop("optimizer/decays.first"), "optimizer state to resume from"),
        (add("optimizer/velocity.7.bias", np.zeros(3, np.float32)), "optimizer state"),
        (add("optimizer/first_moment.7.bias", np.zeros(4, np.float32)), "optimizer state"),
        (
            add("optimizer/first_moment.7.bias", np.zeros(3, np.float64)),
            "must be float32",
        ),
        (drop("params/7.bias"), "lacks the array params/7.bias"),
        (add("momentum", np.zeros(3, np.float32)), "arrays its network does not have: momentum"),
    ],
)
def test_arrays_that_are_not_the_trainings_are_refused(change, said, tmp_path):
    path = edited(tmp_path / "last.npz", change)
    with pytest.raises((CheckpointError, InvalidValueError)) as caught:
        fit_from(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def fit_from(path):
    model, training = Model.load_training(path)
    fit(model, resume=training)


def test_states_are_values(tmp_path):
    """Going on from a state leaves it as it was: it can be gone on from again."""
    told = StopAt(4)
    model = new_model()
    fit(model, callbacks=[told])
    state = told.states[-1]
    ends = []
    for _ in range(2):
        fit(model, resume=state)
        ends.append(model.parameters)
    for name, array in ends[0].items():
        np.testing.assert_array_equal(ends[1][name], array)
    assert replace(state, step=0).position == 3


def test_parameters_that_the_last_update_spoilt_are_not_saved(tmp_path, monkeypatch):
    """No loss has shown it yet: the update of the step before a save made them infinite."""
    monkeypatch.setattr(fitting, "_MOST_STEPS", 1)
    path = tmp_path / "last.npz"
    model = new_model()
    with pytest.raises(NonFiniteError, match="after epoch 2, step 1;") as caught:
        fit(model, SGD(ExplodesAt(3, 1e308)), callbacks=[Checkpoint(model, path, save_every=2)])
    assert (caught.value.epoch, caught.value.step) == (2, 1)
    _, training = Model.load_training(path)
    assert training.position == 3


def test_a_state_at_the_end_of_an_epoch_that_proves_infinite_is_kept(tmp_path, monkeypatch):
    """Nothing was run since the resume: there is no step to go back to."""
    monkeypatch.setattr(fitting, "_MOST_STEPS", 1)
    told = StopAt(-1)
    told.save_every = 1
    model = new_model()
    with pytest.raises(Stop):
        fit(model, callbacks=[told, RaiseOnce("on_epoch", 1, Stop)])
    state = model.unfinished
    assert state.step == STEPS
    for array in state.carry.params["7"].values():
        array[...] = np.inf
    with pytest.raises(NonFiniteError, match="after epoch 1, step 3"):
        fit(model, resume=state)
    assert model.unfinished.position == STEPS
