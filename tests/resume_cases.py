"""A small training that is stopped and resumed, for the tests of what comes of that."""

from dataclasses import asdict

import numpy as np

from arraycnn import (
    AdamW,
    BatchNorm2d,
    Callback,
    Checkpoint,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    Model,
    OneCycle,
    ReLU,
    Residual,
    Sequential,
)

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
