"""arraycnn train."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from arraycnn.backends import Backend
from arraycnn.cli import augmentation, fine_tuning, losses, options, ranks, recipes, training_kit
from arraycnn.cli.classifiers import load_model
from arraycnn.cli.console import show
from arraycnn.cli.fine_tuning import Tuning
from arraycnn.cli.measures import check_monitor
from arraycnn.cli.model_for_data import check_labels, model_for
from arraycnn.cli.networks import OF_A_FILE, Texts, choose, network, network_arg
from arraycnn.cli.resume import (
    check_network,
    check_settings,
    is_finished,
    load_last,
    take_defaults,
)
from arraycnn.cli.run import Job, carry_out, follow, say_finished
from arraycnn.cli.training_data import prepare
from arraycnn.cli.training_kit import OPTIMIZERS, SCHEDULES
from arraycnn.cli.user_code import blaming
from arraycnn.model.with_augmentation import with_augmentation
from arraycnn.storage.run_folder import RunFolder, new_run_path, read_config

# Small sets need more passes.
EPOCHS = {"digits": 16, "mnist": 3, "fashion-mnist": 5}
_OF_THIS_COMMAND = (
    *("resume", "show", "override", "out", "as_json", "time_limit"),
    *ranks.OPTIONS,
)


@click.command()
@click.option(
    "--resume",
    type=options.UserPath(),
    is_eager=True,
    callback=take_defaults,
    metavar="RUN",
    help="Go on with the run in folder RUN from its last save; settings are as they were.",
)
@recipes.recipe
@recipes.show
@click.option(
    "--override",
    is_flag=True,
    help="With --resume: let the settings given here differ.",
)
@options.dataset
@options.data_dir
@options.image_size
@options.skip_damaged
@network
@network_arg
@augmentation.augment
@fine_tuning.from_model
@fine_tuning.layers
@fine_tuning.freeze
@fine_tuning.rate_scale
@fine_tuning.no_decay
@training_kit.kit
@losses.loss_options
@options.backend
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help=f"Passes over the training images.  [default: {EPOCHS}]".replace("'", ""),
)
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True)
@click.option(
    "--optimizer",
    type=click.Choice(list(OPTIMIZERS)),
    default="adamw",
    show_default=True,
    help="momentum is SGD with Nesterov momentum 0.9.",
)
@click.option(
    "--learning-rate",
    type=options.FiniteFloat(0.0, strict=True),
    callback=recipes.own_rate,
    help="The highest of the schedule.  [default: 0.003 adam, adamw; 0.1 sgd; 0.03 momentum; "
    "0.002 lion; 0.02 muon]",
)
@click.option(
    "--schedule",
    type=click.Choice(SCHEDULES),
    default="one-cycle",
    show_default=True,
    help="step divides the rate by 10 after each third of the training; exponential by 100, little by "
    f"little; plateau by 10 after {training_kit.PLATEAU_EPOCHS} epochs without a better --monitor.",
)
@click.option(
    "--validation",
    type=options.FiniteFloat(0.0, below=1.0),
    help="Share of the training images held out to watch the training; the test images are not.  "
    "[default: the set's own validation part where it has one, else 1/12]",
)
@click.option(
    "--monitor",
    default="validation_loss",
    show_default=True,
    metavar="METRIC",
    help="What best.npz and --patience go by: validation_loss, or validation_ and what the loss "
    "measures, such as validation_accuracy, validation_f1, validation_mean_absolute_error.",
)
@click.option(
    "--patience",
    type=click.IntRange(min=1),
    metavar="EPOCHS",
    help="Stop after so many epochs without a better one.",
)
@click.option(
    "--time-limit",
    type=options.FiniteFloat(0.0, strict=True),
    metavar="SECONDS",
    help="Stop training after that time, and measure; --resume goes on.",
)
@click.option(
    "--save-every",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="Save within epochs, too, each time so many steps are done.",
)
@options.seed
@options.limit
@ranks.distributed
@ranks.deterministic
@click.option("--log-steps", is_flag=True, help="Write every step's loss to steps.jsonl.")
@click.option("--csv", is_flag=True, help="Write metrics.csv, a table of the epochs.")
@click.option("--tensorboard", is_flag=True, help="Write event files to the folder tensorboard/.")
@click.option(
    "--out",
    type=options.UserPath(),
    help="Folder for the run, new or empty.  [default: runs/DATASET-NETWORK-DATE-TIME]",
)
@options.as_json
@options.debug
def train(
    resume: Path | None,
    override: bool,
    dataset: str,
    data_dir: Path | None,
    image_size: tuple[int, int] | None,
    skip_damaged: bool,
    network: str,
    network_arg: Texts,
    backend: Backend,
    epochs: int | None,
    batch_size: int,
    optimizer: str,
    learning_rate: float | None,
    schedule: str,
    validation: float | None,
    monitor: str,
    patience: int | None,
    time_limit: float | None,
    save_every: int | None,
    seed: int,
    limit: int | None,
    log_steps: bool,
    csv: bool,
    tensorboard: bool,
    out: Path | None,
    as_json: bool,
    **tuned: Any,
) -> None:
    """Train a network and measure it once on the test images.

    Without options: the digits that ship inside, 16 epochs, about a second. Ctrl-C or SIGTERM
    finishes the steps under way and saves; --resume goes on from there.
    """
    context = click.get_current_context()
    _check_together(context.params)
    recipes.check_alone(context)
    texts = [f"{name}={text}" for name, text in network_arg]
    if tuned["show"]:
        show(recipes.in_full(context, run_config(context.params, network_arg=texts)))
        return
    team = ranks.ranks_of(tuned)
    backend = team.backend(backend)
    chosen = choose(network, tuned["layers"])
    if resume is not None:
        check_network(resume, chosen, override)
    chosen_loss = losses.choose_loss(tuned, chosen.code)
    check_labels(chosen, chosen_loss)
    prepared = prepare(
        *(dataset, data_dir, image_size, skip_damaged),
        resume=resume,
        limit=limit,
        seed=seed,
        validation=validation,
        code=chosen.code,
        labels=chosen_loss.labels,
    )
    data, validation = prepared.data, prepared.share
    tuning, loss = Tuning.of(tuned), losses.loss_of(tuned, chosen_loss, data, prepared.labels)
    check_monitor(monitor, loss)
    begun = None if resume is None else resume / "last.npz"
    if tuning.from_model is None:
        with blaming(chosen.code):
            model = model_for(data, chosen, network_arg, backend, seed, loss)
    elif begun is not None and begun.exists():  # the file that it began with may be gone
        model = load_model(begun, backend, chosen.code)
        model.loss = loss
    else:
        model = tuning.model(data, backend, seed, loss, chosen.code)
    name = network if tuning.from_model is None else None
    augment = augmentation.texts_of(
        *(tuned["augment"], dataset, name, resume is not None), chosen_loss.labels
    )
    if augment:
        model = with_augmentation(model, *augmentation.layers_of(augment))
    epochs = EPOCHS.get(dataset, EPOCHS["digits"]) if epochs is None else epochs
    batch_size = min(batch_size, len(prepared.labels))
    training_kit.check_accumulate(tuned["accumulate"], batch_size)
    make_optimizer, usual_rate = OPTIMIZERS[optimizer]
    learning_rate = usual_rate if learning_rate is None else learning_rate
    steps = epochs * -(-len(prepared.labels) // batch_size)
    config = run_config(
        context.params,
        augment=list(augment),
        epochs=epochs,
        learning_rate=learning_rate,
        backend=backend.name,
        batch_size=batch_size,
        validation=validation,
        network_arg=texts,
        network_sha256=chosen.code.sha256,
        data_sha256=team.digest(data, with_validation=prepared.watches_own_part),
        sampling=prepared.sampling,
        network=name,
        from_sha256=tuning.digest(resume),
    )
    rates = training_kit.schedule_of(context.params, learning_rate, steps, epochs)
    rule = training_kit.around(tuning.optimizer(make_optimizer(rates), model), tuned, steps)
    team.check(config)
    job = Job(
        config=config,
        code=chosen.code,
        model=model,
        override=override,
        images=prepared.images,
        labels=prepared.labels,
        validation=prepared.validation,
        test=(data.test_images, data.test_labels),
        optimizer=rule,
        time_limit=time_limit,
        ranks=team,
    )
    if not team.leads:
        with blaming(chosen.code):
            follow(job)
        return
    if resume is None:
        called = chosen.function if tuning.from_model is None else "tuned"
        out = out if out is not None else new_run_path(f"{data.name}-{called}")
        folder = RunFolder.create(out, config)
    else:
        folder = RunFolder.open(resume)
    with folder:
        if resume is not None:
            differences = check_settings(folder.path, read_config(folder.path), config, override)
            if is_finished(folder) and not differences:
                team.agreed(False)
                say_finished(folder, as_json)
                return
            model, training = load_last(folder, model, chosen.code)
            job = replace(job, model=model, training=training)
            folder.remove_summary()
            folder.write_config(config)
        beginning: AbstractContextManager[None] = nullcontext()
        if resume is None:
            beginning = folder.beginning(lambda: model.steps_done)
        with beginning, blaming(chosen.code):
            carry_out(replace(job, folder=folder), as_json)


def _check_together(given: dict[str, Any]) -> None:
    """Refuse options that make no sense together."""
    if given["resume"] is not None and given["out"] is not None:
        message = "--out and --resume exclude each other: a run goes on in its own folder"
        raise click.UsageError(message)
    source_of = click.get_current_context().get_parameter_source
    sources = {source_of(name) for name in ("network", "network_arg")}
    if given["from_model"] is not None and ParameterSource.COMMANDLINE in sources:
        message = "--network and --from exclude each other: the network is that of the model"
        raise click.UsageError(message)
    if given["layers"] is not None and given["from_model"] is None:
        message = (
            f"--layers needs --from MODEL: a network of your own is named by --network {OF_A_FILE}"
        )
        raise click.UsageError(message)
    training_kit.check_together(given)
    if given["override"] and given["resume"] is None:
        message = "--override needs --resume RUN"
        raise click.UsageError(message)
    if given["patience"] is not None and given["validation"] == 0:
        message = "--patience needs images to watch: give --validation a share above 0"
        raise click.UsageError(message)


def run_config(settings: dict[str, Any], **resolved: Any) -> dict[str, Any]:
    """The settings of a run for JSON, defaults made explicit, each as its option takes it."""
    kept = {name: value for name, value in settings.items() if name not in _OF_THIS_COMMAND}
    return {name: _plain(value) for name, value in sorted((kept | resolved).items())}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):  # of --image-size, or of an option given several times
        is_size = any(isinstance(item, int) for item in value)
        return "x".join(map(str, value)) if is_size else list(value)
    return str(value) if isinstance(value, Path) else value
