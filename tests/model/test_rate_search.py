"""The search for a learning rate: what it runs, what it finds, and that the model stays as it is."""

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.errors import InvalidTypeError, InvalidValueError
from optional import needs
from program_cases import Alternating
from resume_cases import IMAGES, LABELS, check_same, fit, new_model

PLAIN = cnn.NumPy(fast=False)
SEARCH = {"optimizer": cnn.SGD(0.3, momentum=0.5), "batch_size": 4, "steps": 20, "highest": 2.0}


def test_the_model_stays_as_it_is_to_the_last_bit():
    model, other = new_model(PLAIN), new_model(PLAIN)
    for one in (model, other):
        fit(one, epochs=1)
    standing, states = model.standing, (random.getstate(), np.random.get_state()[1].tobytes())  # noqa: NPY002
    arrays = {name: array.tobytes() for name, array in model.parameters.items()}
    cnn.find_learning_rate(model, IMAGES, LABELS, **SEARCH)
    assert model.standing is standing
    assert {name: array.tobytes() for name, array in model.parameters.items()} == arrays
    assert (random.getstate(), np.random.get_state()[1].tobytes()) == states  # noqa: NPY002
    check_same(other, model)
    for one in (model, other):
        fit(one)
    check_same(other, model)


def test_what_a_layer_counts_stays():
    layer = Alternating()
    network = cnn.Sequential(layer, cnn.Flatten(), cnn.Dense(3))
    model = cnn.Model(network, (3, 3), PLAIN)
    before = list(layer.calls)
    cnn.find_learning_rate(model, IMAGES, LABELS, **SEARCH)
    assert layer.calls == before


@pytest.mark.parametrize("wrap", [lambda rule: rule, lambda rule: cnn.EMA(cnn.ClipNorm(rule))])
def test_its_losses_are_those_of_a_training_at_these_rates(wrap):
    rates = [1e-6 * (2.0 / 1e-6) ** (step / 19) for step in range(20)]
    model = new_model(PLAIN, dtype="float64")
    found = cnn.find_learning_rate(
        model, IMAGES, LABELS, **{**SEARCH, "optimizer": wrap(SEARCH["optimizer"])}
    )
    rule = cnn.SGD(lambda step, total: rates[min(step, 19)], momentum=0.5)
    history = model.fit(IMAGES, LABELS, epochs=7, batch_size=4, optimizer=wrap(rule))
    count = len(found.rates)
    assert count == 20 or found.diverged
    np.testing.assert_allclose(found.rates, rates[:count], rtol=1e-12)
    np.testing.assert_array_equal(found.losses, history.step_losses[:count])


def test_the_suggestion_is_where_the_loss_falls_fastest():
    images = np.random.default_rng(0).normal(size=(60, 4, 4, 1))
    labels = (images.mean(axis=(1, 2, 3)) > 0).astype(int)
    model = cnn.Model(cnn.Sequential(cnn.Flatten(), cnn.Dense(2)), (4, 4), PLAIN)
    found = cnn.find_learning_rate(model, images, labels, batch_size=20, steps=100)
    smoothed = [
        sum(found.losses[max(n - 2, 0) : n + 3]) / len(found.losses[max(n - 2, 0) : n + 3])
        for n in range(len(found.losses))
    ]
    np.testing.assert_allclose(found.smoothed, smoothed, rtol=1e-12)
    bottom = smoothed.index(min(smoothed))
    step = math.log(found.rates[1] / found.rates[0])
    slopes = [(smoothed[n + 1] - smoothed[n - 1]) / 2 / step for n in range(1, bottom)]
    assert found.suggestion == found.rates[1 + slopes.index(min(slopes))]
    trained = model.fit(
        images, labels, epochs=5, batch_size=20, optimizer=cnn.SGD(found.suggestion)
    )
    assert trained[-1].train_loss < 0.8 * trained[0].train_loss


def test_it_ends_where_the_loss_diverges():
    wild = {**SEARCH, "highest": 1e6, "steps": 60, "optimizer": cnn.SGD(0.1)}
    model = new_model(PLAIN, dtype="float64")  # whose losses stay finite
    found = cnn.find_learning_rate(model, IMAGES, LABELS, **wild)
    assert found.diverged
    assert 10 < len(found.rates) < 60
    assert found.losses.max() < 1e3  # soon, not where numbers end
    assert found.suggestion < found.rates[-1]


class Lowered(cnn.MeanSquaredError):
    """Less a number, which changes no gradient."""

    def loss_and_gradient(self, xp, outputs, labels):
        losses, gradient = super().loss_and_gradient(xp, outputs, labels)
        return losses - 5.0, gradient


def numbers(loss):
    images = np.random.default_rng(0).normal(size=(60, 4, 4, 1))
    network = cnn.Sequential(cnn.Flatten(), cnn.Dense(1))
    model = cnn.Model(network, (4, 4), PLAIN, dtype="float64", loss=loss)
    return model, images, 3.0 + images.mean(axis=(1, 2, 3))


def test_a_loss_below_0_does_not_diverge_where_it_falls():
    usual, lowered = (
        cnn.find_learning_rate(*numbers(loss), batch_size=20, steps=100)
        for loss in (cnn.MeanSquaredError(), Lowered())
    )
    assert len(lowered.rates) >= len(usual.rates)
    assert lowered.diverged
    assert lowered.suggestion == usual.suggestion


def test_it_says_where_the_loss_hardly_fell(caplog):
    model, images, labels = numbers(cnn.MeanSquaredError())
    cnn.find_learning_rate(model, images, labels, batch_size=20)
    assert not caplog.records
    cnn.find_learning_rate(model, images, labels, batch_size=20, lowest=10.0, highest=1e3)
    cnn.find_learning_rate(model, images, labels, batch_size=20, lowest=1e-12, highest=1e-11)
    first, second = caplog.messages
    assert "find_learning_rate: the loss fell from " in first
    assert "no further than batches differ, so the suggestion says little" in second


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        (
            {"lowest": 0.0},
            InvalidValueError,
            "lowest must be above 0 and below the highest rate, got 0.0",
        ),
        ({"lowest": 3.0}, InvalidValueError, "got 3.0 and 2.0"),
        (
            {"lowest": 1e-300, "highest": 1e300},
            InvalidValueError,
            "highest must be at most 1e308 times the lowest rate, got",
        ),
        ({"highest": math.inf}, InvalidValueError, "highest must be finite"),
        ({"steps": 9}, InvalidValueError, "steps must be at least 10, got 9"),
        ({"optimizer": cnn.SGD}, InvalidTypeError, "must be an optimizer"),
        ({"lowest": 1e30, "highest": 1e31}, InvalidValueError, "begin with a lower lowest"),
    ],
)
def test_wrong_settings(settings, error, words):
    with pytest.raises(error, match=words):
        cnn.find_learning_rate(new_model(PLAIN), IMAGES, LABELS, **{**SEARCH, **settings})


COMMAND = ("find-rate", "--backend", "numpy", "--no-fast", "--network", "scratch", "--limit", 60)
COMMAND += ("--steps", 40)


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_command_draws_what_python_finds(kind, cli):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    code, out, _ = cli(*COMMAND, "--json", "--plot", f"losses.{kind}")
    assert code == 0
    found = json.loads(out)
    rates = [step["learning_rate"] for step in found["steps"]]
    assert found["suggestion"] in rates
    assert rates[0] == 1e-6
    begin = Path(f"losses.{kind}").read_bytes()[:300]
    assert begin.startswith(b"\x89PNG") if kind == "png" else b"<svg" in begin
    assert [path.name for path in Path().iterdir()] == [f"losses.{kind}"]


def test_the_command_in_words(cli):
    code, out, _ = cli(*COMMAND)
    assert code == 0
    *table, last = out.splitlines()
    assert last.startswith("the loss falls fastest at ")
    assert all(line.startswith(("rate", "the loss rose")) for line in table)
    code, _, said = cli(*COMMAND, "--plot", "losses.pdf")
    assert code == 2
    assert "--plot must end in .png or .svg, got losses.pdf" in " ".join(said)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--lowest", 1, "--highest", 0.1), "--lowest must be above 0 and below the highest rate"),
        (("--lowest", 1e-300, "--highest", 1e300), "--highest must be at most 1e308 times the low"),
    ],
)
def test_the_command_speaks_of_its_options(given, words, cli):
    code, _, said = cli(*COMMAND, *given)
    assert code == 2
    assert words in said[-1]
    assert "find_learning_rate" not in said[-1]


@needs("matplotlib")
def test_the_chart_shows_the_losses_and_the_suggestion():
    from arraycnn import report

    rates = np.array([0.1, 0.2, 0.4, 0.8])
    losses = np.array([2.0, 1.5, 0.7, 0.9])
    figure = report.plot_rate_search(cnn.RateSearch(rates, losses, losses + 0.1, 0.4, True))
    (axes,) = figure.axes
    raw, smoothed, point = axes.lines
    np.testing.assert_array_equal(raw.get_xydata(), np.stack([rates, losses], axis=1))
    np.testing.assert_array_equal(smoothed.get_ydata(), losses + 0.1)
    np.testing.assert_allclose(point.get_xydata(), [[0.4, 0.8]])
    assert axes.get_xscale() == "log"
