"""What no training goes on from: other settings, another model, a file that is not what it says."""

import numpy as np
import pytest

from arraycnn import (
    EMA,
    SGD,
    AdamW,
    Checkpoint,
    CheckpointError,
    Dense,
    GlobalAvgPool2d,
    InvalidTypeError,
    InvalidValueError,
    Lookahead,
    Model,
    OneCycle,
    Sequential,
)
from arraycnn.storage.checkpoint import read_checkpoint, write_checkpoint
from resume_cases import (
    BATCH,
    EPOCHS,
    IMAGES,
    LABELS,
    STEPS,
    StopAt,
    check_same,
    fit,
    new_model,
    stopped_run,
    without_times,
)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The file of a training that ended after four steps, once for all that only read it."""
    return stopped_run(tmp_path_factory.mktemp("stopped") / "last.npz", 4)


# --- other settings -------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [Lookahead, EMA])
def test_weights_that_are_kept_beside_begin_where_the_training_stands(wrap, stopped):
    """Whatever the model stands at that goes on with it."""
    model, training = Model.load_training(stopped)
    trained, fresh = model.parameters, new_model(seed=5)
    rule = wrap(SGD(0.0))
    fit(fresh, rule, resume=training, override=True)
    for name, array in fresh.parameters.items():
        np.testing.assert_allclose(array, trained[name], rtol=1e-6, atol=1e-7, err_msg=name)


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
def test_other_settings_are_refused_by_name_or_overridden(change, said, stopped):
    model, training = Model.load_training(stopped)
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


def test_other_images_are_refused(stopped):
    model, training = Model.load_training(stopped)
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


def test_another_batch_size_begins_the_epoch_again_and_draws_new_bits(stopped):
    model, training = Model.load_training(stopped)
    told = StopAt(-1)
    told.save_every = 1
    fit(model, batch_size=5, resume=training, override=True, callbacks=[told])
    # 4 steps are done of the old size; the second epoch begins again with 2 of the new size.
    assert [state.steps_done for state in told.states] == [4, 5, 6, 7, 8]
    assert [state.position for state in told.states] == [2, 3, 4, 5, 6]


def test_a_state_of_another_model_is_refused(stopped):
    _, training = Model.load_training(stopped)
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


def edited(stopped, path, change):
    """The file ``stopped`` at ``path``, its training's description, or its arrays, changed."""
    header, arrays = read_checkpoint(stopped)
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
def test_a_header_that_describes_no_training_is_refused(change, stopped, tmp_path):
    path = edited(stopped, tmp_path / "last.npz", change)
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
def test_arrays_that_are_not_the_trainings_are_refused(change, said, stopped, tmp_path):
    path = edited(stopped, tmp_path / "last.npz", change)
    with pytest.raises((CheckpointError, InvalidValueError)) as caught:
        fit_from(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def fit_from(path):
    model, training = Model.load_training(path)
    fit(model, resume=training)
