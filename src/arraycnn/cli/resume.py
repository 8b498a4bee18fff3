"""``--resume``: the settings of a run become the defaults of the options, and what may differ."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from arraycnn.cli.console import notice
from arraycnn.cli.networks import ChosenNetwork, file_of
from arraycnn.data import DataSet
from arraycnn.errors import RunFolderError, UnknownClassError
from arraycnn.model.class_names import in_the_models_numbers
from arraycnn.model.label_inputs import label_kind
from arraycnn.model.model import Model
from arraycnn.networks.user_code import UserCode
from arraycnn.storage.run_folder import SAMPLING, RunFolder, limited, read_config, sampling_of
from arraycnn.training.state import TrainingState

# Where and how it runs, not what comes out; and what `check_network` looks at.
FREE = {"backend", "data_dir", "save_every", "network_sha256", "layers"}
# The parameters came from these.
FIXED = {"network", "network_arg", "seed", "from_model", "augment"}

_FIXED_REMEDY = "that cannot change within a run: leave it out, or begin a new run"


def take_defaults(context: click.Context, _: click.Parameter, run: Path | None) -> Path | None:
    """Callback of the option: what the command line leaves out is as it was."""
    if run is not None:
        context.default_map = {
            name: value for name, value in read_config(run).items() if value is not None
        }
    return run


def check_network(run: Path, network: ChosenNetwork, override: bool) -> None:
    """Refuse a network that is not the run's, or, unless ``override``, whose file has changed."""
    config = read_config(run)
    named, before = config.get("network"), config.get("network_sha256")
    if (
        isinstance(named, str)
        and named != network.name
        and not _is_one_function(named, network.name)
    ):
        message = f"run folder {run}: {_difference('network', named, network.name)}"
        raise RunFolderError(f"{message}; {_FIXED_REMEDY}")
    now = network.code.sha256
    if None not in (before, now) and before != now and not override:
        message = (
            f"run folder {run}: the network file {network.code.path} is not as it was when the run "
            f"began (its SHA-256 was {str(before)[:12]}, is {str(now)[:12]}); restore it, or add "
            "--override if it still builds the same network"
        )
        raise RunFolderError(message)


def as_the_run_has_it(
    run: Path | None, data: DataSet, limit: int | None, seed: int, code: UserCode
) -> tuple[DataSet, str]:
    """``data`` limited, and in the numbers of the classes of the ``run`` to resume; how it is drawn.

    Raises DataError where the run's model does not know a class, and RunFolderError where its labels
    are of another kind.
    """
    sampling = SAMPLING
    if run is not None:
        sampling = sampling_of(read_config(run))
        if (run / "last.npz").exists():
            with _its_classes(run, code):
                saved = Model.load(run / "last.npz", layers=code.layers, losses=code.losses)
            if label_kind(saved.loss) != data.kind:
                message = (
                    f"run folder {run}: --loss was one of other labels, {type(saved.loss).__name__}"
                )
                raise RunFolderError(f"{message}; {_FIXED_REMEDY}")
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
        free = free | {"dataset"}  # it lies elsewhere, and is the same
    if None not in (before.get("network"), now.get("network")):
        free = free | {"network"}  # `check_network` has looked at both
    differing = [
        name for name in now if name in before and name not in free and now[name] != before[name]
    ]
    differences = [_difference(name, before[name], now[name]) for name in differing]
    if fixed := [text for name, text in zip(differing, differences, strict=True) if name in FIXED]:
        message = f"run folder {run}: {'; '.join(fixed)}; {_FIXED_REMEDY}"
        raise RunFolderError(message)
    if differences and not override:
        message = (
            f"run folder {run}: a run resumes with the settings it began with: "
            f"{'; '.join(differences)}; leave that out, or add --override"
        )
        raise RunFolderError(message)
    return differences


def _is_one_function(one: str, other: str) -> bool:
    """Whether both are of the same function in a file, which may lie elsewhere now."""
    is_of_files = bool(file_of(one) and file_of(other))
    return is_of_files and one.rpartition(":")[2] == other.rpartition(":")[2]


@contextmanager
def _its_classes(run: Path, code: UserCode) -> Iterator[None]:
    try:
        yield
    except UnknownClassError as error:
        message = (
            f"run folder {run}: last.npz has the {error.what}, which {code.path or 'no file'} does "
            "not define; restore the network file as it was"
        )
        raise RunFolderError(message) from error


def _difference(name: str, before: Any, now: Any) -> str:
    if name == "data_sha256":
        return (
            f"the data was {str(before)[:12]}, got {str(now)[:12]} (digests of the training images "
            "and labels, which are no longer the same)"
        )
    before, now = (" ".join(v) or "none" if isinstance(v, list) else v for v in (before, now))
    options = {option.name: option.opts[0] for option in click.get_current_context().command.params}
    return f"{options.get(name, name)} was {before}, got {now}"


def is_finished(folder: RunFolder) -> bool:
    """Whether the run came to its end: of its epochs, or of its patience."""
    summary = folder.read_summary()
    return summary is not None and summary.get("ended_by") != "time limit"


def load_last(
    folder: RunFolder, fresh: Model, code: UserCode
) -> tuple[Model, TrainingState | None]:
    """The model and the training that the run saved last; ``fresh`` where it saved none yet."""
    if not folder.last.exists():
        notice(f"run folder {folder.path}: holds no save yet, begins anew")
        return fresh, None
    with _its_classes(folder.path, code):
        model, training = Model.load_training(
            folder.last, backend=fresh.backend, layers=code.layers, losses=code.losses
        )
    if model.network != fresh.network or model.input_shape != fresh.input_shape:
        message = (
            f"run folder {folder.path}: last.npz holds {model.network!r} for images of "
            f"{model.input_shape}, and config.json asks for {fresh.network!r} for "
            f"{fresh.input_shape}; restore the file that belongs there"
        )
        raise RunFolderError(message)
    model.loss = fresh.loss  # where it is another, fit compares, and says so
    return model, training
