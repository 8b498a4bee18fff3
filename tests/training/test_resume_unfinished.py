"""What a training leaves that an interrupt, an error or a loss of NaN ended: it can be gone on with."""

import numpy as np
import pytest

from arraycnn import SGD, Callback, Checkpoint, Model, NonFiniteError
from arraycnn.training import loop as fitting
from resume_cases import STEPS, StopAt, check_same, fit, new_model, without_times


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


@pytest.fixture(scope="module")
def whole():
    """The training that nobody ended: (model, history)."""
    model = new_model()
    return model, fit(model)


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt, OSError])
@pytest.mark.parametrize(
    ("hook", "at"),
    [
        *((hook, at) for hook in ("on_steps", "on_epoch", "on_save") for at in (1, 2, 3)),
        ("on_begin", 1),
    ],
)
def test_what_is_unfinished_goes_on_to_the_same_end(hook, at, error, whole, monkeypatch):
    monkeypatch.setattr(fitting, "_MOST_STEPS", 2)
    whole, expected = whole
    model = new_model()
    harm = RaiseOnce(hook, at, error)
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


@pytest.fixture(scope="module")
def milder():
    """The training that does not explode: (model, history)."""
    model = new_model()
    return model, fit(model, SGD(ExplodesAt(-1)))


@pytest.mark.parametrize("most", [1, 2, 4096])
@pytest.mark.parametrize("at", [1, 2, 4, 8])
def test_a_loss_of_nan_saves_the_state_before_the_harm(at, most, milder, tmp_path, monkeypatch):
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
    mild, expected = milder
    check_same(mild, loaded)
    assert without_times(history) == without_times(expected)


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
