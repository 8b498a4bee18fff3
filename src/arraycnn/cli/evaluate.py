"""arraycnn evaluate."""

from pathlib import Path

import click

from arraycnn.cli import options
from arraycnn.cli.console import counting_bar, download_bar, show, show_json
from arraycnn.data import load_dataset
from arraycnn.model import Model


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@options.dataset
@options.data_dir
@options.backend
@options.limit
@options.as_json
@options.debug
def evaluate(
    model: Path,
    dataset: str,
    data_dir: Path | None,
    backend: str,
    limit: int | None,
    as_json: bool,
) -> None:
    """Measure MODEL, a file that train saved, on a data set's test images."""
    trained = Model.load(model, backend=backend)
    with download_bar() as progress:
        data = load_dataset(dataset, data_dir, progress)
    if limit is not None:
        data = data.limited(limit)
    with counting_bar("testing", len(data.test_images)) as progress:
        metrics = trained.evaluate(data.test_images, data.test_labels, progress)
    if as_json:
        show_json(
            {
                "model": str(model),
                "dataset": dataset,
                "images": len(data.test_images),
                "loss": metrics.loss,
                "accuracy": metrics.accuracy,
                "backend": trained.backend.name,
                "device": trained.backend.device_name,
            }
        )
        return
    show(
        f"test loss {metrics.loss:.4f}  test accuracy {metrics.accuracy:.2%}  "
        f"on {len(data.test_images)} images"
    )
