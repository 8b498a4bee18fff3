"""Fine-tuning: what was learned on the digits 0 to 4 helps to tell 5 to 9 from few images of them.

python examples/fine_tuning.py
"""

import arraycnn as cnn
from arraycnn.data import load_dataset


def digits(first, images, labels, count):
    """The first ``count`` images of ``first`` and the four digits after it, their classes 0 to 4."""
    chosen = (labels >= first) & (labels < first + 5)
    return images[chosen][:count], labels[chosen][:count] - first


def run(images=700, few=20, epochs=10, backend="numpy"):
    """Train on many, fine-tune on few; the accuracies from the beginning, frozen, and of all."""
    data = load_dataset("digits")
    train, test = (data.train_images, data.train_labels), (data.test_images, data.test_labels)
    network = cnn.Sequential(
        *(cnn.Rescale(), cnn.Conv2d(16, 3, padding="same"), cnn.BatchNorm(), cnn.ReLU()),
        *(cnn.MaxPool2d(2), cnn.Conv2d(32, 3, padding="same"), cnn.BatchNorm(), cnn.ReLU()),
        *(cnn.Flatten(), cnn.Dense(5)),
    )
    body, new = (cnn.Model(network, (8, 8), backend) for _ in range(2))
    body.fit(*digits(0, *train, images), epochs=epochs, optimizer=cnn.AdamW(cnn.OneCycle(0.01)))

    model, accuracies = cnn.with_head(body, cnn.Dense(5)), []
    frozen = cnn.ParameterGroups(cnn.AdamW(0.01), cnn.Group("0", frozen=True))
    gently = cnn.ParameterGroups(cnn.AdamW(0.003), cnn.Group("0", learning_rate_scale=0.1))
    for tuned, optimizer in ((new, cnn.AdamW(0.01)), (model, frozen), (model, gently)):
        tuned.fit(*digits(5, *train, few), epochs=epochs, batch_size=10, optimizer=optimizer)
        accuracies.append(tuned.evaluate(*digits(5, *test, 1000)).accuracy)
    return accuracies


if __name__ == "__main__":
    print("{:.1%} from the beginning, {:.1%} with a frozen body, {:.1%} then all".format(*run()))
