"""A training that was stopped and resumed ends as one that never stopped, to the last bit."""

import math
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from arraycnn import (
    EMA,
    SGD,
    Adam,
    AdamW,
    ArrayAPIStrict,
    Checkpoint,
    ClipNorm,
    Cosine,
    Lookahead,
    Model,
    Muon,
    OneCycle,
    Plateau,
    Warmup,
    get_backend,
)
from arraycnn.storage.checkpoint import read_checkpoint
from arraycnn.training import loop as fitting
from resume_cases import (
    EPOCHS,
    RNG,
    STEPS,
    StopAt,
    check_same,
    fit,
    new_model,
    stopped_run,
    whole_run,
    without_times,
)

OPTIMIZERS = [
    SGD(OneCycle(0.1)),
    EMA(ClipNorm(Lookahead(Muon(Warmup(Plateau(0.05, patience=1), 4)), 4), 0.5), 0.9),
    SGD(0.1, momentum=0.9, nesterov=True),
    Adam(Cosine(0.01)),
    AdamW(OneCycle(0.01)),
]


@pytest.fixture(params=["numpy", "device1", "torch", "jax"])
def backend(request):
    if request.param in ("torch", "jax"):
        pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    return ArrayAPIStrict("device1") if request.param == "device1" else get_backend(request.param)


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


@pytest.mark.parametrize(
    ("optimizer", "position"),
    [
        *((OPTIMIZERS[-1], position) for position in range(EPOCHS * STEPS + 1)),
        # What the others keep from step to step does not know where in an epoch it is.
        *((optimizer, position) for optimizer in OPTIMIZERS[:-1] for position in (1, 3, 5, 9)),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, int) else value,
)
def test_resumed_at_any_step_the_end_is_the_same_to_the_last_bit(
    optimizer, position, tmp_path, whole_of
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
