"""The model file: what comes back, what is noticed, and what a crash leaves behind."""

import hashlib
import io
import json
import os
import pickle
import sys
import zipfile

import numpy as np
import pytest

from arraycnn import (
    SGD,
    ArrayAPIStrict,
    BackendUnavailableError,
    BatchNorm2d,
    Callback,
    CheckpointError,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    InvalidTypeError,
    InvalidValueError,
    MaxPool2d,
    Model,
    ReLU,
    Rescale,
    Residual,
    Sequential,
    get_backend,
)
from arraycnn.storage.checkpoint import decode_checkpoint, read_checkpoint, write_checkpoint

NETWORK = Sequential(
    Rescale(),
    Conv2d(3, (3, 2), stride=(1, 2), padding=(1, 0), bias=False),
    BatchNorm2d(momentum=0.3),
    ReLU(),
    Residual(Conv2d(4, 3, padding="same"), shortcut=Conv2d(4, 1)),
    MaxPool2d(2, ties="all"),
    Dropout(0.25),
    Sequential(GlobalAvgPool2d()),
    Dense(3),
)
IMAGES = np.random.default_rng(1).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
LABELS = np.random.default_rng(2).integers(0, 3, 20)
BACKENDS = ["numpy", "device1", "torch", "jax"]


def make_backend(name):
    if name in ("torch", "jax"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    return ArrayAPIStrict("device1") if name == "device1" else get_backend(name)


@pytest.fixture(params=BACKENDS)
def backend(request):
    return make_backend(request.param)


@pytest.fixture(params=BACKENDS)
def other_backend(request):
    return make_backend(request.param)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.npz"


def trained(backend="numpy", **settings):
    model = Model(NETWORK, (8, 8), backend, seed=7, class_names=("a", "b", "c"), **settings)
    model.fit(IMAGES, LABELS, epochs=2, batch_size=10, optimizer=SGD(0.1, momentum=0.9))
    return model


def state_of(model, path):
    """Everything that a model's file holds."""
    model.save(path)
    return read_checkpoint(path)


def check_same_files(one, other):
    (header, arrays), (other_header, other_arrays) = one, other
    assert header == other_header
    assert list(arrays) == list(other_arrays)
    for name, array in arrays.items():
        assert other_arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(other_arrays[name], array)


# --- there and back -------------------------------------------------------------------------------


def test_everything_comes_back_on_every_backend(backend, other_backend, path, tmp_path):
    model = trained(backend)
    saved = state_of(model, path)
    loaded = Model.load(path, other_backend)

    assert loaded.backend == other_backend
    assert loaded.network == NETWORK
    assert (loaded.input_shape, loaded.seed, loaded.dtype) == ((8, 8, 1), 7, "float32")
    assert (loaded.epochs_done, loaded.steps_done) == (2, 4)
    assert (loaded.classes, loaded.class_names) == (3, ("a", "b", "c"))
    check_same_files(saved, state_of(loaded, tmp_path / "again.npz"))
    for name, array in model.parameters.items():
        np.testing.assert_array_equal(loaded.parameters[name], array)
    np.testing.assert_allclose(loaded.predict(IMAGES), model.predict(IMAGES), rtol=1e-4)


def test_the_file_holds_the_state_of_batch_norm(path):
    model = trained()
    arrays = state_of(model, path)[1]
    assert {name for name in arrays if name.startswith("state/")} == {
        "state/2.mean",
        "state/2.variance",
    }
    fresh = state_of(Model(NETWORK, (8, 8), seed=7), path)[1]
    assert (arrays["state/2.mean"] != fresh["state/2.mean"]).all()


def test_training_goes_on_from_a_file_as_without_it(path):
    model = trained()
    model.save(path)
    loaded = Model.load(path)
    for each in (model, loaded):
        each.fit(IMAGES, LABELS, epochs=2, batch_size=8, optimizer=SGD(0.1))
    for name, array in model.parameters.items():
        np.testing.assert_array_equal(loaded.parameters[name], array)


def test_float64_stays_float64(path):
    model = trained(dtype="float64")
    model.save(path)
    loaded = Model.load(path)
    assert loaded.dtype == "float64"
    assert loaded.parameters["1.weight"].dtype == np.float64
    np.testing.assert_array_equal(loaded.predict(IMAGES), model.predict(IMAGES))


def test_numpy_alone_reads_the_file(path):
    model = trained()
    model.save(path)
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = json.loads(arrays["header"].tobytes())
    assert header["format_version"] == 1
    assert header["input_shape"] == [8, 8, 1]
    np.testing.assert_array_equal(arrays["params/8.weight"], model.parameters["8.weight"])
    assert zipfile.ZipFile(path).testzip() is None


def test_the_same_model_makes_the_same_bytes(path, tmp_path):
    other = tmp_path / "other.npz"
    for target in (path, other):
        trained().save(target)
    assert path.read_bytes() == other.read_bytes()
    # and no entry holds the time of day
    assert {entry.date_time for entry in zipfile.ZipFile(path).infolist()} == {
        (1980, 1, 1, 0, 0, 0)
    }


def test_saving_replaces_the_file_and_leaves_nothing_beside_it(path):
    Model(NETWORK, (8, 8)).save(path)
    model = trained()
    model.save(str(path))
    assert Model.load(str(path)).epochs_done == 2
    assert list(path.parent.iterdir()) == [path]


# --- what is noticed ------------------------------------------------------------------------------


@pytest.fixture
def tiny(path):
    """The bytes of a small file."""
    Model(Sequential(Flatten(), Dense(2)), (1, 1), class_names=("no", "yes")).save(path)
    return path.read_bytes()


def refused(path, *said, **settings):
    with pytest.raises(CheckpointError) as caught:
        Model.load(path, **settings)
    message = str(caught.value)
    assert message.startswith("model file")
    assert "\n" not in message
    for part in said:
        assert part in message, message


@pytest.fixture
def tiny_training(tiny, path):
    """The bytes of a small file that holds a training, too."""
    model = Model.load(path)
    model.fit(
        np.zeros((2, 1, 1)), [0, 1], epochs=2, optimizer=SGD(0.1, momentum=0.5), callbacks=[End()]
    )
    model.save(path, model.unfinished)
    return path.read_bytes()


class End(Callback):
    def on_epoch(self, record):
        return True


@pytest.mark.parametrize("kind", ["tiny", "tiny_training"])
def test_every_bit_that_may_flip_is_noticed(kind, request, path):
    content = request.getfixturevalue(kind)
    decode_checkpoint(path, content)
    changed = bytearray(content)
    messages = {}
    for place in range(len(content)):
        for bit in range(8):
            changed[place] ^= 1 << bit
            with pytest.raises(CheckpointError) as caught:
                decode_checkpoint("x", bytes(changed))
            message = str(caught.value)
            messages[message] = messages.get(message, 0) + 1
            changed[place] ^= 1 << bit
    assert changed == content
    # Nothing was parsed: the bits are in the mark before the digest, or the digest is another.
    not_whole, altered = sorted(messages, key=messages.get)
    assert "is not a whole file of arraycnn" in not_whole
    assert "its bytes have changed" in altered
    assert messages[not_whole] == 8 * len(b"arraycnn sha256 ")
    assert messages[altered] == 8 * (len(content) - len(b"arraycnn sha256 "))


def test_a_file_cut_short_is_noticed_wherever_it_was_cut(tiny, path):
    for length in range(len(tiny)):
        path.write_bytes(tiny[:length])
        refused(path, str(path), "is not a whole file of arraycnn")


def test_bytes_added_or_taken_from_the_front_are_noticed(tiny, path):
    for content in (tiny + b"\n", tiny + tiny, b"\n" + tiny, tiny[1:]):
        path.write_bytes(content)
        refused(path, str(path))


def test_what_is_no_file_is_refused_with_the_reason(path):
    refused(path, str(path), "No such file", "check the path")
    path.mkdir()
    refused(path, str(path), "must be a file, is a folder; name a model that was saved")
    for name in ("last.npz", "best.npz", "a.npz"):
        (path / name).touch()
    refused(path, f"is a folder; name {path / 'best.npz'}")


def test_files_of_other_kinds_are_refused(path):
    np.savez(path, weight=np.zeros(3))
    refused(path, "is not a whole file of arraycnn")
    path.write_bytes(pickle.dumps({"weight": [0.0]}))
    refused(path, "is not a whole file of arraycnn")
    path.write_text("epochs = 3\n" * 100)
    refused(path, "is not a whole file of arraycnn")


def sealed(entries: dict[str, bytes]) -> bytes:
    """A zip file with the digest that the format's description asks for."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
        archive.comment = b"arraycnn sha256 " + b"?" * 64
    body = buffer.getvalue()[:-80]
    return body + b"arraycnn sha256 " + hashlib.sha256(body).hexdigest().encode()


def npy(array, **options) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def text(content: bytes) -> bytes:
    return npy(np.frombuffer(content, np.uint8))


def npy_claiming(shape) -> bytes:
    """Eight bytes that say they are an array of ``shape``."""
    buffer = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + bytes(8)


class Harm:
    """Unpickling it would be noticed."""

    def __reduce__(self):
        return (os.mkdir, ("unpickled",))


HARMFUL = npy(np.array([Harm()], dtype=object), allow_pickle=True)
GOOD_HEADER = text(
    json.dumps(
        {
            "format_version": 1,
            "network": {
                "class": "Sequential",
                "layers": [{"class": "Flatten"}, {"class": "Dense", "outputs": 2, "bias": False}],
            },
            "input_shape": [1, 1, 1],
            "dtype": "float32",
            "seed": 0,
            "class_names": None,
            "epochs_done": 0,
            "steps_done": 0,
        }
    ).encode()
)
GOOD_WEIGHT = npy(np.array([[1.0, 2.0]], np.float32))


def test_the_format_is_as_described(path):
    path.write_bytes(sealed({"header.npy": GOOD_HEADER, "params/1.weight.npy": GOOD_WEIGHT}))
    model = Model.load(path)
    np.testing.assert_array_equal(model.parameters["1.weight"], [[1.0, 2.0]])


@pytest.mark.parametrize(
    "entries",
    [
        {},
        {"header": b"not an array"},
        {"header.npy": b"not an array"},
        {"header.npy": text(b"")},
        {"header.npy": text(b"{'format_version': 1}")},
        {"header.npy": text(b"\xff\xfe")},
        {"header.npy": text(b"[1, 2]")},
        {"header.npy": text(b"1")},
        {"header.npy": text(b"null")},
        {"header.npy": text(b'{"network": {}}')},
        {"header.npy": text(b"[" * 100_000)},
        {"header.npy": HARMFUL},
        {"header.npy": GOOD_HEADER, "params/1.weight.npy": HARMFUL},
        {"header.npy": GOOD_HEADER, "params/1.weight.npy": GOOD_WEIGHT[:-1]},
        {"header.npy": GOOD_HEADER, "params/1.weight.npy": GOOD_WEIGHT, "read.me": b"text"},
        {"header.npy": GOOD_HEADER, "params/1.weight": b"text"},
        {"header.npy": GOOD_HEADER, "params/1.weight.npy": GOOD_WEIGHT + b" "},
        {"header.npy": GOOD_HEADER, "params/1.weight.npy": npy_claiming((2**40, 2**20))},
        {"header.npy": GOOD_HEADER, "params/1.weight.npy": npy_claiming((-1, -2))},
        {"header.npy": npy_claiming((2**62,))},
        {"header.npy": text(b'{"format_version": 1, "seed": NaN}')},
    ],
    ids=lambda entries: str(entries)[:60],
)
def test_content_that_is_no_model_is_refused_though_its_digest_is_right(entries, path, monkeypatch):
    monkeypatch.chdir(path.parent)
    path.write_bytes(sealed(entries))
    refused(path, str(path))
    assert not (path.parent / "unpickled").exists()


def test_a_pickle_inside_is_called_by_its_name(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    path.write_bytes(sealed({"header.npy": GOOD_HEADER, "params/1.weight.npy": HARMFUL}))
    refused(path, str(path), "an entry holds Python objects, which are never loaded")
    assert not (path.parent / "unpickled").exists()


def test_entries_that_would_grow_in_memory_are_refused(path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.npy", GOOD_HEADER)
        archive.writestr("params/1.weight.npy", npy(np.zeros(10_000_000, np.float32)))
    assert len(buffer.getvalue()) < 100_000
    path.write_bytes(resealed(buffer))
    refused(path, "an entry is compressed")


def test_two_entries_of_one_name_are_refused(path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("header.npy", GOOD_HEADER)
        archive.writestr("params/1.weight.npy", GOOD_WEIGHT)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("params/1.weight.npy", GOOD_WEIGHT)
    path.write_bytes(resealed(buffer))
    refused(path, "two entries have one name")


def resealed(buffer: io.BytesIO) -> bytes:
    """A zip file without a comment, with the digest in one."""
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"arraycnn sha256 " + b"?" * 64
    body = buffer.getvalue()[:-80]
    return body + b"arraycnn sha256 " + hashlib.sha256(body).hexdigest().encode()


def test_a_digest_over_bytes_that_are_no_archive_is_not_enough(path):
    body = b"no archive" * 20
    path.write_bytes(body + b"arraycnn sha256 " + hashlib.sha256(body).hexdigest().encode())
    refused(path, str(path), "does not hold what a model file must")


def with_array(name, change):
    def edit(header, arrays):
        arrays[name] = change(arrays[name])

    return edit


def without(name):
    return lambda header, arrays: arrays.pop(name)


def with_surplus(name):
    return lambda header, arrays: arrays.update({name: np.zeros(2, np.float32)})


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (without("params/8.bias"), ["lacks the array params/8.bias"]),
        (without("state/2.mean"), ["lacks the array state/2.mean"]),
        (with_surplus("params/9.weight"), ["does not have: params/9.weight"]),
        (with_surplus("momentum"), ["does not have: momentum"]),
        (
            with_array("params/8.bias", lambda array: array[:2]),
            ["params/8.bias must be float32 of shape (3,)", "got float32 of shape (2,)"],
        ),
        (
            with_array("params/8.weight", np.transpose),
            ["params/8.weight must be float32 of shape (4, 3)", "shape (3, 4)"],
        ),
        (
            with_array("state/2.mean", lambda array: array.astype("float64")),
            ["state/2.mean must be float32", "got float64"],
        ),
        (
            with_array("params/8.bias", lambda array: array.astype("int32")),
            ["params/8.bias must be float32", "got int32"],
        ),
        (
            with_array("params/8.bias", lambda array: array.astype(">f4")),
            ["params/8.bias must be float32", "got >f4"],
        ),
    ],
)
def test_arrays_that_are_not_those_of_the_network_are_refused(edit, said, path):
    header, arrays = state_of(trained(), path)
    edit(header, arrays)
    write_checkpoint(path, header, arrays)
    refused(path, str(path), *said)


def layer(name, **settings):
    return {"class": name, **settings}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format_version": 3}, ["version must be 1 or 2, got 3", "use the version"]),
        ({"format_version": None}, ["format version must be 1 or 2, got None"]),
        ({"network": layer("Swish")}, ["unknown layer 'Swish'", "layers=[Swish]"]),
        ({"network": layer("Dense")}, ["Dense cannot be built"]),
        ({"network": layer("Dense", outputs=0)}, ["Dense cannot be built", "at least 1, got 0"]),
        ({"network": layer("Dense", outputs="3")}, ["Dense cannot be built", "'3'"]),
        ({"network": layer("Dense", outputs=3, units=3)}, ["Dense cannot be built", "units"]),
        ({"network": layer("Dropout", rate=float("2"))}, ["Dropout cannot be built", "2.0"]),
        ({"network": layer("Sequential")}, ["Sequential cannot be built"]),
        ({"network": layer("Sequential", layers=[])}, ["Sequential cannot be built"]),
        ({"network": layer("Sequential", layers=5)}, ["Sequential cannot be built"]),
        ({"network": layer("Sequential", layers=["Dense"])}, ["Sequential cannot be built"]),
        ({"network": layer("Residual", body=5)}, ["Residual cannot be built", "got 5"]),
        ({"network": layer("Flatten")}, ["does not describe a model"]),
        ({"network": layer(["Dense"])}, ["unknown layer"]),
        ({"network": {}}, ["unknown layer"]),
        ({"network": 5}, ["does not describe a model"]),
        ({"network": None}, ["does not describe a model"]),
        ({"network": "Dense"}, ["does not describe a model"]),
        ({"input_shape": [8, 8, 2]}, ["params/1.weight must be float32 of shape (3, 2, 2, 3)"]),
        ({"input_shape": [1, 1, 1]}, ["does not describe a model"]),
        ({"input_shape": "8x8"}, ["does not describe a model", "input_shape"]),
        ({"input_shape": None}, ["does not describe a model", "input_shape"]),
        ({"dtype": "float16"}, ["does not describe a model", "float16"]),
        ({"dtype": ["float32"]}, ["does not describe a model", "float32"]),
        ({"dtype": "float64"}, ["must be float64", "got float32"]),
        ({"seed": -1}, ["does not describe a model", "seed"]),
        ({"seed": "7"}, ["does not describe a model", "seed"]),
        ({"class_names": ["a"]}, ["does not describe a model", "class_names"]),
        ({"class_names": 3}, ["does not describe a model", "class_names"]),
        ({"epochs_done": -1}, ["does not describe a model", "epochs_done"]),
        ({"epochs_done": "2"}, ["does not describe a model", "epochs_done"]),
        ({"steps_done": 1.5}, ["does not describe a model", "steps_done"]),
    ],
    ids=str,
)
def test_settings_that_make_no_model_are_refused(change, said, path):
    header, arrays = state_of(trained(), path)
    write_checkpoint(path, {**header, **change}, arrays)
    refused(path, *said)


@pytest.mark.parametrize(
    "name",
    ["network", "input_shape", "dtype", "seed", "class_names", "epochs_done", "steps_done"],
)
def test_a_header_that_lacks_something_is_refused(name, path):
    header, arrays = state_of(trained(), path)
    del header[name]
    write_checkpoint(path, header, arrays)
    refused(path, "does not describe a model", name)


def test_a_wrong_backend_is_not_the_fault_of_the_file(path, monkeypatch):
    trained(dtype="float64").save(path)
    with pytest.raises(InvalidValueError, match=r"^backend: must be") as caught:
        Model.load(path, backend="nonsense")
    assert not isinstance(caught.value, CheckpointError)
    with pytest.raises(InvalidTypeError, match=r"^backend array-api-strict: .*no_float64"):
        Model.load(path, backend=ArrayAPIStrict("no_float64"))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BackendUnavailableError, match="torch is not installed"):
        Model.load(path, backend="torch")


# --- what a crash leaves behind -------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_whole_and_nothing_else(
    function, error, path, monkeypatch
):
    Model(NETWORK, (8, 8)).save(path)
    before = path.read_bytes()

    def fail(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, function, fail)
        expected = CheckpointError if isinstance(error, OSError) else type(error)
        with pytest.raises(expected):
            trained().save(path)
        with pytest.raises(expected):
            trained().save(path.with_name("new.npz"))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_the_content_is_on_disk_before_it_takes_the_name(path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor):
        events.append(("fsync", os.fstat(descriptor).st_size))
        fsync(descriptor)

    def note_replace(source, target):
        events.append(("replace", os.path.getsize(source)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    trained().save(path)
    size = path.stat().st_size
    assert events[:2] == [("fsync", size), ("replace", size)]


def test_a_folder_that_is_missing_is_named(path):
    with pytest.raises(CheckpointError, match=r"absent/model.npz: cannot be written \(No such"):
        trained().save(path.parent / "absent" / "model.npz")
