"""A long run: training, predictions, saves and resumes over and over. Does anything grow?

    python bench/soak.py --minutes 30
    python bench/soak.py --minutes 30 --rest 0.5    # beside other work: rest half a second a round

Every round trains a model with its checkpoints, is stopped and resumed, predicts, evaluates, saves
and loads. After each, the process's memory, open files and threads are looked at. The first fifth
of the rounds is the warm-up. Ends with 1 where the resident memory then grew by 2 % or more, or
where a file or a thread is left.
"""

import argparse
import gc
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import arraycnn as cnn
from arraycnn.data import load_dataset

WARM_UP_SHARE = 0.2
MOST_GROWTH = 0.02


class Sample(NamedTuple):
    """What the process holds between two rounds; memory in bytes."""

    resident: int
    files: int
    threads: int


class Workload:
    """One round after the other, each on the same images."""

    def __init__(self, folder: Path) -> None:
        self.steps = self.calls = self.saves = 0
        self._path = folder / "soak.npz"
        data = load_dataset("digits")
        self._images, self._labels = data.train_images, data.train_labels
        self._held_out = data.test_images, data.test_labels

    def round(self, seed: int) -> None:
        network = cnn.Sequential(
            cnn.Rescale(),
            *(cnn.Conv2d(8, 3, padding="same"), cnn.BatchNorm2d(), cnn.ReLU(), cnn.MaxPool2d(2)),
            *(cnn.Flatten(), cnn.Dropout(0.2), cnn.Dense(10)),
        )
        model = cnn.Model(network, self._images.shape[1:], seed=seed)
        self._fit(model, epochs=2, callbacks=[cnn.EarlyStopping(9), _StopAfter(1)])
        model, training = cnn.Model.load_training(self._path)
        self._fit(model, epochs=2, resume=training)
        self._predict(model)
        self._predict(cnn.Model.load(self._path))

    def _fit(self, model: cnn.Model, callbacks=(), **options) -> None:
        before = model.steps_done
        keep = _CountedCheckpoint(model, self._path, save_every=10)
        settings = {"batch_size": 64, "optimizer": cnn.Adam(0.01), "validation": self._held_out}
        model.fit(self._images, self._labels, callbacks=[*callbacks, keep], **settings, **options)
        self.steps += model.steps_done - before
        self.saves += keep.saves

    def _predict(self, model: cnn.Model) -> None:
        images, labels = self._held_out
        for count in (1, 7, len(images)):
            model.predict(images[:count])
        model.evaluate(images, labels)
        self.calls += 4


class _CountedCheckpoint(cnn.Checkpoint):
    saves = 0

    def on_save(self, state):
        super().on_save(state)
        self.saves += 1


class _StopAfter(cnn.Callback):
    """Ends the training after some epochs of this call of fit."""

    def __init__(self, epochs: int) -> None:
        self._left = epochs

    def on_epoch(self, record):
        self._left -= 1
        return self._left == 0


def sample() -> Sample:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Sample(
        resident=pages * os.sysconf("SC_PAGE_SIZE"),
        files=len(os.listdir("/proc/self/fd")),
        threads=len(os.listdir("/proc/self/task")),
    )


def growth(samples: list[Sample]) -> float:
    """By what share the resident memory grew after the warm-up: its last tenth over its first."""
    warm = samples[int(len(samples) * WARM_UP_SHARE) :]
    tenth = max(1, len(warm) // 10)
    first, last = (median(s.resident for s in part) for part in (warm[:tenth], warm[-tenth:]))
    return last / first - 1


def leaks(samples: list[Sample]) -> list[str]:
    """What grew after the warm-up, in words."""
    first, last = samples[int(len(samples) * WARM_UP_SHARE)], samples[-1]
    found = []
    if (grown := growth(samples)) >= MOST_GROWTH:
        found.append(f"resident memory grew by {grown:.2%}")
    if last.files > first.files:
        found.append(f"{last.files - first.files} more open files")
    if last.threads > first.threads:
        found.append(f"{last.threads - first.threads} more threads")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rest", type=float, default=0.0, help="seconds to rest after each round")
    options = parser.parse_args()
    samples, began, told = [], time.monotonic(), 0.0
    with tempfile.TemporaryDirectory() as folder:
        work = Workload(Path(folder))
        while (now := time.monotonic() - began) < 60 * options.minutes or len(samples) < 2:
            work.round(seed=len(samples))
            samples.append(sample())
            if now >= told:
                print(f"{now / 60:5.1f} min  {_words(samples[-1])}", flush=True)
                told += 60
            time.sleep(options.rest)
    first = samples[int(len(samples) * WARM_UP_SHARE)]
    print(
        f"{len(samples)} rounds, {work.steps:,} steps, {work.calls:,} predictions and evaluations, "
        f"{work.saves:,} saves in {(time.monotonic() - began) / 60:.1f} min\n"
        f"after warm-up  {_words(first)}\nat the end     {_words(samples[-1])}\n"
        f"resident memory after warm-up: {growth(samples):+.2%}"
    )
    found = leaks(samples)
    print("\n".join(found) or "nothing grew")
    sys.exit(bool(found))


def _words(taken: Sample) -> str:
    resident = taken.resident / 2**20
    return f"{resident:.1f} MiB resident, {taken.files} open files, {taken.threads} threads"


if __name__ == "__main__":
    main()
