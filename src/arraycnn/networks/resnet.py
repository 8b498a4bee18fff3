"""The residual networks for small images of He et al., "Deep residual learning", 2016, section 4.2."""

from arraycnn.layers import (
    BatchNorm,
    Conv2d,
    Dense,
    GlobalAvgPool2d,
    Layer,
    ReLU,
    Rescale,
    Residual,
    Sequential,
)


def resnet(depth: int, classes: int = 10) -> Sequential:
    """``depth`` layers with weights, 6 n + 2: three stages of n blocks of 16, 32 and 64 channels.

    Where a block halves the image, its shortcut is a convolution of one pixel (the paper's B).
    """
    return Sequential(
        Rescale(),
        *_normalised(16, 3),
        ReLU(),
        *(
            layer
            for stage, filters in enumerate((16, 32, 64))
            for place in range((depth - 2) // 6)
            for layer in (_block(filters, 2 if stage and place == 0 else 1), ReLU())
        ),
        GlobalAvgPool2d(),
        Dense(classes),
    )


def resnet8(classes: int = 10) -> Sequential:
    """One block a stage: 78,042 parameters for images of three channels."""
    return resnet(8, classes)


def resnet20(classes: int = 10) -> Sequential:
    """Three blocks a stage: 272,474 parameters for images of three channels."""
    return resnet(20, classes)


def resnet32(classes: int = 10) -> Sequential:
    """Five blocks a stage."""
    return resnet(32, classes)


def resnet44(classes: int = 10) -> Sequential:
    """Seven blocks a stage."""
    return resnet(44, classes)


def resnet56(classes: int = 10) -> Sequential:
    """Nine blocks a stage: 855,770 parameters for images of three channels."""
    return resnet(56, classes)


def _normalised(filters: int, kernel_size: int, stride: int = 1) -> list[Layer]:
    conv = Conv2d(filters, kernel_size, stride, "same", bias=False, initial="he_normal")
    return [conv, BatchNorm()]


def _block(filters: int, stride: int) -> Residual:
    body = Sequential(
        *_normalised(filters, 3, stride),
        ReLU(),
        *_normalised(filters, 3),
    )
    return Residual(body, None if stride == 1 else Sequential(*_normalised(filters, 1, stride)))
