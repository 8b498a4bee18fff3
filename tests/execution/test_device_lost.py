"""A device that disappears while it computes. Injected: at the launcher, with CUDA's own words."""

import pytest

import arraycnn as cnn
from arraycnn import CuPy, DeviceLostError
from arraycnn.execution import RecordedTraining
from test_cuda_graph import NETWORKS, HostCUDA, Recorder, images_and_labels


class CUDARuntimeError(RuntimeError):
    """As CuPy's: of no class that can be known without CuPy."""


LONG = 10**9


class Mortal(Recorder):
    """Answers ``left`` calls, and from then on every one with the same error."""

    def __init__(self):
        super().__init__()
        self.left = LONG

    def check(self):
        self.left -= 1
        if self.left < 0:
            raise CUDARuntimeError("cudaErrorLaunchFailure: unspecified launch failure")

    def start(self, *launch):
        self.check()
        super().start(*launch)

    def empty(self, shape, dtype):
        self.check()
        return super().empty(shape, dtype)

    def to_numpy(self, array):
        self.check()
        return super().to_numpy(array)


class MortalCUDA(HostCUDA):
    is_lost = CuPy.is_lost

    def to_numpy(self, array):
        return self.launcher.to_numpy(array)


class Ended(cnn.Callback):
    ended = False

    def on_end(self):
        self.ended = True


@pytest.fixture
def launcher(monkeypatch):
    """On a device a snapshot is a copy there, and fails as all does."""
    launcher, snapshot = Mortal(), RecordedTraining.snapshot

    def checked(plan):
        launcher.check()
        return snapshot(plan)

    monkeypatch.setattr(RecordedTraining, "snapshot", checked)
    return launcher


def test_a_device_that_disappears_in_training_is_told_and_the_save_goes_on(launcher, tmp_path):
    images, labels = images_and_labels()
    settings = {"epochs": 3, "batch_size": 8, "optimizer": cnn.Adam(0.01)}

    def train(path, callbacks=()):
        model = cnn.Model(NETWORKS["scratch"], (10, 9), backend=MortalCUDA(launcher))
        keep = cnn.Checkpoint(model, path, save_every=1)
        model.fit(images, labels, callbacks=[*callbacks, keep], **settings)

    train(tmp_path / "whole.npz")
    ended, launcher.left = Ended(), (LONG - launcher.left) // 2
    with pytest.raises(DeviceLostError) as caught:
        train(tmp_path / "last.npz", [ended])
    message = str(caught.value)
    assert "backend host-cuda: the device does not answer any more (cudaErrorLaunch" in message
    assert "go on from the last save" in message
    assert message.isprintable()
    assert ended.ended

    launcher.left = LONG
    backend = MortalCUDA(launcher)
    model, training = cnn.Model.load_training(tmp_path / "last.npz", backend)
    assert training.position > 0
    keep = cnn.Checkpoint(model, tmp_path / "last.npz")
    model.fit(images, labels, resume=training, callbacks=[keep], **settings)
    assert (tmp_path / "last.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


@pytest.mark.parametrize("call", ["predict", "evaluate"])
def test_a_device_that_disappears_in_inference_is_told(launcher, call):
    images, labels = images_and_labels()
    model = cnn.Model(NETWORKS["scratch"], (10, 9), backend=MortalCUDA(launcher))
    launcher.left = 2
    arguments = {"predict": (images,), "evaluate": (images, labels)}[call]
    with pytest.raises(DeviceLostError, match="check it with nvidia-smi"):
        getattr(model, call)(*arguments)


@pytest.mark.parametrize(
    ("words", "lost"),
    [
        ("cudaErrorDevicesUnavailable: CUDA-capable device(s) is/are busy or unavailable", True),
        ("CUDA_ERROR_ECC_UNCORRECTABLE: uncorrectable ECC error encountered", True),
        ("cudaErrorUnknown: unknown error", True),
        ("cudaErrorIllegalAddress: an illegal memory access was encountered", False),  # our fault
        ("cudaErrorInvalidValue: invalid argument", False),
        ("cudaErrorMemoryAllocation: out of memory", False),
    ],
)
def test_what_says_that_a_device_is_lost(words, lost):
    assert CuPy.is_lost(None, CUDARuntimeError(words)) is lost
