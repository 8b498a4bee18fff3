"""What shape images may have, and the (N, H, W, C) it means."""

import math

from arraycnn.data.array_rules import BrokenRule

Shape4 = tuple[int, int, int, int]

# Channels that pictures have; an axis that is longer is no axis of channels.
_MOST_CHANNELS = 4
_GREY = "images @ [0.299, 0.587, 0.114]"


def shape_for(shape: tuple[int, ...], wanted: tuple[int, int, int]) -> Shape4:
    """(N, H, W, C) in which an array of ``shape`` holds images of ``wanted``, (H, W, C).

    Where the order of the numbers leaves no doubt, the array may have another shape: for one channel
    (N, H, W), (N, 1, H, W) and rows (N, H * W); and one image alone need not have the axis N.

    Raises `BrokenRule` for all else, with what the shape looks like.
    """
    height, width, channels = wanted
    if len(shape) > 1 and shape[0] == 0:
        reason = "must hold at least one image, got an empty set"
        raise BrokenRule(reason, "check how it was selected")
    forms: list[tuple[int, ...]] = [wanted]
    if channels == 1:
        forms += [(height, width), (1, height, width), (height * width,)]
    if len(shape) > 1 and tuple(shape[1:]) in forms:
        return shape[0], height, width, channels
    if tuple(shape) in (wanted, (height, width) if channels == 1 else wanted):
        return 1, height, width, channels
    reason = (
        f"must be (N, {height}, {width}, {channels}), as the network was made for, "
        f"got shape {tuple(shape)}"
    )
    raise BrokenRule(reason, _remedy(tuple(shape), wanted))


def _remedy(shape: tuple[int, ...], wanted: tuple[int, int, int]) -> str:
    height, width, channels = wanted
    first = (channels, height, width)
    if shape[1:] == first:
        return "the channels come first: take images.transpose(0, 2, 3, 1)"
    if shape == first:
        return "the channels come first: take images.transpose(1, 2, 0)"
    if channels == 3 and shape[1:] in ((height, width), (height, width, 1)):
        return (
            f"they are grey: take numpy.repeat(images.reshape(-1, {height}, {width}, 1), 3, axis=3)"
        )
    if channels == 1 and shape[1:] == (height, width, 3):
        return f"they have colours: for the grey values take ({_GREY}).round()"
    if channels == 1 and shape[1:] == (3, height, width):
        grey = _GREY.replace("images", "images.transpose(0, 2, 3, 1)")
        return f"they have colours: for the grey values take ({grey}).round()"
    if channels == 3 and shape[1:] == (height, width, 4):
        return "the fourth channel is transparency: pass images[..., :3]"
    if len(shape) == 2 and shape[1] == math.prod(wanted):
        by_channel = f"images.reshape(-1, {channels}, {height}, {width}).transpose(0, 2, 3, 1)"
        return (
            f"take images.reshape(-1, {height}, {width}, {channels}), or "
            f"{by_channel} where one channel follows the other"
        )
    return "resize them, or make the model with another input_shape"


def guessed_shape(shape: tuple[int, ...]) -> Shape4:
    """(N, H, W, C) of a set whose size nobody knows before; (N, 1, H, W) is one channel.

    Raises `BrokenRule` where ``shape`` is none of images, or has the channels first.
    """
    if len(shape) == 3 and 0 not in shape:
        return shape[0], shape[1], shape[2], 1
    if len(shape) == 4 and 0 not in shape:
        count, second, third, last = shape
        first = second in (1, 3, 4) and third > _MOST_CHANNELS and last > _MOST_CHANNELS
        if first and second == 1:
            return count, third, last, 1
        if first:
            reason = f"must be (N, H, W, C), got shape {shape}, which has the channels first"
            raise BrokenRule(reason, "save images.transpose(0, 2, 3, 1)")
        return count, second, third, last
    reason = f"must be (N, H, W) or (N, H, W, C), got shape {shape}"
    remedy = "save each image with its rows and columns"
    if len(shape) == 2 and shape[1] > 1 and math.isqrt(shape[1]) ** 2 == shape[1]:
        side = math.isqrt(shape[1])
        remedy = f"save images.reshape(-1, {side}, {side})"
    elif len(shape) == 2 and shape[1] % 3 == 0 and math.isqrt(shape[1] // 3) ** 2 * 3 == shape[1]:
        side = math.isqrt(shape[1] // 3)
        remedy = (
            f"save images.reshape(-1, {side}, {side}, 3), or images.reshape(-1, 3, {side}, {side})"
            ".transpose(0, 2, 3, 1) where one channel follows the other"
        )
    raise BrokenRule(reason, remedy)
