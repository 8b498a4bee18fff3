"""``--resume``: the settings of a run become the defaults of the options, and what may differ."""

from pathlib import Path
from typing import Any

import click

from arraycnn.cli.classifiers import load_classifier
from arraycnn.cli.console import notice
from arraycnn.data import DataSet
from arraycnn.errors import RunFolderError
from arraycnn.model.class_names import in_the_models_numbers
from arraycnn.model.model import Model
from arraycnn.storage.run_folder import SAMPLING, RunFolder, limited, read_config, sampling_of
from arraycnn.training.state import TrainingState

# Where and how it runs: not what comes out.
FREE = {"backend", "data_dir", "save_every"}
# The parameters came from these.
FIXED = {"network", "seed", "from_model"}


def take_defaults(context: click.Context, _: click.Parameter, run: Path | None) -> Path | None:
    """Callback of the option: what the command line leaves out is as it was."""
    if run is not None:
        context.default_map = {
            name: value for name, value in read_config(run).items() if value is not None
        }
    return run


def as_the_run_has_it(
    run: Path | None, data: DataSet, limit: int | None, seed: int
) -> tuple[DataSet, str]:
    """``data`` limited, and in the numbers of the classes of the ``run`` to resume; how it is drawn.

    Raises DataError where the run's model does not know a class, and InvalidValueError where it is no
    classifier.
    """
    sampling = SAMPLING
    if run is not None:
        sampling = sampling_of(read_config(run))
        if (run / "last.npz").exists():
            saved = load_classifier(run / "last.npz")
            data, said = in_the_models_numbers(data, saved.class_names, saved.classes)
            if said:
                notice(said)
    return limited(data, limit, seed, sampling), sampling


def check_settings(
    run: Path, before: dict[str, Any], now: dict[str, Any], override: bool
) -> list[str]:
    """The differences in words.

    Raises RunFolderError where there are some that ``override`` does not allow.
    """
    free = FREE
    if now.get("data_sha256") == before.get("data_sha256"):
        free = FREE | {"dataset"}  # it lies elsewhere, and is the same
    differing = [
        name for name in now if name in before and name not in free and now[name] != before[name]
    ]
    differences = [_difference(name, before[name], now[name]) for name in differing]
    if fixed := [text for name, text in zip(differing, differences, strict=True) if name in FIXED]:
        message = (
            f"run folder {run}: {'; '.join(fixed)}; that cannot change within a run: "
            "leave it out, or begin a new run"
        )
        raise RunFolderError(message)
    if differences and not override:
        message = (
            f"run folder {run}: a run resumes with the settings it began with: "
            f"{'; '.join(differences)}; leave that out, or add --override"
        )
        raise RunFolderError(message)
    return differences


def _difference(name: str, before: Any, now: Any) -> str:
    if name == "data_sha256":
        return (
            f"the data was {str(before)[:12]}, got {str(now)[:12]} (digests of the training images "
            "and labels, which are no longer the same)"
        )
    options = {option.name: option.opts[0] for option in click.get_current_context().command.params}
    return f"{options.get(name, name)} was {before}, got {now}"


def is_finished(folder: RunFolder) -> bool:
    """Whether the run came to its end: of its epochs, or of its patience."""
    summary = folder.read_summary()
    return summary is not None and summary.get("ended_by") != "time limit"


def load_last(folder: RunFolder, fresh: Model) -> tuple[Model, TrainingState | None]:
    """The model and the training that the run saved last; ``fresh`` where it saved none yet."""
    if not folder.last.exists():
        notice(f"run folder {folder.path}: holds no save yet, begins anew")
        return fresh, None
    model, training = Model.load_training(folder.last, backend=fresh.backend)
    if model.network != fresh.network or model.input_shape != fresh.input_shape:
        message = (
            f"run folder {folder.path}: last.npz holds {model.network!r} for images of "
            f"{model.input_shape}, and config.json asks for {fresh.network!r} for "
            f"{fresh.input_shape}; restore the file that belongs there"
        )
        raise RunFolderError(message)
    model.loss = fresh.loss  # where it is another, fit compares, and says so
    return model, training
