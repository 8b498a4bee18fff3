"""Remedies of layers, optimizers and of what `Model` is made of."""

import dataclasses
from typing import Any

import numpy as np

import arraycnn as cnn
from arraycnn.layers.layer import Context, Randomness
from arraycnn.ops import GENERIC
from arraycnn.ops.pixels import pixels_at
from arraycnn.ops.random_bits import seed_words
from remedies import making
from remedies.following import Here, follows


def _context(**given: Any) -> Context:
    return Context(ops=GENERIC, mode="train", dtype="float32", **given)


def _init(layer: cnn.Layer, *shape: int) -> Any:
    return layer.init(np.random.default_rng(0), shape)


@follows("layers/dense.py", "put Flatten() or GlobalAvgPool2d() before it")
def dense_takes_rows(here: Here) -> None:
    with here.refused():
        cnn.Model(cnn.Sequential(cnn.Rescale(), cnn.Dense(3)), (8, 8))
    for before in (cnn.Flatten(), cnn.GlobalAvgPool2d()):
        cnn.Model(cnn.Sequential(cnn.Rescale(), before, cnn.Dense(3)), (8, 8))


@follows("layers/dense.py", "the images must have the size that the network was made for")
def dense_of_another_size(here: Here) -> None:
    params, state, _ = _init(cnn.Dense(3), 64)
    with here.refused():
        cnn.Dense(3).forward(params, state, np.zeros((2, 16), "float32"), _context())
    cnn.Dense(3).forward(_float32(params), state, np.zeros((2, 64), "float32"), _context())


def _float32(tree: dict) -> dict:
    return {name: array.astype("float32") for name, array in tree.items()}


@follows("layers/layer.py", "put it before Flatten and Dense")
def convolution_after_flatten(here: Here) -> None:
    with here.refused():
        cnn.Model(
            cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Conv2d(2, 3), cnn.Dense(3)), (8, 8)
        )
    cnn.Model(cnn.Sequential(cnn.Rescale(), cnn.Conv2d(2, 3), cnn.Flatten(), cnn.Dense(3)), (8, 8))


@follows("layers/layer.py", "add the missing axes with reshape")
def convolution_of_too_few_axes(here: Here) -> None:
    layer = cnn.Conv2d(2, 3)
    params, state, _ = _init(layer, 8, 8, 1)
    x = np.zeros((2, 64), "float32")
    with here.refused():
        layer.forward(_float32(params), state, x, _context())
    layer.forward(_float32(params), state, x.reshape(2, 8, 8, 1), _context())


@follows("layers/layer.py", "images are (N, H, W, C), channels last")
def convolution_of_channels_first(here: Here) -> None:
    layer = cnn.Conv2d(2, 3)
    params, state, _ = _init(layer, 8, 8, 3)
    x = np.zeros((2, 3, 8, 8), "float32")
    with here.refused():
        layer.forward(_float32(params), state, x, _context())
    layer.forward(_float32(params), state, x.transpose(0, 2, 3, 1), _context())


@follows(
    "layers/layer.py",
    "begin the network with Rescale() for uint8 images, or pass them as floating numbers, "
    "scaled as for its training",
)
def bytes_without_rescale(here: Here) -> None:
    images, labels = making.some()
    with here.refused():
        cnn.Model(cnn.Sequential(cnn.Flatten(), cnn.Dense(3)), (8, 8)).fit(images, labels)
    network = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(3))
    cnn.Model(network, (8, 8)).fit(images, labels)
    network = cnn.Sequential(cnn.Flatten(), cnn.Dense(3))
    cnn.Model(network, (8, 8)).fit(images / 255 - 0.5, labels)


@follows("layers/layer.py", "write for example ReLU(), with parentheses")
def a_class_is_no_layer(here: Here) -> None:
    with here.refused():
        cnn.Sequential(cnn.Rescale(), cnn.ReLU)
    cnn.Sequential(cnn.Rescale(), cnn.ReLU())


@follows("layers/layer.py", "pass Randomness(seed, step, indices)")
def dropout_without_randomness(here: Here) -> None:
    x = np.ones((2, 5), "float32")
    with here.refused():
        cnn.Dropout(0.5).forward({}, {}, x, _context())
    one = np.zeros(1, np.int32)
    randomness = Randomness(seed_words(0), one, np.arange(2, dtype=np.int32))
    cnn.Dropout(0.5).forward({}, {}, x, _context(randomness=randomness))


@follows(
    "layers/rescale.py", "pass the images as uint8, or leave Rescale out and scale them yourself"
)
def rescale_takes_bytes(here: Here) -> None:
    layer, x = cnn.Rescale(), np.zeros((2, 8, 8, 1))
    with here.refused():
        layer.forward({}, {}, x.astype("float32"), _context())
    layer.forward({}, {}, x.astype("uint8"), _context())
    images, labels = making.some()
    plain = cnn.Sequential(cnn.Flatten(), cnn.Dense(3))
    cnn.Model(plain, (8, 8)).fit(images / np.float32(255), labels)


@follows("model/pixel_kinds.py", "leave one of them out")
def pixels_are_scaled_twice(here: Here) -> None:
    inner = (cnn.Flatten(), cnn.Dense(3))
    with here.refused():
        twice = cnn.Sequential(cnn.Rescale(), cnn.Sequential(cnn.Rescale(), *inner))
        cnn.Model(twice, (8, 8)).fit(*making.some())
    cnn.Model(cnn.Sequential(cnn.Rescale(), *inner), (8, 8)).fit(*making.some())
    cnn.Model(cnn.Sequential(cnn.Sequential(cnn.Rescale(), *inner)), (8, 8)).fit(*making.some())


@follows(
    "layers/residual.py",
    'use padding="same" in the body, or a shortcut such as Conv2d(filters, 1, stride)',
)
def residual_of_two_shapes(here: Here) -> None:
    with here.refused():
        _init(cnn.Residual(cnn.Conv2d(4, 3)), 8, 8, 4)
    _init(cnn.Residual(cnn.Conv2d(4, 3, padding="same")), 8, 8, 4)
    body = cnn.Conv2d(6, 3, stride=2, padding="same")
    _init(cnn.Residual(body, cnn.Conv2d(6, 1, 2)), 8, 8, 4)


@follows("ops/window.py", "use larger images, a smaller window or fewer layers before this one")
def a_window_larger_than_the_image(here: Here) -> None:
    with here.refused():
        _init(cnn.Sequential(cnn.MaxPool2d(2), cnn.Conv2d(2, 5)), 8, 8, 1)
    _init(cnn.Sequential(cnn.MaxPool2d(2), cnn.Conv2d(2, 5)), 12, 12, 1)
    _init(cnn.Sequential(cnn.MaxPool2d(2), cnn.Conv2d(2, 3)), 8, 8, 1)
    _init(cnn.Conv2d(2, 5), 8, 8, 1)


@follows("layers/pool_padding.py", "use a larger window or less padding")
def a_padding_of_whole_windows(here: Here) -> None:
    with here.refused():
        cnn.MaxPool2d(2, padding=(2, 1))
    cnn.MaxPool2d(3, padding=(2, 1))
    cnn.MaxPool2d(2, padding=(1, 1))


@follows("layers/group_norm.py", "choose groups that do")
def groups_that_do_not_divide_the_channels(here: Here) -> None:
    with here.refused():
        _init(cnn.GroupNorm(3), 8, 8, 4)
    for groups in (1, 2, 4):
        _init(cnn.GroupNorm(groups), 8, 8, 4)


@follows("layers/conv2d.py", "choose groups that do")
def groups_that_do_not_divide_the_convolved_channels(here: Here) -> None:
    with here.refused():
        _init(cnn.Conv2d(6, 3, groups=3), 8, 8, 4)
    for groups in (1, 2):
        _init(cnn.Conv2d(6, 3, groups=groups), 8, 8, 4)


@follows("layers/conv2d.py", "take a multiple of the groups as filters")
def groups_that_do_not_divide_the_filters(here: Here) -> None:
    with here.refused():
        cnn.Conv2d(4, 3, groups=3)
    cnn.Conv2d(6, 3, groups=3)


@follows("layers/conv_transpose2d.py", "use less padding")
def a_transposed_convolution_of_which_nothing_is_left(here: Here) -> None:
    with here.refused():
        _init(cnn.ConvTranspose2d(2, 3, padding=(2, 2)), 2, 2, 1)
    assert _init(cnn.ConvTranspose2d(2, 3, padding=(1, 1)), 2, 2, 1)[2] == (2, 2, 2)


@follows("layers/batch_norm.py", "put Flatten() before it")
def batch_norm_of_other_axes(here: Here) -> None:
    layers = cnn.Reshape((4, 4)), cnn.BatchNorm()
    with here.refused():
        _init(cnn.Sequential(*layers), 4, 4, 1)
    _init(cnn.Sequential(layers[0], cnn.Flatten(), layers[1]), 4, 4, 1)


@follows("layers/reshape.py", "give sizes whose product is {}, or one of them as -1")
def numbers_that_do_not_fill_a_shape(here: Here) -> None:
    with here.refused():
        _init(cnn.Reshape((2, 5, 4)), 6, 8)
    assert "product is 48" in here.message
    for shape in ((2, 6, 4), (2, -1, 4)):
        assert _init(cnn.Reshape(shape), 6, 8)[2] == (2, 6, 4)


@follows("layers/concatenate.py", 'use padding="same" and one stride in all')
def branches_of_several_sizes(here: Here) -> None:
    with here.refused():
        _init(cnn.Concatenate(cnn.Conv2d(2, 3), cnn.Conv2d(3, 5)), 8, 8, 1)
    same = (cnn.Conv2d(2, 3, padding="same"), cnn.Conv2d(3, 5, padding="same"))
    _init(cnn.Concatenate(*same), 8, 8, 1)


@follows(
    "layers/add.py",
    "give each the same filters, strides and padding, or join them with Concatenate",
)
def a_sum_of_several_shapes(here: Here) -> None:
    branches = cnn.Conv2d(2, 3), cnn.Conv2d(5, 3)
    with here.refused():
        _init(cnn.Add(*branches), 8, 8, 1)
    _init(cnn.Add(branches[0], branches[0]), 8, 8, 1)
    _init(cnn.Concatenate(*branches), 8, 8, 1)


@follows("optimizers/sgd.py", "set momentum=0.9")
def nesterov_needs_momentum(here: Here) -> None:
    with here.refused():
        cnn.SGD(0.1, nesterov=True)
    cnn.SGD(0.1, nesterov=True, momentum=0.9)


@follows("scratch.py", "make the layer with the right input_len")
def the_tutorials_softmax_of_another_length(here: Here) -> None:
    from arraycnn import scratch

    x = np.zeros((13, 13, 8))
    with here.refused():
        scratch.Softmax(100, 10).forward(x)
    scratch.Softmax(13 * 13 * 8, 10).forward(x)


@dataclasses.dataclass(frozen=True)
class Doubled(cnn.Layer):
    """A user's layer."""

    def init(self, rng: Any, input_shape: Any) -> Any:
        return {}, {}, input_shape

    def forward(self, params: Any, state: Any, x: Any, context: Any) -> Any:
        return x + x, state, None

    def backward(
        self, params: Any, residuals: Any, dy: Any, context: Any, need_dx: bool = True
    ) -> Any:
        return dy + dy, {}


@follows("layers/config.py", "hand its class over, as layers=[{}]")
def a_users_layer_is_unknown(here: Here) -> None:
    path = here.path / "m.npz"
    network = cnn.Sequential(cnn.Rescale(), Doubled(), cnn.Flatten(), cnn.Dense(3))
    cnn.Model(network, (8, 8)).save(path)
    with here.refused():
        cnn.Model.load(path)
    told = here.message.rpartition("hand its class over, as ")[2]
    assert told == "layers=[Doubled]"
    eval(f"load(path, {told})", {"load": cnn.Model.load, "path": path, "Doubled": Doubled})


@follows("layers/config.py", "rename the class")
def a_users_layer_with_a_name_of_ours(here: Here) -> None:
    def saved(name: str) -> None:
        layer = type(name, (Doubled,), {})()
        network = cnn.Sequential(cnn.Rescale(), layer, cnn.Flatten(), cnn.Dense(3))
        cnn.Model(network, (8, 8)).save(here.path / "m.npz")

    with here.refused():
        saved("ReLU")
    saved("MyReLU")


@follows(
    "model/inputs.py",
    "leave it out: training applies the {} within the loss, predict returns probabilities",
)
def softmax_at_the_end(here: Here) -> None:
    for loss in (cnn.SoftmaxCrossEntropy(), cnn.BinaryCrossEntropy()):
        for last in (cnn.Softmax(), cnn.Sigmoid()):
            with here.refused():
                cnn.Model(cnn.Sequential(making.small(), last), (8, 8), loss=loss)
    model = cnn.Model(cnn.Sequential(making.small()), (8, 8))
    np.testing.assert_allclose(model.predict(making.some()[0]).sum(axis=1), 1, rtol=1e-6)


@follows("model/inputs.py", "end with Flatten() and Dense(classes)")
def images_at_the_end(here: Here) -> None:
    with here.refused():
        cnn.Model(cnn.Sequential(cnn.Rescale(), cnn.Conv2d(2, 3)), (8, 8))
    layers = (cnn.Rescale(), cnn.Conv2d(2, 3), cnn.Flatten(), cnn.Dense(3))
    cnn.Model(cnn.Sequential(*layers), (8, 8))


@follows(
    "layers/augmentation/augmentation.py",
    "take a grey value, as other numbers are for images behind Rescale",
)
def a_fill_that_no_byte_is(here: Here) -> None:
    cutout, rest = cnn.Cutout(2, fill=-0.5), (cnn.Flatten(), cnn.Dense(3))
    images, labels = np.zeros((4, 8, 8, 1), np.uint8), np.zeros(4, int)
    with here.refused():
        cnn.Model(cnn.Sequential(cutout, cnn.Rescale(), *rest), (8, 8)).fit(images, labels)
    grey = cnn.Cutout(2, fill=128)
    cnn.Model(cnn.Sequential(grey, cnn.Rescale(), *rest), (8, 8)).fit(images, labels)
    cnn.Model(cnn.Sequential(cnn.Rescale(), cutout, *rest), (8, 8)).fit(images, labels)


@follows("ops/pixels.py", "use a smaller batch_size")
def more_pixels_than_int32_counts(here: Here) -> None:
    place, pixel = np.zeros((1, 1, 1), np.int32), np.uint8(7)
    with here.refused():
        pixels_at(np.broadcast_to(pixel, (2**17, 2**7, 2**7, 1)), place, place)
    pixels_at(np.broadcast_to(pixel, (2, 2**7, 2**7, 1)), place, place)


@follows("layers/augmentation/random_affine.py", "have less shear or a larger least scale")
def pixels_read_too_far_away(here: Here) -> None:
    for settings in ({"scale": (0.001, 1.0)}, {"shear": 89.99}):
        with here.refused():
            _init(cnn.RandomAffine(**settings), 64, 64, 1)
    _init(cnn.RandomAffine(scale=(0.5, 1.0), shear=60.0), 64, 64, 1)


@follows("layers/branches.py", "put it before {}")
def labels_mixed_in_a_branch(here: Here) -> None:
    with here.refused():
        _init(cnn.Add(cnn.Identity(), cnn.Mixup()), 8, 8, 1)
    _init(cnn.Sequential(cnn.Mixup(), cnn.Add(cnn.Identity(), cnn.Identity())), 8, 8, 1)


@follows("layers/augmentation/mixing.py", "use a smaller batch_size")
def a_batch_of_too_many_partners(here: Here) -> None:
    with here.refused():
        cnn.Mixup().augmented(np.zeros((2**15 + 1, 1, 1, 1)), np.zeros((2**15 + 1, 5), np.int32))
    cnn.Mixup().augmented(np.zeros((2**15, 1, 1, 1)), np.zeros((2**15, 5), np.int32))


@follows("model/averaged_inference.py", "put for example RandomShift(1) before Rescale")
def copies_of_a_network_without_augmentation(here: Here) -> None:
    rest, images = (cnn.Rescale(), cnn.Flatten(), cnn.Dense(3)), np.zeros((4, 8, 8), np.uint8)
    with here.refused():
        cnn.Model(cnn.Sequential(*rest), (8, 8)).predict(images, augment=2)
    cnn.Model(cnn.Sequential(cnn.RandomShift(1), *rest), (8, 8)).predict(images, augment=2)
