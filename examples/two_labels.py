"""Two labels an image, each of which it has or has not: a digit that is even, one with a loop.

python examples/two_labels.py
"""

import numpy as np

import arraycnn as cnn
from arraycnn.data import load_dataset


def labels_of(digits):
    return np.stack([digits % 2 == 0, np.isin(digits, (0, 6, 8, 9))], axis=1).astype(float)


def run(images=1437, epochs=5, backend="numpy"):
    """Train and test; the measures by name."""
    data = load_dataset("digits")
    network = cnn.Sequential(
        *(cnn.Rescale(), cnn.Conv2d(16, 3, padding="same"), cnn.ReLU(), cnn.MaxPool2d(2)),
        *(cnn.Conv2d(32, 3, padding="same"), cnn.ReLU(), cnn.Flatten(), cnn.Dense(2)),
    )
    loss = cnn.BinaryCrossEntropy()  # a logit for each label
    model = cnn.Model(network, (8, 8), backend, loss=loss, class_names=["even", "loop"])
    x, y = data.train_images[:images], labels_of(data.train_labels[:images])
    model.fit(x, y, epochs=epochs, optimizer=cnn.AdamW(cnn.OneCycle(0.01)))
    for digit, chances in zip(
        data.test_labels[:5], model.predict(data.test_images[:5]), strict=True
    ):
        print(digit, dict(zip(model.class_names, chances.round(2).tolist(), strict=True)))
    measured = model.evaluate(data.test_images, labels_of(data.test_labels))
    return {"accuracy": measured.accuracy, **measured.others}


if __name__ == "__main__":
    print(run())
