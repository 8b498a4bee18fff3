"""The tutorial "CNN from scratch", its whole protocol, on arraycnn.scratch.

The first 1000 training and 1000 test images of MNIST, one image at a time, learning rate 0.005,
three epochs, the average of the last 100 steps printed every 100 steps.

    python examples/cnn_from_scratch.py --data-dir DIR [--backend numpy] [--seed 0]
"""

import argparse

import numpy as np

from arraycnn.data import load_dataset
from arraycnn.scratch import Conv3x3, MaxPool2, Softmax


def forward(layers, image, label):
    """Probabilities, loss in nats, and whether the prediction is right, for one image of bytes."""
    conv, pool, softmax = layers
    out = conv.forward(image / 255 - 0.5)
    out = pool.forward(out)
    out = softmax.backend.to_numpy(softmax.forward(out))
    return out, -np.log(out[label]), int(np.argmax(out) == label)


def train(layers, image, label, learn_rate=0.005):
    """One step: forward, backward, update. Returns the loss and whether it was right before."""
    conv, pool, softmax = layers
    out, loss, correct = forward(layers, image, label)
    gradient = np.zeros(10)
    gradient[label] = -1 / out[label]
    gradient = softmax.backprop(gradient, learn_rate)
    gradient = pool.backprop(gradient)
    conv.backprop(gradient, learn_rate)
    return loss, correct


def run(data, backend="numpy", epochs=3):
    """The protocol on ``data``; returns (test loss, test accuracy)."""
    train_images, train_labels = data.train_images[:1000, :, :, 0], data.train_labels[:1000]
    test_images, test_labels = data.test_images[:1000, :, :, 0], data.test_labels[:1000]
    layers = (Conv3x3(8, backend=backend), MaxPool2(), Softmax(13 * 13 * 8, 10, backend=backend))

    print("MNIST CNN initialized!")
    for epoch in range(epochs):
        print(f"--- Epoch {epoch + 1} ---")
        permutation = np.random.permutation(len(train_images))
        train_images, train_labels = train_images[permutation], train_labels[permutation]
        loss, num_correct = 0.0, 0
        for i, (image, label) in enumerate(zip(train_images, train_labels, strict=True)):
            if i % 100 == 99:
                print(
                    f"[Step {i + 1}] Past 100 steps: "
                    f"Average Loss {loss / 100:.3f} | Accuracy: {num_correct}%"
                )
                loss, num_correct = 0.0, 0
            step_loss, correct = train(layers, image, label)
            loss += step_loss
            num_correct += correct

    print("\n--- Testing the CNN ---")
    results = [
        forward(layers, image, label)[1:]
        for image, label in zip(test_images, test_labels, strict=True)
    ]
    test_loss, test_accuracy = np.mean(results, axis=0)
    print("Test Loss:", test_loss)
    print("Test Accuracy:", test_accuracy)
    return test_loss, test_accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder with the four MNIST files")
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--seed", type=int, help="for the same run again")
    options = parser.parse_args()
    if options.seed is not None:
        np.random.seed(options.seed)
    run(load_dataset("mnist", options.data_dir), options.backend)
