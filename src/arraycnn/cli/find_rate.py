"""arraycnn find-rate."""

from pathlib import Path
from typing import Any

import click

from arraycnn.backends import Backend
from arraycnn.cli import augmentation, losses, options
from arraycnn.cli.console import counted, notice, show, show_json
from arraycnn.cli.model_for_data import check_labels, model_for
from arraycnn.cli.networks import Texts, choose, network, network_arg
from arraycnn.cli.training_data import prepare
from arraycnn.cli.training_kit import OPTIMIZERS
from arraycnn.cli.user_code import blaming
from arraycnn.model.rate_search import check_bounds, find_learning_rate
from arraycnn.model.with_augmentation import with_augmentation
from arraycnn.optimizers.schedules import Constant
from arraycnn.storage.atomic_writes import write_atomically

_KINDS = (".png", ".svg")


@click.command()
@options.dataset
@options.data_dir
@options.image_size
@options.skip_damaged
@network
@network_arg
@augmentation.augment
@losses.loss_options
@options.backend
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True)
@click.option(
    "--optimizer", type=click.Choice(list(OPTIMIZERS)), default="adamw", show_default=True
)
@click.option(
    "--lowest",
    type=options.FiniteFloat(0.0, strict=True),
    default=1e-6,
    show_default=True,
    help="The rate of the first step.",
)
@click.option(
    "--highest",
    type=options.FiniteFloat(0.0, strict=True),
    default=10.0,
    show_default=True,
    help="That of the last one, unless the loss rises to 4 times its lowest before.",
)
@click.option("--steps", type=click.IntRange(min=10), default=200, show_default=True)
@options.seed
@options.limit
@click.option(
    "--plot",
    type=options.UserPath(dir_okay=False),
    metavar="FILE",
    help=f"Draw the losses to a file that ends in {' or '.join(_KINDS)}.",
)
@options.as_json
@options.debug
def find_rate(
    dataset: str,
    data_dir: Path | None,
    image_size: tuple[int, int] | None,
    skip_damaged: bool,
    network: str,
    network_arg: Texts,
    backend: Backend,
    batch_size: int,
    optimizer: str,
    lowest: float,
    highest: float,
    steps: int,
    seed: int,
    limit: int | None,
    plot: Path | None,
    as_json: bool,
    augment: tuple[str, ...],
    **loss_settings: Any,
) -> None:
    """Train for some steps at rates that rise, and show where the loss falls fastest.

    That is a --learning-rate for `arraycnn train`, whose schedules end far below it. Nothing is kept.
    """
    check_bounds(lowest, highest, owner="--")
    if plot is not None and plot.suffix.lower() not in _KINDS:
        message = f"--plot must end in {' or '.join(_KINDS)}, got {plot}"
        raise click.UsageError(message)
    if plot is not None:
        from arraycnn.report.figures import require_matplotlib

        require_matplotlib()  # before the training
    chosen = choose(network)
    chosen_loss = losses.choose_loss(loss_settings, chosen.code)
    check_labels(chosen, chosen_loss)
    texts = augmentation.texts_of(augment, dataset, network, False, chosen_loss.labels)
    prepared = prepare(
        *(dataset, data_dir, image_size, skip_damaged),
        resume=None,
        limit=limit,
        seed=seed,
        validation=None,
        code=chosen.code,
        labels=chosen_loss.labels,
    )
    loss = losses.loss_of(loss_settings, chosen_loss, prepared.data, prepared.labels)
    make, _ = OPTIMIZERS[optimizer]
    with blaming(chosen.code):
        model = model_for(prepared.data, chosen, network_arg, backend, seed, loss)
        if texts:
            model = with_augmentation(model, *augmentation.layers_of(texts))
        found = find_learning_rate(
            *(model, prepared.images, prepared.labels),
            optimizer=make(Constant(lowest)),
            batch_size=min(batch_size, len(prepared.labels)),
            lowest=lowest,
            highest=highest,
            steps=steps,
        )
    if plot is not None:
        from arraycnn.report.figures import to_png, to_svg
        from arraycnn.report.rate_chart import plot_rate_search

        encoded = to_png if plot.suffix.lower() == ".png" else to_svg
        write_atomically(plot, encoded(plot_rate_search(found)))
        notice(f"the losses are drawn in {plot}")
    if as_json:
        rows = zip(found.rates.tolist(), found.losses.tolist(), strict=True)
        steps_run = [{"learning_rate": rate, "loss": loss} for rate, loss in rows]
        show_json({"suggestion": found.suggestion, "diverged": found.diverged, "steps": steps_run})
        return
    for place in sorted({*range(0, len(found.rates), max(1, steps // 10)), len(found.rates) - 1}):
        show(f"rate {found.rates[place]:9.3g}  loss {found.smoothed[place]:.4f}")
    if found.diverged:
        show(f"the loss rose from there on, after {counted(len(found.rates), 'step')}")
    show(f"the loss falls fastest at {found.suggestion:.2g}")
