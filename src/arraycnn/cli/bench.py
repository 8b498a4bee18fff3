"""arraycnn bench."""

import time
from collections.abc import Sequence
from typing import Any

import click

from arraycnn.backends import Backend
from arraycnn.backends.backend import DTYPES
from arraycnn.cli import networks, options, user_code
from arraycnn.cli.classifiers import load_model
from arraycnn.cli.console import show, show_json
from arraycnn.cli.import_weights import ImageShape
from arraycnn.cli.networks import Texts, choose, file_of, not_a_network
from arraycnn.cli.training_kit import OPTIMIZERS
from arraycnn.errors import InvalidValueError, RunFolderError
from arraycnn.losses import SoftmaxCrossEntropy
from arraycnn.model.model import Model
from arraycnn.networks import NETWORKS, PIXEL_NETWORKS, listing
from arraycnn.networks.user_code import UserCode
from arraycnn.optimizers.schedules import Constant
from arraycnn.profiling.profile import machine_of, profiled
from arraycnn.report import read_run
from arraycnn.storage.run_folder import read_config
from arraycnn.storage.user_paths import user_path


@click.command()
@click.argument("model")
@click.option(
    "--batch-size",
    "batch_sizes",
    type=click.IntRange(min=1),
    multiple=True,
    help="Images of a step; once for each size.  [default: 64]",
)
@click.option("--training/--inference", default=None, help="Only one of the two.  [default: both]")
@click.option(
    "--optimizer",
    type=click.Choice(list(OPTIMIZERS)),
    help="Whose update is part of a training step.  [default: adamw, or that of the run MODEL]",
)
@click.option(
    "--input-shape",
    type=ImageShape(),
    help="Of a named network's images.  [default: 28x28]",
)
@click.option("--classes", type=click.IntRange(min=1), help="Of a named network.  [default: 10]")
@networks.network_arg
@user_code.code
@click.option("--dtype", type=click.Choice(DTYPES), help="Of a named network.  [default: float32]")
@click.option(
    "--seconds",
    type=options.FiniteFloat(0.0, strict=True),
    default=3.0,
    show_default=True,
    help="About how long to measure each step, once all is compiled.",
)
@click.option(
    "--torch/--no-torch",
    "with_torch",
    default=True,
    help="Whether to run the same network in PyTorch, where it is installed.",
)
@options.backend
@options.as_json
@options.debug
def bench(
    model: str,
    batch_sizes: tuple[int, ...],
    training: bool | None,
    optimizer: str | None,
    input_shape: tuple[int, ...] | None,
    classes: int | None,
    network_arg: Texts,
    code: UserCode,
    dtype: str | None,
    seconds: float,
    with_torch: bool,
    backend: Backend,
    as_json: bool,
) -> None:
    """Show where the time of a step of MODEL goes: each fused loop and operation with a kernel.

    MODEL is a file that train saved, the folder of a run, a network's name, such as lenet5, or
    FILE.py:FUNCTION, your own, whose file is run. Each part is held against what the machine does
    at the most, which is measured in the same run, and the step against the same network in
    PyTorch. Images are random; MODEL stays as it is.
    """
    measured, known = _model(model, backend, input_shape, classes, network_arg, dtype, code)
    rule = optimizer or known or "adamw"
    make, rate = OPTIMIZERS[rule]
    made, now = make(Constant(rate)), time.perf_counter
    machine = machine_of(measured, seconds / 4, now)
    modes = [m for m, wanted in (("train", True), ("infer", False)) if training in (None, wanted)]
    about: dict[str, Any] = {
        "model": model,
        "backend": measured.backend.name,
        "device": measured.backend.device_name,
        "dtype": measured.dtype,
        "input_shape": list(measured.input_shape),
        "optimizer": rule,
    }
    found = []
    if not as_json:
        shape = "x".join(map(str, measured.input_shape))
        show(f"{model}, {shape}, {measured.dtype}, {about['device']}, {rule}")
    for mode in modes:
        for size in dict.fromkeys(batch_sizes or (64,)):
            result = profiled(measured, mode, size, made, seconds, machine, with_torch, now)
            found.append(result.to_plain())
            if not as_json:
                show("")
                _show_lines(str(result).splitlines())
    if as_json:
        show_json(about | {"profiles": found})


def _show_lines(lines: Sequence[str]) -> None:
    for line in lines:
        show(line)


def _model(
    name: str,
    backend: Backend,
    input_shape: tuple[int, ...] | None,
    classes: int | None,
    texts: Texts,
    dtype: str | None,
    code: UserCode,
) -> tuple[Model, str | None]:
    """The model, and the optimizer of the run that it is of."""
    path = user_path(name)
    named = name in NETWORKS | PIXEL_NETWORKS or file_of(name)
    if not path.exists() and named:
        shape = (*(input_shape or (28, 28)), 1)[:3]
        network = choose(name).build(texts, classes=classes or 10, input_shape=shape)
        loss = SoftmaxCrossEntropy(per_pixel=name in PIXEL_NETWORKS)
        return Model(network, shape, backend, dtype=dtype or "float32", loss=loss), None
    given = {
        "--input-shape": input_shape,
        "--classes": classes,
        "--network-arg": texts or None,
        "--dtype": dtype,
    }
    wrong = [option for option, value in given.items() if value is not None]
    if wrong:
        known = listing(NETWORKS | PIXEL_NETWORKS)
        message = (
            f"bench: {', '.join(wrong)} belongs to a named network ({known}), got {name}; "
            "leave it out"
        )
        raise InvalidValueError(message)
    if not path.exists():
        message = (
            f"bench: MODEL must be a model file, a run folder or a network, got {name}, and no "
            f"such path exists: {not_a_network(name)}"
        )
        raise InvalidValueError(message)
    if path.is_dir():
        run = read_run(path)
        return load_model(run.model_file, backend, code), _optimizer_of(run.config)
    try:
        config = read_config(path.parent)
    except RunFolderError:  # a file may lie in any folder
        config = {}
    return load_model(path, backend, code), _optimizer_of(config)


def _optimizer_of(config: dict[str, Any]) -> str | None:
    """The optimizer of the run with the settings ``config``, where they name one."""
    name = config.get("optimizer")
    return name if isinstance(name, str) and name in OPTIMIZERS else None
