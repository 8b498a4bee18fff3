"""Write what tests/storage/test_saved.py loads: small files of each kind, by the version that is
imported.

    git worktree add /tmp/old COMMIT
    PYTHONPATH=/tmp/old/src python tests/saved/write.py tests/saved/COMMIT

Run once for a version, whose files users keep, and never again for it. All is computed by plain
NumPy, whose kernels are the same on every processor but for BLAS.
"""

import json
import lzma
import pickle
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import click
import numpy as np

import arraycnn
from arraycnn import (
    SGD,
    Adam,
    AdamW,
    AvgPool2d,
    BatchNorm2d,
    Callback,
    Checkpoint,
    Conv2d,
    Cosine,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    MaxPool2d,
    Model,
    NumPy,
    OneCycle,
    ReLU,
    Rescale,
    Residual,
    Sequential,
    Softmax,
)
from arraycnn.data import load_dataset
from arraycnn.networks import NETWORKS
from arraycnn.storage.provenance import versions

PLAIN = NumPy(fast=False)
RNG = np.random.default_rng(7)
PUBLIC = ("", "backends", "callbacks", "data", "execution", "export", "layers", "ops", "report")
MODULES = (*PUBLIC, "networks", "scratch")
COMMANDS = ("train", "evaluate", "predict", "report", "export", "import", "info")

# A network for each kind of layer, and the shape of its images.
LAYER_NETWORKS = {
    "avg_pool": (Sequential(AvgPool2d((2, 1), stride=1), Flatten(), Dense(3)), (4, 3, 2)),
    "batch_norm": (Sequential(BatchNorm2d(0.2, 1e-3), Flatten(), Dense(3)), (4, 3, 2)),
    "conv": (Sequential(Conv2d(3, (2, 3), stride=(2, 1)), Flatten(), Dense(3)), (5, 4, 2)),
    "conv_same": (Sequential(Conv2d(2, 3, padding="same", bias=False), Flatten()), (4, 3, 2)),
    "dropout": (Sequential(Flatten(), Dropout(0.3), Dense(3, bias=False)), (4, 3, 2)),
    "global_avg_pool": (Sequential(Conv2d(4, 2), GlobalAvgPool2d(), Dense(3)), (4, 3, 2)),
    "max_pool": (Sequential(MaxPool2d(2, ties="all"), Flatten(), Dense(3)), (5, 4, 2)),
    "relu": (Sequential(Flatten(), Dense(4), ReLU(), Dense(3)), (4, 3, 2)),
    "rescale": (Sequential(Rescale(), Flatten(), Dense(3)), (4, 3, 2)),
    "residual": (
        Sequential(Residual(Conv2d(2, 1), shortcut=Conv2d(2, 1, bias=False)), Flatten(), Dense(3)),
        (4, 3, 1),
    ),
    "softmax": (Sequential(Softmax(), Flatten(), Dense(3)), (4, 3, 2)),
}
SIZES = {"scratch": 4, "basic": 6, "lenet5": 12}
TRAINED = Sequential(
    Conv2d(3, 2, bias=False),
    BatchNorm2d(),
    ReLU(),
    Dropout(0.25),
    Flatten(),
    Dense(4),
    Dropout(0.5),
    Dense(3),
)
OPTIMIZERS = {
    "sgd": SGD(OneCycle(0.1)),
    "momentum": SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": Adam(Cosine(0.01)),
    "adamw": AdamW(OneCycle(0.01)),
}
TRAINING = {"epochs": 3, "batch_size": 4}
STEPS = 3  # an epoch, of 10 images
RUN = ("--network", "scratch", "--backend", "numpy", "--no-fast", "--limit", "60", "--epochs", "3")


@dataclass
class StopAt(Callback):
    """Ends the training when so many steps are done."""

    position: int

    @property
    def save_every(self):
        return self.position

    def on_steps(self, progress):
        return (progress.epoch - 1) * progress.steps + progress.step == self.position


def model_of(network, shape, dtype):
    """A model whose every number is random, and has few digits, so that it can be packed."""
    model = Model(network, shape, PLAIN, dtype=dtype, class_names=None, seed=3)
    change = lambda a: np.round(a * 16 + RNG.integers(-3, 4, a.shape)) / 16  # noqa: E731
    model.assign(
        *(
            {name: change(a).astype(dtype) for name, a in part.items()}
            for part in (model.parameters, model.state)
        )
    )
    return model


def images(network, shape, count=5):
    pixels = RNG.integers(0, 256, (count, *shape), dtype=np.uint8)
    return pixels if "Rescale" in repr(network) else (pixels / 256 - 0.5).astype("float32")


def write_models(folder):
    """Models of each layer and each named network, and their predictions."""
    (folder / "models").mkdir()
    expected = {}
    named = {name: (NETWORKS[name](), (size, size, 1)) for name, size in SIZES.items()}
    for name, (network, shape) in {**LAYER_NETWORKS, **named}.items():
        x = images(network, shape)
        for dtype in ("float32", "float64") if name in LAYER_NETWORKS else ("float32",):
            model = model_of(network, shape, dtype)
            model.save(folder / "models" / f"{name}-{dtype}.npz")
            expected[f"{name}-{dtype}/images"] = x
            expected[f"{name}-{dtype}/predictions"] = model.predict(x)
    np.savez_compressed(folder / "models.npz", **expected)


def write_trainings(folder):
    """Checkpoints within an epoch and at the end of one, and where each training ended."""
    (folder / "trainings").mkdir()
    x, labels = RNG.normal(size=(10, 3, 3, 1)), RNG.integers(0, 3, 10)
    expected = {"images": x, "labels": labels}
    for name, optimizer in OPTIMIZERS.items():
        for dtype in ("float32", "float64") if name in ("sgd", "adam") else ("float32",):
            for place, position in (("middle", STEPS + 1), ("end", STEPS), ("last", None)):
                model = Model(TRAINED, (3, 3), PLAIN, dtype=dtype, seed=5)
                path = folder / "trainings" / f"{name}-{dtype}-{place}.npz"
                stops = [] if position is None else [StopAt(position), Checkpoint(model, path)]
                model.fit(x, labels, optimizer=optimizer, callbacks=stops, **TRAINING)
            for part in (model.parameters, model.state):
                expected |= {f"{name}-{dtype}/{key}": array for key, array in part.items()}
    np.savez_compressed(folder / "trainings.npz", **expected)


def write_run(folder):
    """A run folder that ended, one that was interrupted, and the parameters that both end with."""
    from arraycnn.cli import cli
    from arraycnn.training.loop import Fitting

    train = lambda out, *more: cli.main(  # noqa: E731
        ["train", *RUN, "--out", str(out), *more], standalone_mode=False
    )
    train(folder / "run", "--log-steps", "--csv")
    run_chunk, chunks = Fitting._run_chunk, []

    def interrupted(fitting):
        chunks.append(fitting)
        if len(chunks) == 3:
            raise KeyboardInterrupt
        run_chunk(fitting)

    Fitting._run_chunk = interrupted
    with suppress(KeyboardInterrupt, SystemExit, click.exceptions.Abort, click.exceptions.Exit):
        train(folder / "interrupted", "--save-every", "1")
    Fitting._run_chunk = run_chunk
    model = Model.load(folder / "run" / "last.npz", backend=PLAIN)
    data = load_dataset("digits")
    loss, test = model.evaluate(data.test_images, data.test_labels).loss, data.test_images[:8]
    arrays = {f"parameters/{name}": array for name, array in model.parameters.items()}
    arrays |= {"images": test, "predictions": model.predict(test), "loss": np.asarray(loss)}
    np.savez_compressed(folder / "run.npz", **arrays)


def write_exports(folder):
    """Weights as safetensors, and a pickled estimator where scikit-learn is there."""
    from arraycnn import CNNClassifier
    from arraycnn.export import export_safetensors

    expected = {}
    for name in ("batch_norm", "conv", "residual"):
        network, shape = LAYER_NETWORKS[name]
        model, x = model_of(network, shape, "float32"), images(network, shape)
        export_safetensors(model, folder / f"{name}.safetensors")
        expected |= {f"{name}/images": x, f"{name}/predictions": model.predict(x)}
    x, y = RNG.integers(0, 256, (40, 6, 6), dtype=np.uint8), np.array(["no", "yes"] * 20)
    classifier = CNNClassifier("scratch", epochs=2, backend=PLAIN, random_state=1).fit(x, y)
    (folder / "estimator.pickle").write_bytes(pickle.dumps(classifier, protocol=4))
    expected |= {"estimator/images": x, "estimator/predictions": classifier.predict_proba(x)}
    np.savez_compressed(folder / "exports.npz", **expected)


def public_names():
    """What programs and users of the shell may name: modules' names, commands, options."""
    from arraycnn.cli import cli

    modules = {
        ".".join(filter(None, ("arraycnn", name))): import_module(
            ".".join(filter(None, ("arraycnn", name)))
        )
        for name in MODULES
    }
    return {
        "modules": {
            name: sorted(
                getattr(module, "__all__", None)
                or [n for n, value in vars(module).items() if _is_own(module, n, value)]
            )
            for name, module in modules.items()
        },
        "lazy": ["CNNClassifier"],
        "commands": {
            name: sorted(
                option
                for parameter in cli.commands[name].params
                for option in (*parameter.opts, *parameter.secondary_opts)
            )
            for name in COMMANDS
        },
    }


def _is_own(module, name, value):
    if name.startswith("_"):
        return False
    return getattr(value, "__module__", None) == module.__name__ or name.isupper()


def pack(folder):
    """The large ones as .xz: they are repeats of few numbers."""
    for path in folder.glob("models/*.npz"):
        if path.stat().st_size > 20_000:
            path.with_name(f"{path.name}.xz").write_bytes(lzma.compress(path.read_bytes()))
            path.unlink()


def main(folder):
    folder.mkdir(parents=True)
    write_models(folder)
    pack(folder)
    write_trainings(folder)
    write_run(folder)
    write_exports(folder)
    about = {"versions": versions(), "machine": machine(), **public_names()}
    (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n")


def machine():
    """What BLAS computes with: where this is another, float sums may round in another way."""
    from threadpoolctl import threadpool_info

    return sorted(
        f"{one.get('internal_api')} {one.get('version')} {one.get('architecture')}"
        for one in threadpool_info()
        if one.get("user_api") == "blas" and "numpy" in one["filepath"]
    )


if __name__ == "__main__":
    print(arraycnn.__file__, file=sys.stderr)
    main(Path(sys.argv[1]).resolve())
