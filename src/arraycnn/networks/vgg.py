"""Simonyan and Zisserman, "Very deep convolutional networks", 2015: VGG, for small images."""

from arraycnn.layers import (
    BatchNorm,
    Conv2d,
    Dense,
    GlobalAvgPool2d,
    Layer,
    MaxPool2d,
    ReLU,
    Rescale,
    Sequential,
)

_CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3)}


def vgg(depth: int, classes: int = 10, batch_norm: bool = False) -> Sequential:
    """The convolutions of VGG-11, 13 or 16, and one dense layer on what is left of the image.

    The paper's two dense layers of 4,096 are made for images of 224 x 224. An odd row or column at
    the end is pooled by itself, so that images of any size fit.
    """
    layers: list[Layer] = []
    for filters, count in zip((64, 128, 256, 512, 512), _CONVOLUTIONS[depth], strict=True):
        for _ in range(count):
            layers.append(Conv2d(filters, 3, padding="same", initial="he_normal"))
            layers += [BatchNorm(), ReLU()] if batch_norm else [ReLU()]
        layers.append(MaxPool2d(2, padding="same"))
    return Sequential(Rescale(), *layers, GlobalAvgPool2d(), Dense(classes))


def vgg11(classes: int = 10) -> Sequential:
    """Eight convolutions: 9,225,610 parameters for images of three channels."""
    return vgg(11, classes)


def vgg13(classes: int = 10) -> Sequential:
    """Ten convolutions: 9,410,122 parameters for images of three channels."""
    return vgg(13, classes)


def vgg16(classes: int = 10) -> Sequential:
    """Thirteen convolutions: 14,719,818 parameters for images of three channels."""
    return vgg(16, classes)


def vgg11_bn(classes: int = 10) -> Sequential:
    """`vgg11` with batch norm."""
    return vgg(11, classes, batch_norm=True)


def vgg13_bn(classes: int = 10) -> Sequential:
    """`vgg13` with batch norm."""
    return vgg(13, classes, batch_norm=True)


def vgg16_bn(classes: int = 10) -> Sequential:
    """`vgg16` with batch norm."""
    return vgg(16, classes, batch_norm=True)
