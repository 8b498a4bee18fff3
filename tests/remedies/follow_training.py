"""Remedies of `fit`, its callbacks, resuming, and memory."""

import numpy as np

import arraycnn as cnn
from remedies import making
from remedies.following import Here, follows


def _fit(model: cnn.Model | None = None, **settings) -> cnn.Model:
    images, labels = making.some()
    model = making.model() if model is None else model
    model.fit(images, labels, **settings)
    return model


@follows("training/batches.py", "check their source")
def batches_without_a_batch(here: Here) -> None:
    pair = making.some()
    with here.refused(by="training/batch_stream.py"):
        making.model().fit(cnn.Batches(list, steps=2))
    making.model().fit(cnn.Batches(lambda: [pair], steps=2))


@follows("training/batches.py", "pass images and labels")
def labels_left_out(here: Here) -> None:
    images, labels = making.some()
    with here.refused():
        making.model().fit(7)
    making.model().fit(images, labels)


@follows("training/batches.py", "write Batches(lambda: ..., steps=...)")
def batches_that_begin_only_once(here: Here) -> None:
    pair = making.some()
    with here.refused():
        making.model().fit(iter([pair, pair]))
    making.model().fit(cnn.Batches(lambda: iter([pair, pair]), steps=2))


@follows("training/batches.py", "take those rows of whole batches, or leave batch_size out")
def batches_without_the_rows_asked_for(here: Here) -> None:
    images, labels = making.some()
    with here.refused():
        making.model().fit(cnn.Batches(lambda rows: [(images, labels)], 2, len(labels) - 1))
    making.model().fit(cnn.Batches(lambda rows: [(images[rows], labels[rows])], 2, len(labels) - 1))
    making.model().fit(cnn.Batches(lambda: [(images, labels)], 2))


@follows("training/evaluation.py", "check the iterable")
def evaluated_on_no_batch(here: Here) -> None:
    with here.refused():
        making.model().evaluate([])
    making.model().evaluate([making.some()])


@follows(
    "training/history.py",
    "pass validation=(images, labels) to fit, or watch train_loss",
)
def stopping_without_validation(here: Here) -> None:
    with here.refused():
        _fit(callbacks=[cnn.EarlyStopping(2)])
    _fit(callbacks=[cnn.EarlyStopping(2)], validation=making.some(9))
    _fit(callbacks=[cnn.EarlyStopping(2, "train_loss")])


def _contradictory() -> tuple[np.ndarray, np.ndarray]:
    """The same image again and again, with other labels: no parameters fit it."""
    images, labels = making.some(40)
    return np.repeat(images[:1], 40, axis=0), labels


@follows("training/loop.py", "try a learning rate below {}")
def a_learning_rate_that_explodes(here: Here) -> None:
    images, labels = _contradictory()
    model = making.model()
    with np.errstate(all="ignore"), here.refused():
        model.fit(images, labels, epochs=9, batch_size=4, optimizer=cnn.SGD(1e38))
    making.model().fit(images, labels, epochs=9, batch_size=4, optimizer=cnn.SGD(0.01))


@follows("training/loop.py", "the model keeps the parameters of the last finite loss: {}")
def the_model_is_as_before_the_harm(here: Here) -> None:
    images, labels = _contradictory()
    model = making.model()
    with np.errstate(all="ignore"), here.refused():
        model.fit(images, labels, epochs=9, batch_size=4, optimizer=cnn.SGD(1e38))
    assert all(np.isfinite(array).all() for array in model.parameters.values())
    assert np.isfinite(model.predict(images)).all()


@follows(
    "training/loop.py",
    "the model keeps the parameters of the last finite loss: try a lower learning rate",
)
def the_last_update_explodes(here: Here) -> None:
    images, labels = making.some(4)
    network = cnn.Sequential(cnn.Flatten(), cnn.Dense(3))
    model = cnn.Model(network, (8, 8))
    large = images.astype("float32") * 1e30
    with np.errstate(all="ignore"), here.refused():
        model.fit(large, labels, batch_size=4, optimizer=cnn.SGD(1e30))
    assert all(np.isfinite(array).all() for array in model.parameters.values())
    model.fit(large, labels, batch_size=4, optimizer=cnn.SGD(1e-35))


@follows("training/loop.py", "the first loss needs smaller numbers in images or parameters")
def images_too_large_for_any_loss(here: Here) -> None:
    images, labels = making.some(4)
    model = cnn.Model(cnn.Sequential(cnn.Flatten(), cnn.Dense(9), cnn.Dense(3)), (8, 8))
    with np.errstate(all="ignore"), here.refused():
        model.fit(images.astype("float32") * np.float32(1e36), labels)
    model.fit(images.astype("float32") / 255, labels)


@follows("training/state.py", "pass those, or override=True (--override)")
def resumed_with_other_settings(here: Here) -> None:
    path = here.path / "last.npz"
    model = making.model()
    _fit(model, epochs=2, callbacks=[cnn.Checkpoint(model, path)])
    model, training = cnn.Model.load_training(path)
    with here.refused():
        _fit(model, epochs=2, optimizer=cnn.SGD(0.01), resume=training)
    _fit(model, epochs=2, resume=training)
    model, training = cnn.Model.load_training(path)
    _fit(model, epochs=3, optimizer=cnn.SGD(0.01), resume=training, override=True)


@follows(
    "training/state.py",
    "resume with the model and the optimizer that the training was begun with",
)
def resumed_with_another_model(here: Here) -> None:
    path = here.path / "last.npz"
    model = making.model()
    _fit(model, epochs=2, callbacks=[cnn.Checkpoint(model, path)])
    model, training = cnn.Model.load_training(path)
    with here.refused():
        other = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(5), cnn.Dense(3))
        _fit(cnn.Model(other, (8, 8)), epochs=2, resume=training)
    _fit(model, epochs=2, resume=training)


@follows("storage/model_file.py", "take a file written by Checkpoint, such as a run's last.npz")
def a_model_without_a_training(here: Here) -> None:
    model = making.model()
    model.save(here.path / "model.npz")
    with here.refused():
        cnn.Model.load_training(here.path / "model.npz")
    _fit(model, callbacks=[cnn.Checkpoint(model, here.path / "last.npz")])
    cnn.Model.load_training(here.path / "last.npz")
    here.accepted_command("train", "--backend", "numpy", "--limit", 100, "--out", "run")
    cnn.Model.load_training(here.path / "run" / "last.npz")


def _breaking_above(here: Here, images: int, free: int | None) -> None:
    """Plans that run out of memory with larger batches; so much memory is said to be free."""
    from arraycnn.execution.numpy import NumPyPlans

    backend = type(cnn.NumPy())
    here.patch.setattr(backend, "free_memory", lambda _: free)
    original = NumPyPlans.traced

    def traced(plans, task, carry):
        plan = original(plans, task, carry)
        run = plan.run

        def limited(first, batches, rates):
            if max(map(len, batches)) > images:
                raise MemoryError
            return run(first, batches, rates)

        plan.run = limited
        return plan

    here.patch.setattr(NumPyPlans, "traced", traced)


def _plain_model() -> cnn.Model:
    return cnn.Model(making.small(), (8, 8), backend=cnn.NumPy(fast=False))


@follows("training/machine_failures.py", "a batch size of {} would fit")
def a_batch_too_large(here: Here) -> None:
    _breaking_above(here, 6, free=2**28)
    with here.refused():
        _fit(_plain_model(), batch_size=12)
    _fit(_plain_model(), batch_size=int(here.message.split()[-3]))


@follows("training/machine_failures.py", "use a smaller batch size")
def a_batch_too_large_nobody_knows_how_much(here: Here) -> None:
    _breaking_above(here, 6, free=None)
    with here.refused():
        _fit(_plain_model(), batch_size=12)
    _fit(_plain_model(), batch_size=3)


class _Source(cnn.data.ImageSource):
    """Images in memory, read as from a disk."""

    def __init__(self, images: np.ndarray, wrong: bool) -> None:
        self.shape, self.dtype = images.shape, images.dtype
        self._images, self._wrong = images, wrong

    def read(self, indices: np.ndarray) -> np.ndarray:
        return self._images[indices][: -1 if self._wrong else None]


@follows("model/image_inputs.py", "give a row for each index, in their order")
def a_source_that_reads_too_few(here: Here) -> None:
    images, labels = making.some()
    with here.refused():
        making.model().fit(_Source(images, wrong=True), labels)
    making.model().fit(_Source(images, wrong=False), labels)


@follows("execution/compiled.py", "later runs take them from the cache")
def kernels_compiled_once(here: Here) -> None:
    import pytest

    pytest.importorskip("llvmlite", reason="llvmlite is not installed")
    here.patch.setenv("ARRAYCNN_KERNELS", str(here.path))
    import subprocess
    import sys

    program = (
        "import numpy as np, arraycnn as cnn\n"
        "from arraycnn.execution import compiled\n"
        # As it is where compiling takes long enough to be noticed.
        "compiled.threading.Timer.start = lambda timer: timer.function(*timer.args)\n"
        "network = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(2))\n"
        "model = cnn.Model(network, (2, 2), backend=cnn.NumPy(fast=True, threads=1))\n"
        "images, labels = np.zeros((2, 2, 2, 1), np.uint8), np.array([0, 1], np.int32)\n"
        "model.fit(images, labels, batch_size=2)\n"
    )

    def said() -> str:
        command = [sys.executable, "-c", program]
        return subprocess.run(command, capture_output=True, text=True, check=True).stderr

    here._see(said())
    again = said()
    assert again == "", again


@follows("report/charts.py", "train first")
def curves_of_no_epoch(here: Here) -> None:
    from arraycnn.report import plot_learning_curves

    images, labels = making.some()
    with here.refused():
        plot_learning_curves([])
    plot_learning_curves(making.model().fit(images, labels))


@follows("ops/dense/compiled.py", "transpose one of them")
def compiled_product_of_shapes_that_do_not_fit(here: Here) -> None:
    import pytest

    pytest.importorskip("llvmlite", reason="llvmlite is not installed")
    kernels = cnn.NumPy(fast=True).kernels
    x, weight = np.ones((2, 3), "float32"), np.ones((4, 3), "float32")
    with here.refused():
        kernels.dense(kernels, x, weight, None)
    kernels.dense(kernels, x, weight.T, None)
