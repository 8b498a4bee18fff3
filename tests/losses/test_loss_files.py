"""Files of models with another loss than cross-entropy: exports, imports, versions, the commands."""

import re
from pathlib import Path

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.errors import CheckpointError
from arraycnn.export import (
    export_onnx,
    export_safetensors,
    export_torch,
    import_safetensors,
    to_onnx,
)
from arraycnn.ops import array_namespace
from arraycnn.storage import checkpoint
from optional import Late, needs
from outside import Focal, LogCosh

torch = Late("torch")
RNG = np.random.default_rng(8)
IMAGES = RNG.integers(0, 256, (5, 6, 5, 1), dtype=np.uint8)
BODY = (cnn.Rescale(), cnn.Conv2d(3, 3), cnn.ReLU())
NETWORK = cnn.Sequential(*BODY, cnn.Flatten(), cnn.Dense(3))
TO_IMAGES = cnn.Sequential(*BODY, cnn.Conv2d(2, 1))
# What the file ends with, what it calls its result, and what the module's text says of its outputs.
CLASSES = (
    "Softmax",
    "probabilities",
    "logits: (N, {}); their softmax is\nthe probabilities of the c",
)
LABELS = "Sigmoid", "probabilities", "logits: (N, {}); their sigmoid is\nthe probabilities of the l"
NUMBERS = "Identity", "outputs", "outputs: (N, {})."
EXPORTS = [
    (cnn.SoftmaxCrossEntropy(0.1, (1, 2, 3), top_k=2), NETWORK, *CLASSES),
    (Focal(), NETWORK, *CLASSES),
    (cnn.SoftmaxCrossEntropy(per_pixel=True), TO_IMAGES, *CLASSES),
    (cnn.BinaryCrossEntropy((1, 2, 3)), NETWORK, *LABELS),
    (cnn.BinaryCrossEntropy(), TO_IMAGES, *LABELS),
    (cnn.MeanSquaredError(), NETWORK, *NUMBERS),
    (cnn.Huber(0.5), TO_IMAGES, *NUMBERS),
    (LogCosh(2.0), NETWORK, *NUMBERS),
]
each_export = pytest.mark.parametrize(
    ("loss", "network", "end", "name", "said"), EXPORTS, ids=[f"{one[0]}" for one in EXPORTS]
)


def model_of(loss, network=NETWORK):
    return cnn.Model(network, (6, 5), loss=loss, seed=3)


@needs("onnx", "onnxruntime")
@each_export
def test_onnx_ends_with_what_the_loss_predicts(loss, network, end, name, said, tmp_path):
    model = model_of(loss, network)
    export_onnx(model, tmp_path / "a.onnx")
    content = (tmp_path / "a.onnx").read_bytes()
    session = Late("onnxruntime").InferenceSession(content, providers=["CPUExecutionProvider"])
    (output,) = session.get_outputs()
    assert (output.name, output.shape) == (name, ["N", *model.output_shape])
    assert end in ("Identity", to_onnx(model).graph.node[-1].op_type)
    for count in (1, 5):
        (found,) = session.run(None, {"images": IMAGES[:count]})
        np.testing.assert_allclose(found, model.predict(IMAGES)[:count], rtol=1e-5, atol=1e-6)


@needs("torch", "safetensors")
@each_export
def test_the_module_gives_the_outputs_and_says_what_they_are(
    loss, network, end, name, said, tmp_path
):
    model = model_of(loss, network)
    export_torch(model, tmp_path / "own.py")
    text, scope = (tmp_path / "own.py").read_text(), {"__file__": str(tmp_path / "own.py")}
    assert said.format("3" if network is NETWORK else "2, 4, 3") in text
    exec(compile(text, tmp_path / "own.py", "exec"), scope)
    with torch.no_grad():
        outputs = scope["load"]()(torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy())).numpy()
    outputs = outputs if network is NETWORK else outputs.transpose(0, 2, 3, 1)
    expected = {
        "Softmax": np.exp(outputs) / np.exp(outputs).sum(axis=-1, keepdims=True),
        "Sigmoid": 1.0 / (1.0 + np.exp(-outputs)),
        "Identity": outputs,
    }[end]
    np.testing.assert_allclose(model.predict(IMAGES), expected, rtol=1e-5, atol=1e-6)


@needs("onnx", "onnxruntime")
def test_onnx_ends_with_what_a_loss_of_no_kind_predicts():
    class Own(cnn.Loss):
        def loss_and_gradient(self, xp, outputs, labels): ...
        def measured(self, xp, outputs, labels): ...
        def predictions(self, ops, outputs):
            return array_namespace(outputs).argmax(outputs, axis=-1)

        def label_form(self, output_shape):
            return output_shape, True

    model = model_of(Own())
    content = to_onnx(model).SerializeToString()
    session = Late("onnxruntime").InferenceSession(content, providers=["CPUExecutionProvider"])
    (output,) = session.get_outputs()
    assert (output.name, output.type, output.shape) == ("outputs", "tensor(int64)", ["N"])
    np.testing.assert_array_equal(session.run(None, {"images": IMAGES})[0], model.predict(IMAGES))


@needs("safetensors")
def test_safetensors_keep_the_loss(tmp_path):
    path = tmp_path / "w.safetensors"
    for loss, network, *_ in EXPORTS:
        model = model_of(loss, network)
        export_safetensors(model, path)
        again = import_safetensors(path, losses=[Focal, LogCosh])
        assert again.loss == loss
        np.testing.assert_array_equal(again.predict(IMAGES), model.predict(IMAGES))
        # Of a network that is given the loss is, too.
        given = cnn.MeanSquaredError()
        assert import_safetensors(path, network, (6, 5), loss=given).loss == given
    assert import_safetensors(path, NETWORK, (6, 5)).loss == cnn.SoftmaxCrossEntropy()
    with pytest.raises(CheckpointError, match=r"unknown loss 'LogCosh'.* losses=\[LogCo"):
        import_safetensors(path)
    export_safetensors(model_of(cnn.SoftmaxCrossEntropy()), path)
    assert b'\\"loss\\"' not in path.read_bytes()


@needs("safetensors")
def test_the_import_command_keeps_the_loss(tmp_path, cli):
    model_of(cnn.Huber(0.5)).save("a.npz")
    assert cli("export", "a.npz", "--format", "safetensors")[0] == 0
    for source in ([], ["--network", "a.npz"]):
        assert cli("import", "a.safetensors", *source, "--out", "b.npz", "--force")[0] == 0
        assert cnn.Model.load("b.npz").loss == cnn.Huber(0.5)


def test_a_version_that_knows_one_loss_refuses_the_file_of_another(tmp_path, monkeypatch):
    """As it was before there was a second version of the format."""
    model_of(cnn.SoftmaxCrossEntropy()).save(tmp_path / "plain.npz")
    model_of(cnn.Huber()).save(tmp_path / "huber.npz")
    monkeypatch.setattr(checkpoint, "LOSS_VERSION", 1)
    cnn.Model.load(tmp_path / "plain.npz")
    with pytest.raises(CheckpointError, match="got 2; use the version of arraycnn that wrote it"):
        cnn.Model.load(tmp_path / "huber.npz")


BROKEN = [
    ({"loss": 5}, "does not describe a model"),
    ({"loss": {}}, "unknown loss None"),
    ({"loss": {"class": ["Huber"]}}, "unknown loss"),
    ({"loss": {"class": "Loss"}}, "unknown loss 'Loss'"),
    ({"loss": {"class": "Huber", "delta": -1.0}}, "Huber cannot be built from the saved settings"),
    ({"loss": {"class": "Huber", "theta": 1.0}}, "Huber cannot be built from the saved settings"),
    ({"loss": {"class": "BinaryCrossEntropy", "positive_weight": [1.0]}}, "describe a model"),
    ({"loss": {"class": "SoftmaxCrossEntropy", "class_weight": "abc"}}, "cannot be built from"),
]


@pytest.mark.parametrize(("change", "said"), BROKEN)
def test_a_loss_that_cannot_be_built_is_refused_in_one_line(change, said, tmp_path):
    path = tmp_path / "a.npz"
    model_of(cnn.Huber()).save(path)
    header, arrays = checkpoint.read_checkpoint(path)
    checkpoint.write_checkpoint(path, {**header, **change}, arrays)
    with pytest.raises(CheckpointError) as caught:
        cnn.Model.load(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_is_not_resumed_with_a_model_of_other_labels(tmp_path, cli):
    settings = ["--dataset", "digits", "--network", "scratch", "--limit", "40", "--epochs", "1"]
    assert cli("train", "--backend", "numpy", *settings, "--out", "run")[0] == 0
    model = cnn.Model(cnn.networks.scratch(10), (8, 8), loss=cnn.MeanSquaredError())
    keep = cnn.Checkpoint(model, tmp_path / "run" / "last.npz")
    images, labels = IMAGES.repeat(2, axis=1)[:, :8], RNG.normal(size=(5, 10))
    model.fit(np.pad(images, ((0, 0), (0, 0), (0, 3), (0, 0))), labels, callbacks=[keep])
    content = (tmp_path / "run" / "last.npz").read_bytes()
    again = ["train", "--resume", "run", "--epochs", "2", "--override"]
    measure = ["evaluate", "run/last.npz", "--dataset", "digits"]
    for command, words in (
        (again, "--loss was one of other labels, MeanSquaredError; that cannot change within"),
        (
            measure,
            "digits: labels must be numbers, (N,), (N, numbers), or images of numbers, this set",
        ),
    ):
        code, _, said = cli(*command)
        assert code != 0
        assert words in said[-1]
    assert (tmp_path / "run" / "last.npz").read_bytes() == content


@needs("matplotlib")
def test_curves_show_what_the_loss_measures(recwarn):
    from arraycnn.report import plot_comparison, plot_learning_curves

    model, values = model_of(cnn.Huber()), RNG.normal(size=(5, 3))
    history = model.fit(IMAGES, values, epochs=2, validation=(IMAGES, values))
    for figure in (plot_learning_curves(history), plot_comparison({"one": history})):
        loss, error, _ = figure.axes
        titles = [axes.get_title(loc="left") for axes in (loss, error)]
        assert titles == ["Loss", "Mean absolute error"]
        shown = error.lines[-1].get_ydata().tolist()
        assert shown == [r.others["validation_mean_absolute_error"] for r in history]
    assert not recwarn.list


def test_what_the_page_on_losses_shows_runs(capsys, monkeypatch):
    # Five networks, whose compilation is no part of what the page says.
    monkeypatch.setattr(cnn.NumPy, "_is_fast", lambda self: False)
    page = (Path(__file__).parent.parent.parent / "docs" / "LOSSES.md").read_text()
    examples = re.findall(r"^```python\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    shown = {}
    for example in examples:
        exec(example, shown)
    told, labels = shown["has"], shown["labels"]
    accuracy, f1, _ = map(float, capsys.readouterr().out.split())
    assert accuracy == pytest.approx((told == labels).mean())
    both, either = (told & labels).sum(axis=0), told.sum(axis=0) + labels.sum(axis=0)
    assert f1 == pytest.approx((2 * both / either).mean())
    assert shown["error"] == pytest.approx(
        np.abs(shown["guesses"][:, 0] - shown["angles"]).mean(), rel=1e-5
    )
    assert 0.3 < shown["among_two"] <= 1.0
    assert shown["segments"].predict(shown["images"]).shape == (60, 8, 8, 3)
