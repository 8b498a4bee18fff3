"""Every layer, optimizer and loss that is registered trains, is saved, loaded, and goes on from there.

In pairs, not in all combinations: each layer comes once, each optimizer with each loss.
"""

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.layers import LAYERS
from arraycnn.losses import LOSSES
from arraycnn.optimizers import OPTIMIZERS
from layer_rows import ROWS

OF_LAYERS = {
    "Add": [cnn.Add(cnn.Conv2d(2, 3, padding="same"), cnn.Identity())],
    "AvgPool2d": [cnn.AvgPool2d(2)],
    "BatchNorm": [cnn.BatchNorm()],
    "Concatenate": [cnn.Concatenate(cnn.Conv2d(2, 3, padding="same"), cnn.Identity())],
    "Conv2d": [cnn.Conv2d(3, 2)],
    "ConvTranspose2d": [cnn.ConvTranspose2d(2, 2, 2)],
    "Dense": [cnn.Flatten(), cnn.Dense(4)],
    "Dropout": [cnn.Dropout(0.3)],
    "Flatten": [cnn.Flatten()],
    "GlobalAvgPool2d": [cnn.GlobalAvgPool2d()],
    "Identity": [cnn.Identity()],
    "MaxPool2d": [cnn.MaxPool2d(2)],
    "ReLU": [cnn.ReLU()],
    "Rescale": [],  # begins each
    "Residual": [cnn.Residual(cnn.Conv2d(2, 3, padding="same"))],
    "Sequential": [cnn.Sequential(cnn.ReLU())],
    "Softmax": [cnn.Softmax()],
}
OF_LAYERS |= {
    type(row.layer).__name__: [row.layer] for row in ROWS if type(row.layer) in LAYERS.values()
}
RNG = np.random.default_rng(4)
IMAGES = RNG.integers(0, 256, (6, 6, 5, 1), dtype=np.uint8)
VALUES = RNG.normal(size=(6, 3))
OF_LOSSES = {
    "BinaryCrossEntropy": (cnn.BinaryCrossEntropy(), (VALUES > 0.0).astype(float)),
    "Huber": (cnn.Huber(0.5), VALUES),
    "MeanSquaredError": (cnn.MeanSquaredError(), VALUES),
    "SoftmaxCrossEntropy": (cnn.SoftmaxCrossEntropy(0.1), np.array([0, 2, 1, 1, 0, 2])),
}
OF_OPTIMIZERS = {
    "Adam": cnn.Adam(0.01),
    "AdamW": cnn.AdamW(0.01, weight_decay=0.1),
    "Lion": cnn.Lion(0.01, weight_decay=0.1),
    "Muon": cnn.Muon(0.05),
    "SGD": cnn.SGD(0.1, momentum=0.9),
}
TRIPLES = [
    (layer, list(OF_OPTIMIZERS)[number % 5], list(OF_LOSSES)[number % 4])
    for number, layer in enumerate(OF_LAYERS)
]


def test_each_that_is_registered_has_its_row():
    assert sorted(OF_LAYERS) == sorted(LAYERS)
    assert list(OF_LOSSES) == sorted(LOSSES)
    assert list(OF_OPTIMIZERS) == sorted(kind.__name__ for kind in OPTIMIZERS)
    assert len({triple[1:] for triple in TRIPLES}) == len(OF_OPTIMIZERS) * len(OF_LOSSES)


@pytest.mark.parametrize(
    ("layer", "optimizer", "loss"),
    [pytest.param(*triple, id="-".join(triple)) for triple in TRIPLES],
)
def test_it_trains_and_goes_on_from_its_file(layer, optimizer, loss, tmp_path):
    measure, labels = OF_LOSSES[loss]
    ends = cnn.Rescale(), cnn.Conv2d(2, 3), *OF_LAYERS[layer], cnn.Flatten(), cnn.Dense(3)
    settings = {"batch_size": 6, "optimizer": OF_OPTIMIZERS[optimizer]}

    def new():
        return cnn.Model(cnn.Sequential(*ends), (6, 5), cnn.NumPy(threads=1), seed=3, loss=measure)

    model, path = new(), tmp_path / "last.npz"
    model.fit(IMAGES, labels, epochs=1, callbacks=[cnn.Checkpoint(model, path, 1)], **settings)
    for name, before in new().parameters.items():
        assert np.isfinite(model.parameters[name]).all(), name
        # Before a normalization, a bias does nothing.
        assert (model.parameters[name] != before).any() or name == "1.bias", name
    again, state = cnn.Model.load_training(path, cnn.NumPy(threads=1))
    assert (again.network, again.loss) == (model.network, measure)
    np.testing.assert_array_equal(again.predict(IMAGES), model.predict(IMAGES))
    again.fit(IMAGES, labels, epochs=2, resume=state, override=True, **settings)
    whole = new()
    whole.fit(IMAGES, labels, epochs=2, **settings)
    for name, array in whole.parameters.items():
        np.testing.assert_array_equal(again.parameters[name], array, err_msg=name)
