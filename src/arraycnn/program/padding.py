"""Whether images may be added to a batch without a change to what the others give."""

from __future__ import annotations

from typing import Any

import numpy as np

from arraycnn.layers.layer import Layer, Shape, Tree
from arraycnn.program.effects import in_dtype, trial_batch
from arraycnn.program.interpret import interpret
from arraycnn.program.steps import inference_program, named
from arraycnn.training.step import Carry


def takes_more_images(network: Layer, params: Tree, state: Tree, image: Shape, uint8: bool) -> bool:
    """Whether a pass forward gives for two images what it gives with a third behind them.

    A layer that takes a mean over the batch, or divides by the number of images, is found so.
    """
    params, state = in_dtype(params, "float64"), in_dtype(state, "float64")
    given = named(Carry(params, state, {}))
    images = trial_batch(image, uint8, "float64")["images"]

    def outputs(images: np.ndarray) -> dict[str, Any]:
        program = inference_program(network, params, state, images, "float64")
        return interpret(program, {"images": images, **given})

    few, more = outputs(images), outputs(np.concatenate([images, 1 - images[-1:]]))
    return all(
        np.allclose(array, more[name][: len(images)], rtol=1e-9, atol=1e-9, equal_nan=True)
        for name, array in few.items()
    )
