"""Regression: where in a larger picture a digit stands, row and column.

python examples/regression.py
"""

import numpy as np

import arraycnn as cnn
from arraycnn.data import load_dataset


def placed(digits, seed):
    """(pictures of 16x16 pixels, rows and columns): each of the digits at a place by chance."""
    places = np.random.default_rng(seed).integers(0, 9, (len(digits), 2))
    pictures = np.zeros((len(digits), 16, 16, 1), np.uint8)
    for picture, digit, (row, column) in zip(pictures, digits, places, strict=True):
        picture[row : row + 8, column : column + 8] = digit
    return pictures, places.astype(float)


def run(images=1437, epochs=8, backend="numpy"):
    """Train and test; the mean error, in pixels."""
    data = load_dataset("digits")
    network = cnn.Sequential(
        *(cnn.Rescale(), cnn.Conv2d(16, 3, padding="same"), cnn.ReLU(), cnn.MaxPool2d(2)),
        *(cnn.Conv2d(32, 3, padding="same"), cnn.ReLU(), cnn.MaxPool2d(2)),
        *(cnn.Flatten(), cnn.Dense(64), cnn.ReLU(), cnn.Dense(2)),  # as many outputs as numbers
    )
    model = cnn.Model(network, (16, 16), backend, loss=cnn.Huber())
    pictures, places = placed(data.train_images[:images], seed=1)
    model.fit(pictures, places, epochs=epochs, optimizer=cnn.AdamW(cnn.OneCycle(0.01)))
    return model.evaluate(*placed(data.test_images, seed=2)).others["mean_absolute_error"]


if __name__ == "__main__":
    print(f"off by {run():.2f} pixels on average")
