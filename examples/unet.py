"""A U-Net: which pixels of a noisy picture belong to the digit.

python examples/unet.py
"""

import numpy as np

import arraycnn as cnn
from arraycnn.data import load_dataset


def convolved(filters):
    return cnn.Conv2d(filters, 3, padding="same", bias=False), cnn.BatchNorm(), cnn.ReLU()


def level(filters, below):
    """What is done at one size; the inside, at half of it, stands beside a way around."""
    if not below:
        return convolved(filters)
    inside = cnn.MaxPool2d(2), *level(2 * filters, below - 1), cnn.ConvTranspose2d(filters, 2, 2)
    around = cnn.Concatenate(cnn.Identity(), cnn.Sequential(*inside))
    return *convolved(filters), around, *convolved(filters)


def run(images=1437, epochs=5, backend="numpy"):
    """Train and test; the share of pixels that are told rightly."""
    data, rng = load_dataset("digits"), np.random.default_rng(0)
    masks = [(x[..., 0] > 100).astype(int) for x in (data.train_images, data.test_images)]
    train, test = (x + rng.normal(0, 80, x.shape) for x in (data.train_images, data.test_images))
    network = cnn.Sequential(*level(8, below=2), cnn.Conv2d(2, 1))  # two logits for each pixel
    loss = cnn.SoftmaxCrossEntropy(per_pixel=True)
    model = cnn.Model(network, (8, 8), backend, loss=loss)
    optimizer = cnn.AdamW(cnn.OneCycle(0.01))
    model.fit(train[:images] / 255, masks[0][:images], epochs=epochs, optimizer=optimizer)
    return model.evaluate(test / 255, masks[1]).accuracy


if __name__ == "__main__":
    print(f"{run():.1%} of the pixels are right")
