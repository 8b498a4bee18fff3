"""Remedies where labels are several, numbers, or classes of pixels: of sets and on the command line."""

import shlex

import numpy as np

from arraycnn.data import DataSet, load_dataset
from remedies import making
from remedies.following import Here, follows

_TRAIN = ("train", "--backend", "numpy", "--no-fast", "--epochs", 1, "--dataset", "set.npz")
_IMAGES, _CLASSES = making.some(24)
_VALUES = np.random.default_rng(1).normal(size=(24, 3))
_OWN = """
from dataclasses import dataclass
import arraycnn as cnn

@dataclass(frozen=True)
class Scaled(cnn.RegressionLoss):
    factor: float{default}
    def loss_and_gradient(self, xp, outputs, labels):
        error = self.factor * (outputs - labels)
        return xp.sum(error * error, axis=1), 2.0 * self.factor * error

@dataclass(frozen=True)
class Same(cnn.Identity):
    pass

def build(classes):
    return cnn.Sequential(cnn.Rescale(), Same(), cnn.Flatten(), cnn.Dense(classes))
"""


def _set(here: Here, labels, **more) -> None:
    making.write_npz(here.path / "set.npz", _IMAGES, labels, **more)


@follows(
    "data/label_kinds.py", "take a set that has such labels, or a loss for those that this one has"
)
def a_set_of_other_labels(here: Here) -> None:
    _set(here, _CLASSES)
    here.refused_command(*_TRAIN, "--loss", "binary-cross-entropy")
    here.refused_command(*_TRAIN, "--loss", "huber", "--dataset", "digits")
    here.accepted_command(*_TRAIN, "--out", "classes")
    _set(here, (_VALUES > 0).astype(int))
    here.accepted_command(*_TRAIN, "--loss", "binary-cross-entropy", "--out", "labels")


@follows("data/dataset.py", "correct the labels or the names")
def labels_of_another_form(here: Here) -> None:
    def made(labels):
        return DataSet("own", _IMAGES, labels, _IMAGES, labels, ("a", "b", "c"), kind="numbers")

    with here.refused():
        made(_VALUES)
    made(_VALUES.astype(np.float32))


def _table(here: Here, name: str, columns: str, cell: str = "0.5") -> None:
    rows = [columns + ",".join(f"pixel{n}" for n in range(16))]
    rows += [f"{cell},1.5," + ",".join(str(n % 256) for n in range(k, k + 16)) for k in range(24)]
    (here.path / name).write_text("\n".join(rows))


@follows("data/csv_files.py", "correct that row")
def a_cell_that_is_no_number(here: Here) -> None:
    _table(here, "a.csv", "x,y,", cell="much")
    with here.refused():
        load_dataset(here.path / "a.csv", labels="numbers")
    _table(here, "a.csv", "x,y,")
    load_dataset(here.path / "a.csv", labels="numbers")


@follows("data/csv_files.py", "write both alike")
def tables_of_other_columns(here: Here) -> None:
    _table(here, "train.csv", "left,right,")
    _table(here, "test.csv", "right,left,")
    with here.refused():
        load_dataset(here.path, labels="numbers")
    _table(here, "test.csv", "left,right,")
    load_dataset(here.path, labels="numbers")


@follows("model/class_names.py", "rename the columns, or take a model that was trained on them")
def columns_that_the_model_does_not_know(here: Here) -> None:
    how = ("--loss", "huber", "--out", "run")
    _set(here, _VALUES, class_names=["a", "b", "c"])
    here.accepted_command(*_TRAIN, *how)
    _set(here, _VALUES, class_names=["a", "b", "x"])
    measure = ("evaluate", "run/last.npz", "--backend", "numpy", "--dataset", "set.npz")
    here.refused_command(*measure)
    _set(here, _VALUES, class_names=["a", "b", "c"])
    here.accepted_command(*measure)


@follows("cli/model_for_data.py", "choose --loss pixel-cross-entropy, or another network")
def a_network_for_pixels(here: Here) -> None:
    _set(here, (_IMAGES[..., 0] > 99).astype(int))
    network = ("--network", "unet_small", "--network-arg", "width=2")
    here.refused_command(*_TRAIN, *network)
    here.accepted_command(*_TRAIN, *network, "--loss", "pixel-cross-entropy")


@follows(
    "cli/model_for_data.py",
    "choose a --network that does, such as unet_small where labels are images, or another --loss",
)
def a_network_that_gives_no_images(here: Here) -> None:
    _set(here, _IMAGES / 255.0)
    here.refused_command(*_TRAIN, "--loss", "huber")
    network = ("--network", "unet_small", "--network-arg", "width=2")
    here.accepted_command(*_TRAIN, "--loss", "huber", *network)


def _own(here: Here, default: str) -> None:
    here.patch.syspath_prepend(here.path)  # and what running the file adds to the path goes
    (here.path / "net.py").write_text(_OWN.replace("{default}", default))


@follows("cli/losses.py", "give them defaults")
def a_loss_of_settings(here: Here) -> None:
    _own(here, "")
    _set(here, _VALUES)
    how = ("--network", "net.py:build", "--loss", "Scaled")
    here.refused_command(*_TRAIN, *how)
    _own(here, " = 2.0")
    here.accepted_command(*_TRAIN, *how)


@follows("cli/fine_tuning.py", "add --layers {}")
def a_run_whose_layers_are_not_named(here: Here) -> None:
    _own(here, " = 2.0")
    _set(here, _CLASSES)
    here.accepted_command(*_TRAIN, "--network", "net.py:build", "--out", "old")
    begin = ("--from", "old/last.npz", "--layers", "net.py", "--out", "run")
    here.accepted_command(*_TRAIN, *begin)
    again = ("train", "--resume", "run", "--epochs", 2, "--override")
    here.refused_command(*again)
    told = here.message.rpartition("; add ")[2].partition(" (")[0]
    here.accepted_command(*again, *shlex.split(told))
