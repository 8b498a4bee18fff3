"""Training with each loss, a user's own among them: the whole way, on every backend."""

import re

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.errors import CheckpointError, InvalidTypeError, InvalidValueError
from arraycnn.execution.traceable import say
from loss_rows import EACH_ONCE, SOFT, USERS
from optional import needs

RNG = np.random.default_rng(6)
IMAGES = RNG.integers(0, 256, (14, 6, 5, 1), dtype=np.uint8)
WEIGHTS = RNG.uniform(0.0, 2.0, 14)
BODY = (cnn.Rescale(), cnn.Conv2d(3, 3), cnn.ReLU())
NETWORK = cnn.Sequential(*BODY, cnn.Flatten(), cnn.Dense(3))
TO_IMAGES = cnn.Sequential(*BODY, cnn.Conv2d(2, 1))
FAST = pytest.param(True, marks=needs("llvmlite"), id="compiled")
each_row = pytest.mark.parametrize("row", EACH_ONCE, ids=str)


def model_of(loss, backend="numpy", network=NETWORK):
    return cnn.Model(network, (6, 5), backend, seed=3, dtype="float64", loss=loss)


def trained(row, backend, **settings):
    """A model after two epochs of two batches of one size and a short one, and its history."""
    model = model_of(row.loss, backend)
    settings = {"validation": (IMAGES[:9], row.labels[:9]), **settings}
    how = {"epochs": 2, "batch_size": 6, "optimizer": cnn.Adam(0.01)}
    return model, model.fit(IMAGES, row.labels, **how, **settings)


def check_same(found, expected):
    (model, history), (eager, wanted) = found, expected
    for name, array in eager.parameters.items():
        np.testing.assert_allclose(model.parameters[name], array, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(history.step_losses, wanted.step_losses, rtol=1e-10)
    for one, other in zip(history, wanted, strict=True):
        assert one.others.keys() == other.others.keys()
        for name in (*other.measured(),):
            np.testing.assert_allclose(one.value(name), other.value(name), rtol=1e-9)
    np.testing.assert_allclose(model.predict(IMAGES), eager.predict(IMAGES), rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def eager():
    """(model, history) of each loss after training layer by layer, with weights and without."""
    strict = cnn.ArrayAPIStrict()
    return {
        (row, weighted): trained(row, strict, sample_weight=WEIGHTS if weighted else None)
        for row in EACH_ONCE
        for weighted in (False, True)
    }


@pytest.mark.parametrize("fast", [False, FAST])
@each_row
def test_numpy_runs_the_program_of_the_eager_step(row, fast, eager, caplog):
    say.cache_clear()
    # Compiling is what takes long: with weights and without, by turns.
    for weighted in (EACH_ONCE.index(row) % 2 == 0,) if fast else (False, True):
        weights = WEIGHTS if weighted else None
        found = trained(row, cnn.NumPy(fast=fast, threads=2), sample_weight=weights)
        check_same(found, eager[row, weighted])
        first = model_of(row.loss).parameters
        for name, array in found[0].parameters.items():
            assert np.abs(array - first[name]).max() > 1e-3, name
    assert not re.search("layer by layer|calls a layer|kernel by kernel", caplog.text)


@pytest.mark.parametrize(
    ("library", "row"),
    [*(("torch", row) for row in EACH_ONCE[1:6:2]), *(("jax", row) for row in EACH_ONCE[1:6:4])],
    ids=str,
)
def test_training_on_another_library_is_the_same(library, row, request, eager):
    request.getfixturevalue(library)
    found = trained(row, cnn.get_backend(library), sample_weight=WEIGHTS)
    check_same(found, eager[row, True])


class Annealed(cnn.RegressionLoss):
    """A user's loss that counts its calls, which no program does."""

    def __init__(self):
        self.calls = 0

    def loss_and_gradient(self, xp, outputs, labels):
        self.calls += 1
        losses, gradient = cnn.MeanSquaredError().loss_and_gradient(xp, outputs, labels)
        return losses * self.calls, gradient * self.calls


def test_a_loss_that_counts_its_calls_is_called_at_each_step(caplog):
    say.cache_clear()
    values, found = RNG.normal(size=(14, 3)), []
    for backend in (cnn.ArrayAPIStrict(), cnn.NumPy(fast=False)):
        model = model_of(Annealed(), backend)
        found.append(model.fit(IMAGES, values, epochs=2, batch_size=7).step_losses)
        assert model.loss.calls == 4
    np.testing.assert_allclose(*found, rtol=1e-10)
    assert "layer by layer: layer loss and update: does something else each time" in caplog.text


class Stop(cnn.Callback):
    """Interrupts a training after its fourth step."""

    save_every, steps = 1, 0

    def on_save(self, state):
        self.steps += 1
        if self.steps == 5:
            raise KeyboardInterrupt


@pytest.mark.parametrize("fast", [False, FAST])
@pytest.mark.parametrize("row", EACH_ONCE[-5:], ids=str)
def test_a_training_goes_on_from_its_file_to_the_last_bit(row, fast, tmp_path):
    backend, path = cnn.NumPy(fast=fast), tmp_path / "last.npz"
    whole, history = trained(row, backend)
    model = model_of(row.loss, backend)
    how = {"epochs": 2, "batch_size": 6, "optimizer": cnn.Adam(0.01)}
    how["validation"] = IMAGES[:9], row.labels[:9]
    keep = [cnn.Checkpoint(model, path, 1), Stop()]
    with pytest.raises(KeyboardInterrupt):
        model.fit(IMAGES, row.labels, callbacks=keep, **how)
    again, state = cnn.Model.load_training(path, backend, losses=USERS)
    assert again.loss == row.loss
    resumed = again.fit(IMAGES, row.labels, resume=state, **how)
    for name, array in whole.parameters.items():
        np.testing.assert_array_equal(again.parameters[name], array)
    for one, other in zip(resumed, history, strict=True):
        assert [one.value(n) for n in one.measured()] == [other.value(n) for n in other.measured()]
    other = cnn.Model(NETWORK, (6, 5), backend, seed=3, dtype="float64")
    labels = np.zeros(14, int)
    with pytest.raises(InvalidValueError, match=re.escape(f"loss was {row.loss}, got Softmax")):
        other.fit(IMAGES, labels, resume=state, **{**how, "validation": None})


def test_a_file_names_the_loss_only_where_it_is_another(tmp_path):
    path = tmp_path / "a.npz"
    model_of(cnn.SoftmaxCrossEntropy()).save(path)
    assert b'"loss"' not in path.read_bytes()
    assert cnn.Model.load(path).loss == cnn.SoftmaxCrossEntropy()
    for row in EACH_ONCE:
        model = model_of(row.loss)
        model.save(path)
        again = cnn.Model.load(path, losses=USERS)
        assert again.loss == row.loss
        np.testing.assert_array_equal(again.predict(IMAGES), model.predict(IMAGES))
    with pytest.raises(CheckpointError, match="unknown loss 'Focal'; hand its class over, as loss"):
        cnn.Model.load(path)


def test_predictions_are_of_the_losses_kind():
    for loss in (cnn.SoftmaxCrossEntropy(0.1), cnn.BinaryCrossEntropy(), cnn.Huber()):
        model = model_of(loss)
        outputs = IMAGES / 255 - 0.5
        kernel, bias, weight, last = model.parameters.values()
        parts = np.lib.stride_tricks.sliding_window_view(outputs[..., 0], (3, 3), axis=(1, 2))
        hidden = np.maximum(np.einsum("nhwij,ijf->nhwf", parts, kernel[:, :, 0]) + bias, 0.0)
        logits = hidden.reshape(14, -1) @ weight + last
        expected = {
            "SoftmaxCrossEntropy": np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
            "BinaryCrossEntropy": 1.0 / (1.0 + np.exp(-logits)),
            "Huber": logits,
        }[type(loss).__name__]
        np.testing.assert_allclose(model.predict(IMAGES), expected, rtol=1e-10)


@pytest.mark.parametrize("fast", [False, FAST])
@pytest.mark.parametrize(
    ("loss", "labels"),
    [
        (cnn.MeanSquaredError(), RNG.normal(size=(14, 4, 3, 2))),
        (cnn.SoftmaxCrossEntropy(per_pixel=True), RNG.integers(0, 2, (14, 4, 3))),
        (cnn.BinaryCrossEntropy(), RNG.integers(0, 2, (14, 4, 3, 2)).astype(bool)),
    ],
    ids=["values", "classes", "labels"],
)
def test_networks_whose_outputs_are_images(loss, labels, fast):
    models = [
        model_of(loss, backend, TO_IMAGES)
        for backend in (cnn.ArrayAPIStrict(), cnn.NumPy(fast=fast))
    ]
    found = []
    for model in models:
        assert model.output_shape == (4, 3, 2)
        model.fit(IMAGES, labels, epochs=2, batch_size=7)
        metrics = model.evaluate(IMAGES, labels)
        found.append([metrics.loss, *metrics.others.values(), model.predict(IMAGES[:5])])
        model.predict(IMAGES[:5])  # from a recording, which has to be of all
        np.testing.assert_array_equal(model.predict(IMAGES[:5]), found[-1][-1])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_labels_come_in_batches_and_soft_ones_may_be_whole():
    """A batch whose mixtures are all of one class is soft as the others are."""
    soft = np.concatenate([SOFT[:7], np.eye(3)[np.arange(7) % 3]])
    batches = [(IMAGES[:7], soft[:7]), (IMAGES[7:], soft[7:])]
    one, other = (model_of(cnn.SoftmaxCrossEntropy()) for _ in range(2))
    one.fit(batches, epochs=2)
    assert np.isfinite(one.evaluate(batches).loss)
    with pytest.raises(InvalidTypeError, match=r"labels: must be float64 of shape \(N, 3\) as in"):
        other.fit([batches[0], (IMAGES[7:], np.zeros(7, int))], epochs=1)
    with pytest.raises(InvalidValueError, match="for one-hot labels take numpy"):
        other.fit(IMAGES, np.eye(3)[np.arange(14) % 3])


SEVERAL = RNG.integers(0, 2, (14, 3))
WRONG = {
    "no numbers": (cnn.MeanSquaredError(), [["a"] * 3] * 14, "must be numbers, got <U1"),
    "too few": (cnn.Huber(), np.ones((13, 3)), "as many as images, got 13 labels for 14 images"),
    "one number": (
        cnn.Huber(),
        1.0,
        "one number for each output, as Huber takes them, (N, 3), got",
    ),
    "other shape": (cnn.Huber(), np.ones((14, 2)), "(N, 3), got shape (14, 2); reshape them, or"),
    "classes": (cnn.BinaryCrossEntropy(), np.ones(14, int), "(N, 3), got shape (14,)"),
    "NaN": (cnn.Huber(), np.where(SEVERAL, np.nan, 1.0), "must be finite, got nan at position"),
    "beyond 1": (cnn.BinaryCrossEntropy(), SEVERAL * 2, "must be labels of 0 to 1, got 2 at posi"),
    "below 0": (
        cnn.BinaryCrossEntropy(),
        SEVERAL - 1.0,
        "must be labels of 0 to 1, got -1 at posi",
    ),
    "no sum": (
        cnn.SoftmaxCrossEntropy(),
        SOFT * 0.9,
        "add up to 1 over the classes, got 0.9 at posi",
    ),
    "no share": (cnn.SoftmaxCrossEntropy(), SOFT - 0.5, "must be probabilities of 0 to 1, got -"),
    "masked": (cnn.Huber(), np.ma.masked_less(SEVERAL, 1), "must have a value everywhere"),
}


@pytest.mark.parametrize("case", WRONG)
def test_labels_that_a_loss_does_not_take_are_refused_everywhere(case):
    loss, labels, said = WRONG[case]
    model = model_of(loss)
    right = np.arange(14) % 3 if isinstance(loss, cnn.SoftmaxCrossEntropy) else SEVERAL
    for call in (
        lambda: model.fit(IMAGES, labels),
        lambda: model.fit(IMAGES, right, validation=(IMAGES, labels)),
        lambda: model.evaluate(IMAGES, labels),
        lambda: model.fit([(IMAGES, labels)]),
    ):
        with pytest.raises((InvalidTypeError, InvalidValueError), match=re.escape(said)) as caught:
            call()
        assert str(caught.value).startswith("labels: ")
    assert model.steps_done == 0


def test_axes_of_length_one_may_be_left_out():
    network = cnn.Sequential(*BODY, cnn.Flatten(), cnn.Dense(1))
    values, found = RNG.normal(size=14), []
    for labels in (values, values[:, None], values[:, None].tolist()):
        model = model_of(cnn.MeanSquaredError(), network=network)
        found.append(model.fit(IMAGES, labels)[-1].train_loss)
    assert found == [found[0]] * 3


def test_what_is_no_loss_and_what_does_not_fit_one_are_refused():
    for wrong in (cnn.Huber, "huber", None):
        with pytest.raises(InvalidTypeError, match="loss: must be a loss such as SoftmaxCrossEntr"):
            model_of(wrong)
    for loss, count in (
        (cnn.SoftmaxCrossEntropy(0.0, (1, 2)), 2),
        (cnn.BinaryCrossEntropy([1]), 1),
    ):
        said = f"must be 3 numbers, one for each output, got {count}"
        with pytest.raises(InvalidValueError, match=said):
            model_of(loss)
    for k in (3, 4):  # which would be right always
        with pytest.raises(InvalidValueError, match=f"top_k must be below 3, the classes, got {k}"):
            model_of(cnn.SoftmaxCrossEntropy(top_k=k))
    with pytest.raises(InvalidValueError, match="must give one number a class"):
        model_of(cnn.SoftmaxCrossEntropy(), network=TO_IMAGES)
    with pytest.raises(InvalidValueError, match="must give one number a class"):
        model_of(USERS[1](), network=TO_IMAGES)


def test_a_measure_is_watched_and_logged(tmp_path):
    model, values = model_of(cnn.Huber()), RNG.normal(size=(14, 3))
    logs = [
        cnn.CSVLog(tmp_path / "a.csv"),
        cnn.JSONLog(tmp_path / "a"),
        cnn.StepLog(tmp_path / "b"),
    ]
    metric = "validation_mean_absolute_error"
    keep = [*logs, cnn.BestCheckpoint(model, tmp_path / "best.npz", metric)]
    watched = [*keep, cnn.EarlyStopping(1, metric, min_delta=10.0)]
    history = model.fit(IMAGES, values, epochs=9, validation=(IMAGES, values), callbacks=watched)
    assert len(history) == 2  # no epoch is so much better than the first
    header, *rows = (tmp_path / "a.csv").read_text().splitlines()
    assert header.endswith(f",train_mean_absolute_error,{metric}")
    assert [float(row.split(",")[-1]) for row in rows] == [r.others[metric] for r in history]
    assert f'"{metric}"' in (tmp_path / "a").read_text()
    assert '"mean_absolute_error"' in (tmp_path / "b").read_text()
    assert cnn.Model.load(tmp_path / "best.npz").epochs_done == 2
    with pytest.raises(
        InvalidValueError, match="validation_f1 will not be measured, only validation_loss"
    ):
        model.fit(
            *(IMAGES, values), validation=(IMAGES, values),
            callbacks=[cnn.EarlyStopping(1, "validation_f1")],
        )  # fmt: skip


def test_measures_show_what_else_there_is_and_nothing_where_there_is_none():
    assert repr(cnn.Metrics(0.5, 0.75)) == "Metrics(loss=0.5, accuracy=0.75)"
    several = cnn.Metrics(0.5, None, {"f1": 0.25})
    assert repr(several) == "Metrics(loss=0.5, accuracy=None, others={'f1': 0.25})"
    record = model_of(cnn.SoftmaxCrossEntropy()).fit(IMAGES, np.arange(14) % 3)[0]
    assert repr(record).startswith("EpochRecord(epoch=1, train_loss=")
    assert repr(record).endswith("learning_rate=0.05)")
    old = dict(vars(record))
    del old["others"]
    again = object.__new__(cnn.EpochRecord)
    again.__setstate__(old)  # of a pickle from before there were any
    assert again == record
