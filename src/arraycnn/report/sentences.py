"""What the reader sees, in sentences."""

from collections.abc import Sequence

import numpy as np

from arraycnn.report.examination import Examination
from arraycnn.report.measures import Calibration, ClassScores, confusions, wilson_interval
from arraycnn.training.history import EpochRecord

_MOST_DIGITS = 2
_THIN = "\N{NARROW NO-BREAK SPACE}"


def percent(share: float, digits: int = 1) -> str:
    """A share as 98.6 %; never as 100 % where it is not all."""
    if not np.isfinite(share):
        return "–"
    if share < 1 and round(100 * share, digits) == 100:
        if digits >= _MOST_DIGITS:
            return f"> {100 - 10**-digits:.{digits}f}{_THIN}%"
        return percent(share, digits + 1)
    return f"{100 * share:.{digits}f}{_THIN}%"


def seconds(time: float) -> str:
    """A time with its unit, as 1.9 s, 850 µs or 3 min 20 s."""
    if time >= 60:
        minutes, rest = divmod(round(time), 60)
        return f"{minutes}{_THIN}min {rest}{_THIN}s"
    if time >= 1:
        return f"{time:.1f}{_THIN}s"
    if time >= 1e-3:
        return f"{1e3 * time:.3g}{_THIN}ms"
    return f"{1e6 * time:.0f}{_THIN}µs"


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def accuracy(found: Examination) -> str:
    """98.6 % of 10,000 test images right; most often 4 is taken for 9 (12 of 982)."""
    images = f"{found.total:,} test image{'s' if found.total > 1 else ''}"
    if found.right == found.total:
        return f"All {images} right."
    worst = confusions(found.confusion)[0]
    names = found.class_names
    return (
        f"{percent(found.accuracy)} of {images} right, {found.total - found.right:,} wrong; "
        f"most often {names[worst.true]} is taken for {names[worst.predicted]} "
        f"({worst.count:,} of {worst.total:,})."
    )


def certainty(found: Examination) -> str:
    """How far the accuracy can be trusted."""
    low, high = wilson_interval(found.right, found.total)
    return (
        f"With this many images, the accuracy is known to lie between {percent(low)} and "
        f"{percent(high)} (95{_THIN}% interval)."
    )


def training(epochs: Sequence[EpochRecord], finished: bool) -> str:
    """What the learning curves show."""
    if not epochs:
        return "No epoch was finished."
    last, count = epochs[-1], len(epochs)
    text = f"{count} epoch{'s' if count > 1 else ''}"
    text += "" if finished else " so far; the run is not finished"
    if last.train_accuracy is not None:
        text += (
            f". After the last, {percent(last.train_accuracy)} of the training images were right"
        )
    watched = [r for r in epochs if r.validation_loss is not None]
    if not watched:
        return f"{text}; no images were held out for validation."
    best = min(watched, key=lambda record: record.validation_loss or 0.0)
    place = "the last epoch" if best is last else f"epoch {best.epoch} of {count}"
    if watched[-1].validation_accuracy is None or last.train_accuracy is None:
        return f"{text}. The validation loss was lowest after {place}."
    held_out = percent(watched[-1].validation_accuracy)
    return (
        f"{text} and {held_out} of those held out for validation. "
        f"The validation loss was lowest after {place}."
    )


def classes(scores: ClassScores, names: Sequence[str]) -> str:
    """Which class is recognised best, and which worst."""
    known = [n for n in range(len(names)) if scores.support[n] and np.isfinite(scores.f1[n])]
    if len(known) < 2:
        return "Precision, recall and F1 of each class."
    best, worst = (pick(known, key=lambda n: scores.f1[n]) for pick in (max, min))
    return (
        f"Recognised best is {names[best]} (F1 {scores.f1[best]:.3f}), worst "
        f"{names[worst]} (F1 {scores.f1[worst]:.3f}). Macro average of F1: "
        f"{np.mean(scores.f1[known]):.3f}."
    )


def calibration(measured: Calibration) -> str:
    """Whether the network is as sure as it should be."""
    points = abs(100 * measured.gap)
    side = "too sure" if measured.gap > 0 else "not sure enough"
    average = f"{points:.1f} points {side}" if points >= 0.05 else "as sure as it is right"
    verdict = f"On average it is {average}"
    return f"Expected calibration error {percent(measured.ece)}. {verdict}."


def confusion_picture(found: Examination) -> str:
    """The confusion matrix for those who do not see it."""
    kinds = confusions(found.confusion)
    if not kinds:
        return "Confusion matrix: every image on the diagonal, none confused."
    names = found.class_names
    worst = listed([f"{names[c.true]} for {names[c.predicted]} {c.count:,}" for c in kinds[:3]])
    return (
        f"Confusion matrix of {len(names)} classes: {found.right:,} of {found.total:,} images on "
        f"the diagonal. Taken most often: {worst}."
    )


def curve_picture(name: str, epochs: Sequence[EpochRecord], field: str) -> str:
    """A curve for those who do not see it: where it begins and ends."""
    parts = []
    for kind, label in (("train_", "training"), ("validation_", "validation"), ("", "")):
        metric = f"{kind}{field}"
        values = [getattr(record, metric, record.value(metric)) for record in epochs]
        known = [value for value in values if value is not None]
        if known:
            parts.append(f"{label} from {known[0]:.4g} to {known[-1]:.4g}".strip())
    return f"{name} over {len(epochs)} epochs: {listed(parts)}." if parts else name
