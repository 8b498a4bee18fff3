"""A DenseNet block: each layer sees all that the ones before it have made.

python examples/dense_block.py
"""

import arraycnn as cnn
from arraycnn.data import load_dataset


def block(layers, growth):
    """``layers`` times ``growth`` channels more: Huang et al., 2017."""
    for _ in range(layers):
        new = cnn.BatchNorm(), cnn.ReLU(), cnn.Conv2d(growth, 3, padding="same", bias=False)
        yield cnn.Concatenate(cnn.Identity(), cnn.Sequential(*new))


def run(images=1437, epochs=5, backend="numpy"):
    """Train and test; the accuracy."""
    data = load_dataset("digits")
    network = cnn.Sequential(
        cnn.Rescale(),
        cnn.Conv2d(16, 3, padding="same"),
        *block(layers=4, growth=8),  # 16 channels become 48
        *(cnn.BatchNorm(), cnn.ReLU(), cnn.Conv2d(24, 1), cnn.AvgPool2d(2)),
        *block(layers=4, growth=8),
        *(cnn.BatchNorm(), cnn.ReLU(), cnn.GlobalAvgPool2d(), cnn.Dense(10)),
    )
    model = cnn.Model(network, (8, 8), backend)
    x, y = data.train_images[:images], data.train_labels[:images]
    optimizer = cnn.AdamW(cnn.OneCycle(0.01))
    model.fit(x, y, epochs=epochs, batch_size=32, optimizer=optimizer)
    return model.evaluate(data.test_images, data.test_labels).accuracy


if __name__ == "__main__":
    print(f"{run():.1%} of the test images are right")
