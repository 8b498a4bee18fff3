"""arraycnn predict."""

from pathlib import Path

import click
import numpy as np

from arraycnn.cli import options
from arraycnn.cli.console import show, show_json
from arraycnn.image_files import read_image
from arraycnn.model import Model

_SHOWN = 3


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--invert", is_flag=True, help="Swap dark and light: MNIST's digits are white on black."
)
@options.backend
@options.as_json
@options.debug
def predict(
    model: Path, images: tuple[Path, ...], invert: bool, backend: str, as_json: bool
) -> None:
    """Say what MODEL sees in each picture (PNG or JPEG)."""
    trained = Model.load(model, backend=backend)
    pictures = np.stack([read_image(path, trained.input_shape, invert) for path in images])
    names = trained.class_names or tuple(str(number) for number in range(trained.classes))
    rows = trained.predict(pictures)
    if as_json:
        show_json(
            [
                {
                    "image": str(path),
                    "class": names[int(row.argmax())],
                    "probability": float(row.max()),
                    "probabilities": {n: float(p) for n, p in zip(names, row, strict=True)},
                }
                for path, row in zip(images, rows, strict=True)
            ]
        )
        return
    for path, row in zip(images, rows, strict=True):
        likely = row.argsort()[::-1][:_SHOWN]
        chances = ", ".join(f"{names[number]} {row[number]:.1%}" for number in likely)
        show(f"{path}: {names[likely[0]]} ({chances})")
