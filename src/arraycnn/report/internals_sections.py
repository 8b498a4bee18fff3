"""The sections of the page that show images and what is inside the network."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from arraycnn.report import charts, galleries
from arraycnn.report import sentences as words
from arraycnn.report import thumbnails as tiles
from arraycnn.report.examination import Examination
from arraycnn.report.examined import Examined
from arraycnn.report.figures import to_inline_svg, to_picture
from arraycnn.report.markup import Html, picture, table, tag


def mistakes(found: Examination) -> list[Html]:
    """The images that the network was surest and wrong about."""
    if not len(found.mistakes):
        return [tag("p", "There is none: every test image was classified correctly.")]
    names, items = found.class_names, []
    for place in found.mistakes:
        row = found.probabilities[place]
        true, taken = names[found.labels[place]], names[row.argmax()]
        sure = words.percent(float(row.max()))
        alt = f"Test image {place}: {true}, taken for {taken}, {sure} sure"
        caption = [
            tag("b", true, " → ", taken),
            tag("span", f"{sure} sure"),
            tag("span", f"no. {place}"),
        ]
        items.append(
            tag(
                "figure",
                tile(tiles.grey_or_colour(found.picture(place)), alt, 96),
                tag("figcaption", caption),
            )
        )
    wrong = found.total - found.right
    shown = "all the" if len(items) == wrong else f"{len(items)} of the"
    text = (
        f"True class → predicted class: {shown} {wrong:,} test images that were taken for another "
        "class, those first of which the network was surest. The number is the image's position "
        "in the test set, for "
    )
    return [tag("p", text, tag("code", "--image"), "."), tag("div", items, class_="tiles")]


def filters(found: Examined) -> list[Html]:
    """The weights of the first layer, as pictures."""
    if found.filters is None:
        return [tag("p", "The first layer with weights has none that can be shown as pictures.")]
    weight = found.filters
    shape = found.images.shape[1:]
    sheet = galleries.filter_sheet(weight, shape)
    count = weight.shape[-1]
    in_colour = weight.ndim == 4 and weight.shape[2] == 3
    size = "×".join(map(str, weight.shape[:2] if weight.ndim == 4 else shape[:2]))
    shown = f"the first {galleries.MOST_MAPS} of {count}" if count > galleries.MOST_MAPS else count
    text = (
        f"What the first layer with weights (layer {found.filters_layer}) looks for: {shown} "
        f"filters of {size} pixels, all on one scale. {_legend(in_colour)}"
    )
    alt = (
        f"{min(count, galleries.MOST_MAPS)} filters of {size} pixels of layer {found.filters_layer}"
    )
    return [tag("p", text), tag("figure", tile(sheet, alt, sheet.shape[1]))]


def feature_maps(found: Examined) -> list[Html]:
    """What each layer puts out for one image."""
    what = found.told(found.image)
    if isinstance(found, Examination):
        sure = words.percent(float(found.probabilities[found.image].max()))
        what = f"{what} ({sure} sure)"
    text = (
        f"What each layer makes of test image {found.image}: "
        f"{what}. Each layer on its own scale. {_legend(False)} "
        "Another image: "
    )
    image = galleries.image_sheet(found.picture(found.image))
    items = [_map_card("The image", _size(found.images.shape[1:]), "The image", image)]
    before, previous = "the image", found.picture(found.image)
    for layer in found.maps:
        output, title = layer.output[0], f"{layer.path} {layer.layer}"
        size = _size(output.shape)
        if np.array_equal(output, previous):
            items.append(_map_card(title, f"{size}, the same as {before}"))
            continue
        before, previous = f"layer {layer.path}", output
        size = f"{size}, {words.percent(float((output > 0).mean()), 0)} above zero"
        alt = f"Output of {before}, {layer.layer}: {size}"
        if output.ndim == 3 and output.shape[2] > galleries.MOST_MAPS:
            size = f"{size}; {galleries.MOST_MAPS} shown"
        items.append(_map_card(title, size, alt, galleries.feature_sheet(output)))
    return [tag("p", text, tag("code", "--image N"), "."), tag("div", items, class_="maps")]


def saliency(found: Examined) -> list[Html]:
    """Images beside the gradients of their scores."""
    assert found.saliency is not None
    items, is_of_classes = [], isinstance(found, Examination)
    for place, gradient in zip(found.examples, found.saliency, strict=True):
        sheet = galleries.saliency_sheet(found.picture(place), gradient)
        seen, alt = (
            found.told(place),
            f"Test image {place}, beside the gradient of the largest output",
        )
        if isinstance(found, Examination):
            true, taken = found.shown(place), found.class_names[found.predictions[place]]
            seen = true if true == taken else f"{true} → {taken}"
            alt = f"Test image {place}, {true}, beside the gradient of the score of class {taken}"
        items.append(
            tag(
                "figure",
                tile(sheet, alt, sheet.shape[1]),
                tag("figcaption", tag("b", seen), tag("span", f"no. {place}")),
            )
        )
    score = "the predicted class's score" if is_of_classes else "the largest output"
    then = "the first of each class" if is_of_classes else "the first ones"
    text = (
        f"Which pixels the decision hangs on: the gradient of {score} with "
        "respect to the image. Where it is orange, a brighter pixel would raise the score; "
        f"where it is blue, lower it. The image of the feature maps, then {then}."
    )
    return [tag("p", text), tag("div", items, class_="tiles wide")]


def augmented(found: Examined) -> list[Html]:
    """Images beside what the network's augmentation makes of them."""
    assert found.augmented is not None
    items = []
    for number, place in enumerate(found.examples):
        name = found.shown(place)
        sheet = galleries.augmented_sheet(found.picture(place), found.augmented[:, number])
        alt = f"Test image {place}, {name}, and {len(found.augmented)} augmented copies of it"
        caption = tag("figcaption", tag("b", name), tag("span", f"no. {place}"))
        items.append(tag("figure", tile(sheet, alt, sheet.shape[1]), caption))
    text = (
        "What the first layers make of images in training: at the left the image, beside it as the "
        "network would see it in other steps. In tests and predictions these layers do nothing."
    )
    return [tag("p", text), tag("div", items, class_="maps")]


def layers(found: Examined, prefix: str) -> list[Html]:
    """Norms and times by layer."""
    times = {row.path: row for row in found.times}
    step = sum(row.forward + row.backward for row in found.times)
    slowest = max(found.times, key=lambda row: row.forward + row.backward)
    share = (slowest.forward + slowest.backward) / step
    figures = [
        chart(
            charts.plot_norms(found.norms),
            f"{prefix}norms",
            "Norms of parameters and gradients by layer; the numbers are in the table.",
            "Norms",
            f"Euclidean norms of the parameters and of the mean loss's gradient over "
            f"{found.batch} test images, without dropout.",
        ),
        chart(
            charts.plot_layer_times(found.times),
            f"{prefix}times",
            "Time of each layer, forward and backward; the numbers are in the table.",
            "Time",
            f"A batch of {found.batch} images: {words.seconds(step)}, of which "
            f"{words.percent(share, 0)} in layer {slowest.path}. Each layer by itself, neither "
            "fused nor shared out among threads, so a training step may take less.",
        ),
    ]
    rows = [
        [
            tag("code", f"{row.path} {row.layer}"),
            _size(row.output_shape),
            f"{row.parameters:,}" if row.parameters else "",
            f"{row.parameter_norm:.3g}" if row.parameters else "",
            f"{row.gradient_norm:.3g}" if row.parameters else "",
            words.seconds(times[row.path].forward),
            words.seconds(times[row.path].backward) if times[row.path].backward else "",
        ]
        for row in found.norms
    ]
    head = ["layer", "output", "parameters", "norm", "gradient norm", "forward", "backward"]
    numbers = table(
        f"Layers, from input to output; times for {found.batch} images",
        head,
        rows,
        class_="figures",
    )
    return [tag("div", figures, class_="charts two"), numbers]


def chart(figure: Any, name: str, description: str, title: str, caption: str) -> Html:
    """A figure with its caption; ``description`` is what a screen reader says."""
    return tag(
        "figure",
        Html(to_inline_svg(figure, name, description)),
        tag("figcaption", tag("b", title), " ", caption),
    )


def tile(pixels: np.ndarray, alt: str, width: int) -> Html:
    """Pixels as a picture of the page, ``width`` wide."""
    height = round(width * pixels.shape[0] / pixels.shape[1])
    return picture(to_picture(pixels), alt, width, height, class_="pixels")


def _map_card(title: str, size: str, alt: str = "", sheet: np.ndarray | None = None) -> Html:
    """A layer with its picture, or without where it would be that of the layer before."""
    return tag(
        "figure",
        tag("figcaption", tag("b", title), tag("span", size)),
        None if sheet is None else tile(sheet, alt, sheet.shape[1]),
    )


def _legend(colour: bool) -> str:
    if colour:
        return "In colour, grey is zero."
    return "Orange is above zero, blue below."


def _size(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))
