"""Networks for images of some 28 x 28 pixels: one that learns in seconds, one that errs rarely."""

from arraycnn.errors import InvalidValueError
from arraycnn.layers import (
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool2d,
    ReLU,
    Rescale,
    Sequential,
)
from arraycnn.setting_checks import check_count, check_number


def fast_cnn(classes: int = 10) -> Sequential:
    """Two convolutions, each pooled, and a dense layer; batch norm behind each.

    Without batch norm that of T. Tuomas' record, "Training MNIST to 99 % in 0.76 seconds", 2022: 24
    filters of 5 x 5, 32 of 3 x 3, 256 outputs; 215,000 parameters for images of 28 x 28 pixels.
    """
    return Sequential(
        Rescale(),
        *_normalised(Conv2d(24, 5, bias=False, initial="he_normal")),
        MaxPool2d(2),
        *_normalised(Conv2d(32, 3, bias=False, initial="he_normal")),
        MaxPool2d(2),
        Flatten(),
        *_normalised(Dense(256, bias=False, initial="he_normal")),
        Dense(classes),
    )


def strided_cnn(classes: int = 10, width: int = 32, dropout: float = 0.0) -> Sequential:
    """Seven convolutions, of which two halve the image, and no pool: 326,420 parameters.

    C. Deotte, "25 million images! 0.99757 MNIST", 2018: twice 3 x 3, 3 x 3, 5 x 5 with stride 2 and
    dropout, then 4 x 4; batch norm behind each ReLU. The logits are normalised, too, as by An et al.,
    "An ensemble of simple convolutional neural network models for MNIST", 2020.

    Parameters
    ----------
    width : int
        Filters of the first three convolutions; the next three have twice, the last four times as many.
    dropout : float
        Its rate, three times; in [0, 1). Deotte's is 0.4; images that are turned and shifted while
        training, as in the recipe best-mnist, do better without (docs/PERFORMANCE.md).
    """
    check_count("strided_cnn: width", width)
    check_number("strided_cnn: dropout", dropout, minimum=0.0)
    if dropout >= 1.0:
        message = f"strided_cnn: dropout must be below 1, got {dropout!r}"
        raise InvalidValueError(message)

    def stage(filters: int) -> list[Layer]:
        return [
            *_activated(Conv2d(filters, 3, initial="he_normal")),
            *_activated(Conv2d(filters, 3, initial="he_normal")),
            *_activated(Conv2d(filters, 5, 2, padding="same", initial="he_normal")),
            Dropout(dropout),
        ]

    return Sequential(
        Rescale(),
        *stage(width),
        *stage(2 * width),
        *_activated(Conv2d(4 * width, 4, initial="he_normal")),
        Flatten(),
        Dropout(dropout),
        Dense(classes, bias=False),
        BatchNorm(),
    )


def _normalised(layer: Layer) -> list[Layer]:
    return [layer, BatchNorm(), ReLU()]


def _activated(layer: Layer) -> list[Layer]:
    return [layer, ReLU(), BatchNorm()]
