"""Libraries with a current device compute on the model's own, whatever was current before."""

import dataclasses
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.backends.backend import Backend
from arraycnn.ops import GENERIC
from arraycnn.report.internals import activations, layer_norms, layer_times, saliency

NETWORK = cnn.Sequential(
    cnn.Rescale(), cnn.Conv2d(2, 3), cnn.ReLU(), cnn.MaxPool2d(2), cnn.Flatten(), cnn.Dense(3)
)
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 6, 6), dtype=np.uint8)
LABELS = np.arange(6) % 3


@dataclass(frozen=True)
class OnDevice(Backend):
    """NumPy, with kernels that note whether the device was the current one."""

    is_current: list[bool] = field(default_factory=lambda: [False])
    noted: list[bool] = field(default_factory=list)

    name = "on-device"
    device_name = "device 1"
    version = "0"

    @contextmanager
    def active(self):
        before, self.is_current[0] = self.is_current[0], True
        yield
        self.is_current[0] = before

    @property
    def kernels(self):
        def noting(function):
            def call(*arguments, **settings):
                self.noted.append(self.is_current[0])
                return function(*arguments, **settings)

            return call

        fields = (each.name for each in dataclasses.fields(GENERIC))
        held = {name: getattr(GENERIC, name) for name in fields}
        return dataclasses.replace(
            GENERIC, **{name: noting(kernel) for name, kernel in held.items() if kernel}
        )

    def asarray(self, array):
        return np.asarray(array)

    def to_numpy(self, array):
        return np.asarray(array)


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.fit(IMAGES, LABELS, validation=(IMAGES, LABELS)),
        lambda model: model.evaluate(IMAGES, LABELS),
        lambda model: model.predict(IMAGES),
        lambda model: activations(model, IMAGES),
        lambda model: saliency(model, IMAGES),
        lambda model: layer_norms(model, IMAGES, LABELS),
        lambda model: layer_times(model, IMAGES, LABELS),
    ],
    ids=["fit", "evaluate", "predict", "activations", "saliency", "norms", "times"],
)
def test_kernels_run_while_the_device_is_current(use):
    backend = OnDevice()
    use(cnn.Model(NETWORK, (6, 6), backend=backend))
    assert backend.noted
    assert all(backend.noted)
    assert backend.is_current == [False]
