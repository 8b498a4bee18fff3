"""What is not read is named as what it is, whatever its name, with a remedy that works."""

import io
import shlex
import struct
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from arraycnn import ArraycnnError, NumPy
from arraycnn.data import load_dataset
from arraycnn.data.file_kinds import kind_of
from arraycnn.errors import CheckpointError, DataError
from arraycnn.export import import_safetensors
from conftest import import_optional
from test_data_left_out import pictures


def refusal(path):
    with pytest.raises(DataError) as caught:
        load_dataset(path)
    assert str(caught.value).isprintable()
    return str(caught.value)


def tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return buffer.getvalue()


def zipped(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


def tfrecord(content=b"an example"):
    """One record, its checksums computed bit by bit as the format's documentation has them."""

    def masked(data):
        remainder = 0xFFFFFFFF
        for byte in data:
            for bit in range(8):
                lowest = (remainder ^ (byte >> bit)) & 1
                remainder = (remainder >> 1) ^ (0x82F63B78 * lowest)
        crc = remainder ^ 0xFFFFFFFF
        return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

    length = struct.pack("<Q", len(content))
    return length + struct.pack("<I", masked(length)) + content + struct.pack("<I", masked(content))


KINDS = {
    "zip": zipped("a/b.png"),
    "empty zip": zipped(),
    "tar": tar(),
    "RAR": b"Rar!\x1a\x07\x01\x00" + bytes(20),
    "7z": b"7z\xbc\xaf\x27\x1c\0\4",
    "xz": b"\xfd7zXZ\0\0\4",
    "bzip2": b"BZh91AY&SY",
    "Zstandard": b"\x28\xb5\x2f\xfd\x04",
    "Parquet": b"PAR1\x15\x04",
    "Arrow": b"ARROW1\0\0",
    "HDF5": b"\x89HDF\r\n\x1a\n\0",
    "MATLAB": b"MATLAB 5.0 MAT-file, Platform: PCWIN64",
    "SQLite": b"SQLite format 3\0\x10",
    "PyTorch": zipped("archive/data.pkl", "archive/data/0"),
    "old PyTorch": b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "video": b"\0\0\0\x18ftypisom\0\0\2\0",
    "PDF": b"%PDF-1.7",
    "Photoshop": b"8BPS\0\1",
    "JPEG XL": b"\xff\x0a\xfa\x7f",
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
    "TFRecord": tfrecord(),
}


@pytest.mark.parametrize("name", ["data", "data.bin", "data.idx", "data.PNG", "data.npy.bak"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_data_set_that_is_not_read_is_named(tmp_path, kind, name):
    (tmp_path / name).write_bytes(KINDS[kind])
    message = refusal(tmp_path / name)
    told = kind.removeprefix("empty ").removeprefix("old ")
    assert f"is an {told} file" in message or f"is a {told} file" in message
    assert ";" in message


@pytest.mark.parametrize("kind", ["HEIC", "zip", "PDF", "TFRecord", "PyTorch"])
def test_a_picture_that_is_something_else_is_named(tmp_path, kind):
    pictures(tmp_path / "pets", cat=5, dog=5)
    (tmp_path / "pets" / "dog" / "IMG_1.jpg").write_bytes(KINDS[kind])
    message = refusal(tmp_path / "pets")
    assert f"IMG_1.jpg: is a {kind} file, which is not read; " in message
    assert message.count("IMG_1.jpg") >= 1


@pytest.mark.parametrize("kind", ["zip", "tar", "Parquet"])
def test_a_folder_that_holds_only_such_a_file(tmp_path, kind):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "pets.data").write_bytes(KINDS[kind])
    message = refusal(tmp_path / "set")
    assert f"but a {kind} file (pets.data); " in message
    assert "pets" in message.partition("; ")[2]


@pytest.mark.parametrize("kind", ["HEIC", "PDF", "zip", "RAR", "PyTorch", "HDF5"])
def test_predict_names_what_it_is_shown(tmp_path, cli, kind):
    (tmp_path / "a.dat").write_bytes(KINDS[kind])
    train = ("train", "--limit", "40", "--epochs", "1", "--backend", "numpy", "--no-fast")
    assert cli(*train, "--out", "run")[0] == 0
    code, _, errors = cli("predict", "run/last.npz", "a.dat", "--backend", "numpy", "--no-fast")
    assert code == 2
    assert len(errors) == 1
    assert f"is an {kind} file" in errors[0] or f"is a {kind} file" in errors[0]


def test_names_do_not_make_a_kind(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.heic").write_bytes((tmp_path / "a.png").read_bytes())
    assert kind_of(tmp_path / "a.heic") is None
    np.savez(tmp_path / "a.npz", images=np.zeros((20, 4, 4), np.uint8), labels=np.arange(20) % 2)
    assert kind_of(tmp_path / "a.npz") is None
    assert kind_of(tmp_path / "absent") is None
    for length in (0, 1, 2**63):
        (tmp_path / "x").write_bytes(struct.pack("<QI", length, 0) + bytes(30))
        assert kind_of(tmp_path / "x") is None


def test_files_named_as_read_ones_that_are_not(tmp_path):
    """A remedy's file has a name of its own: nobody writes over the file that was meant."""
    (tmp_path / "a.png").write_bytes(KINDS["HEIC"])
    assert '"a.png" "a-converted.png"' in refusal(tmp_path / "a.png")


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_the_remedy_for_an_archive_is_followed(tmp_path, form):
    pictures(tmp_path / "in", cat=5, dog=5)
    if form == "zip":
        with zipfile.ZipFile(tmp_path / "my pets.dat", "w") as archive:
            for path in sorted((tmp_path / "in").rglob("*.png")):
                archive.write(path, path.relative_to(tmp_path / "in"))
    else:
        with tarfile.open(tmp_path / "my pets.dat", "w") as archive:
            for path in sorted((tmp_path / "in").rglob("*.png")):
                archive.add(path, path.relative_to(tmp_path / "in"))
    message = refusal(tmp_path / "my pets.dat")
    words = shlex.split(message.partition("name the folder: ")[2])
    assert words[0] == "python"
    subprocess.run([sys.executable, *words[1:]], cwd=tmp_path, check=True)
    data = load_dataset(tmp_path / words[-1])
    assert data.class_names == ("cat", "dog")


# --- weights of PyTorch


@pytest.mark.parametrize(
    ("kept", "zipped"), [("", True), ("state_dict", False), ("model_state_dict", True)]
)
def test_a_pt_file_becomes_safetensors_by_its_remedy(tmp_path, torch, kept, zipped):
    import_optional("safetensors")
    from arraycnn import Dense, Flatten, Sequential

    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2))
    state = {kept: module.state_dict(), "epoch": 3} if kept else module.state_dict()
    path = tmp_path / "x's.pt"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    network = Sequential(Flatten(), Dense(2))
    with pytest.raises(CheckpointError) as caught:
        import_safetensors(path, network, (2, 3, 1), backend=NumPy(fast=False))
    message = str(caught.value)
    assert message.isprintable()
    program = message.partition("run in Python: ")[2]
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    made = path.with_suffix(".safetensors")
    model = import_safetensors(made, network, (2, 3, 1), backend=NumPy(fast=False))
    images = np.random.default_rng(0).random((4, 2, 3, 1)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.asarray(images.transpose(0, 3, 1, 2))).softmax(1).numpy()
    np.testing.assert_allclose(model.predict(images), expected, atol=1e-6)


def test_the_command_says_it(tmp_path, cli):
    import_optional("safetensors")
    for name, content in {"a.pt": KINDS["PyTorch"], "b.pth": KINDS["old PyTorch"]}.items():
        (tmp_path / name).write_bytes(content)
        code, _, errors = cli("import", name, "--network", "basic")
        assert code == 2
        assert len(errors) == 1
        assert f"torch.load('{name}'" in errors[0]
    (tmp_path / "c.safetensors").write_bytes(b"nonsense" * 10)
    with pytest.raises(ArraycnnError) as caught:
        import_safetensors(tmp_path / "c.safetensors")
    assert "PyTorch" not in str(caught.value)
