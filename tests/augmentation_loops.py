"""What augmentations give, pixel by pixel from their definition and the documented bits."""

import math

import numpy as np

from random_words import FIRST_INDEX, SEED, STEP, words_by_integers


def words_of(n, count, path=()):
    """The random words of image ``n`` of a case."""
    return words_by_integers(SEED, STEP, path, FIRST_INDEX + n, count)


def whole(word, count):
    """A number from 0 to count - 1: the word's upper half as a share of all."""
    return math.floor((word >> 16) / 2**16 * count)


def happens(word, probability):
    signed = word - 2**32 if word >= 2**31 else word
    return (signed + 2**31) / 2**32 >= 1 - probability


def by_image(function):
    """``function(layer, image, n)`` of each image."""
    return lambda layer, params, x: np.array(
        [function(layer, image, n) for n, image in enumerate(x)]
    )


def flipped(layer, image, n):
    return image[:, ::-1] if happens(*words_of(n, 1), layer.probability) else image


def at(image, i, j, fill):
    """The pixel at (i, j), which may be beyond the image."""
    height, width = image.shape[:2]
    if fill == "reflect":
        i, j = (
            abs(place) if place < size else 2 * size - 2 - place
            for place, size in ((i, height), (j, width))
        )
    elif fill == "edge":
        i, j = min(max(i, 0), height - 1), min(max(j, 0), width - 1)
    elif not (0 <= i < height and 0 <= j < width):
        return np.full(image.shape[2:], fill)
    return image[i, j]


def shifted(layer, image, n):
    down, right = (
        whole(word, 2 * most + 1) - most
        for word, most in zip(words_of(n, 2), layer.largest, strict=True)
    )
    y = np.zeros_like(image)
    for i, j in np.ndindex(image.shape[:2]):
        y[i, j] = at(image, i - down, j - right, layer.fill)
    return y


def with_box(layer, image, top, left, tall, wide):
    y = image.copy()
    for i, j in np.ndindex(image.shape[:2]):
        if top <= i < top + tall and left <= j < left + wide:
            y[i, j] = layer.fill
    return y


def cut_out(layer, image, n):
    row, column, drawn = words_of(n, 3)
    tall, wide = layer.size if isinstance(layer.size, tuple) else (layer.size,) * 2
    if not happens(drawn, layer.probability):
        return image
    top, left = whole(row, image.shape[0]) - tall // 2, whole(column, image.shape[1]) - wide // 2
    return with_box(layer, image, top, left, tall, wide)


def spread(word, axes):
    """The point of the unit cube that a word chooses from 4,096: multiples of roots of g."""
    low, high = 1.0, 2.0  # g^(axes + 1) = g + 1
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if middle ** (axes + 1) < middle + 1 else (low, middle)
    number = (word >> 20) + 1
    return [math.fmod(0.5 + number * low**-axis, 1.0) for axis in range(1, axes + 1)]


def part(ends, share):
    return ends[0] + (ends[1] - ends[0]) * share


def erased(layer, image, n):
    size, row, column, drawn = words_of(n, 4)
    if not happens(drawn, layer.probability):
        return image
    height, width = image.shape[:2]
    first, second = spread(size, 2)
    pixels = part(layer.area, first) * height * width
    ratio = math.exp(part([math.log(end) for end in layer.ratio], second))
    tall = min(max(round(math.sqrt(pixels * ratio)), 1), height)
    wide = min(max(round(math.sqrt(pixels / ratio)), 1), width)
    top, left = whole(row, height + 1 - tall), whole(column, width + 1 - wide)
    return with_box(layer, image, top, left, tall, wide)


def brighter(layer, image, n):
    most = round(255 * layer.strength)
    return image + (whole(*words_of(n, 1), 2 * most + 1) - most) / 255


def contrasted(layer, image, n):
    most = round(4096 * layer.strength)
    factor = 1 + (whole(*words_of(n, 1), 2 * most + 1) - most) / 4096
    y = np.zeros_like(image)
    for c in range(image.shape[2]):
        mean = math.fsum(image[..., c].flat) / image[..., c].size
        y[..., c] = [[mean + (v - mean) * factor for v in row] for row in image[..., c]]
    return y


def between(image, row, column, fill):
    """Straight lines between the four pixels around a place."""
    i, j = math.floor(row), math.floor(column)
    total = 0.0
    for a, b in np.ndindex(2, 2):
        share = (1 - abs(row - i - a)) * (1 - abs(column - j - b))
        total = total + share * at(image, i + a, j + b, fill)
    return total


def affine_places(layer, word, height, width):
    """{pixel: (row, column) where it is read}, whose terms are rounded to 1 / 65536."""
    shares = [2 * share - 1 for share in spread(word, 5)]
    angle, shear = math.radians(layer.degrees * shares[0]), math.radians(layer.shear * shares[1])
    zoom = part(layer.scale, (1 + shares[2]) / 2)
    # (row, column) of what stands one row, or one column, from the middle: sheared, turned, zoomed.
    ends = []
    for row, column in ((1.0, math.tan(shear)), (0.0, 1.0)):
        turned = complex(column, -row) * complex(math.cos(angle), math.sin(angle)) * zoom
        ends.append((-turned.imag, turned.real))
    (a, c), (b, d) = ends
    area = a * d - b * c
    back = ((d / area, -b / area), (-c / area, a / area))
    to = [
        (size - 1) / 2 + layer.translate * share * size
        for size, share in zip((height, width), shares[3:], strict=True)
    ]
    rounded = lambda number: round(number * 65536) / 65536  # noqa: E731
    places = {}
    for i, j in np.ndindex(height, width):
        place = []
        for size, (of_row, of_column) in zip((height, width), back, strict=True):
            begin = (size - 1) / 2 - of_row * to[0] - of_column * to[1]
            place.append(rounded(of_row) * i + rounded(of_column) * j + rounded(begin))
        places[i, j] = tuple(place)
    return places


def warped(image, places, fill):
    y = np.zeros(image.shape)
    for pixel, place in places.items():
        y[pixel] = between(image, *place, fill)
    return y


def turned(layer, image, n):
    (word,) = words_of(n, 1)
    return warped(image, affine_places(layer, word, *image.shape[:2]), layer.fill)


def spline(x, order=3):
    """The uniform B-spline over 0 to order + 1, by de Boor's recurrence."""
    if order == 0:
        return 1.0 if 0 <= x < 1 else 0.0
    return (x * spline(x, order - 1) + (order + 1 - x) * spline(x - 1, order - 1)) / order


def elastic_places(layer, words, height, width):
    points = [(size - 1) // layer.spacing + 4 for size in (height, width)]
    most = round(256 * layer.strength)
    grid = np.reshape([whole(word, 2 * most + 1) - most for word in words], (2, *points))
    places = {}
    for i, j in np.ndindex(height, width):
        place = []
        for axis, pixel in enumerate((i, j)):
            total = 0
            for p, q in np.ndindex(*points):
                down, right = (
                    round(256 * spline(at / layer.spacing - point + 3))
                    for at, point in ((i, p), (j, q))
                )
                total += down * right * int(grid[axis, p, q])
            place.append(pixel + math.floor(total / 256) / 65536)
        places[i, j] = tuple(place)
    return places


def pulled(layer, image, n):
    height, width = image.shape[:2]
    count = 2 * math.prod((size - 1) // layer.spacing + 4 for size in (height, width))
    return warped(image, elastic_places(layer, words_of(n, count), height, width), layer.fill)


def partner_of(n, word, images):
    return (n + 1 + whole(word, images - 1)) % images if images > 1 else n


def quantile(word):
    """That of the uniform distribution, Beta(1, 1), which a word chooses from 4,096."""
    return ((word >> 20) + 0.5) / 4096


def kept_by_mixup(layer, words, height, width):
    return np.full((height, width), round(1024 * quantile(words[0])) / 1024)


def kept_by_cutmix(layer, words, height, width):
    side = math.sqrt(1 - quantile(words[0]))
    tall, wide = round(side * height), round(side * width)
    top, left = whole(words[1], height) - tall // 2, whole(words[2], width) - wide // 2
    kept = np.ones((height, width))
    for i, j in np.ndindex(height, width):
        if top <= i < top + tall and left <= j < left + wide:
            kept[i, j] = 0.0
    return kept


KEPT = {"Mixup": kept_by_mixup, "CutMix": kept_by_cutmix}


def mixtures(layer, images, height, width, path=()):
    """(partner, which part of each pixel stays) of each image."""
    found = []
    for n in range(images):
        word, drawn, *others = words_of(n, 5, path)
        kept = KEPT[type(layer).__name__](layer, others, height, width)
        partner = partner_of(n, word, images)
        is_mixed = happens(drawn, layer.probability) and partner != n
        found.append((partner, kept if is_mixed else np.ones_like(kept)))
    return found


def mixed(layer, params, x):
    y = np.zeros(x.shape)
    for n, (partner, kept) in enumerate(mixtures(layer, *x.shape[:3])):
        for place in np.ndindex(x.shape[1:]):
            share = kept[place[:2]]
            y[n][place] = share * x[n][place] + (1 - share) * x[partner][place]
    return y
