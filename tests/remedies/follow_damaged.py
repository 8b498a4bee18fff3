"""Remedies for pictures that cannot be read, arrays of another size, and weights as a pickle."""

import struct
import sys

from PIL import Image

import arraycnn as cnn
from arraycnn.data import load_dataset
from arraycnn.data.image_files import read_image
from arraycnn.export import import_safetensors
from conftest import import_optional
from remedies import making
from remedies.following import Here, follows


@follows("data/picture_folder.py", "{}, or leave damaged pictures out with --skip-damaged")
def a_damaged_picture_of_a_set(here: Here) -> None:
    making.write_pictures(here.path / "pets")
    (here.path / "pets" / "cat" / "0.png").write_bytes(b"cut")
    train = ("train", "--dataset", "pets", "--epochs", "1", "--backend", "numpy", "--no-fast")
    here.refused_command(*train)
    here.accepted_command(*train, "--skip-damaged")


@follows("data/picture_folder.py", "copy them again from where they came from")
def a_set_of_damaged_pictures(here: Here) -> None:
    folder = making.write_pictures(here.path / "pets")
    for path in folder.glob("*/*"):
        path.write_bytes(b"cut")
    with here.refused():
        load_dataset(folder, skip_damaged=True)
    load_dataset(making.write_pictures(folder), skip_damaged=True)


@follows("cli/predict.py", "see the lines above, or leave damaged files out with --skip-damaged")
def damaged_pictures_to_predict(here: Here) -> None:
    making.write_pictures(here.path / "pets")
    (here.path / "pets" / "cat" / "0.png").write_bytes(b"cut")
    making.model().save(here.path / "model.npz")
    predict = ("predict", "model.npz", "pets", "--backend", "numpy", "--no-fast")
    here.refused_command(*predict)
    assert len(here.accepted_command(*predict, "--skip-damaged").splitlines()) == 11


@follows("data/user_sets.py", "bring the arrays to {}, or train without --image-size")
def arrays_of_another_size(here: Here) -> None:
    making.write_npz(here.path / "a.npz")
    train = ("train", "--dataset", "a.npz", "--epochs", "1", "--backend", "numpy", "--no-fast")
    here.refused_command(*train, "--image-size", "9x9")
    here.accepted_command(*train)
    images, labels = making.some(24, 9)
    making.write_npz(here.path / "a.npz", images, labels)
    here.accepted_command(*train, "--image-size", "9x9")


@follows("data/image_files.py", "save it without tiles")
def a_tiff_with_tiles_that_are_too_large(here: Here) -> None:
    path = here.path / "a.tif"
    picture = Image.fromarray(making.some(1)[0][0, ..., 0])
    picture.save(path, compression="tiff_lzw")
    content = path.read_bytes()
    for old, new in ((278, 322), (273, 323)):  # two of its tags become the sides of a tile
        place = content.index(struct.pack("<H", old), 8)
        changed = struct.pack("<HHII", new, 4, 1, 2**24)
        content = content[:place] + changed + content[place + 12 :]
    path.write_bytes(content)
    with here.refused():
        read_image(path, (8, 8, 1))
    picture.save(path)
    read_image(path, (8, 8, 1))


@follows(
    "export/torch_files.py",
    "safetensors.torch.save_file({k: v.clone().contiguous() for k, v in d.items()}, {})",
)
def weights_that_pytorch_saved(here: Here) -> None:
    import_optional("safetensors")
    torch = import_optional("torch")
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2))
    torch.save(module.state_dict(), here.path / "x.pt")
    network = cnn.Sequential(cnn.Flatten(), cnn.Dense(2))
    with here.refused():
        import_safetensors(here.path / "x.pt", network, (2, 3, 1))
    exec(here.message.partition("run in Python: ")[2], {})
    assert "torch" in sys.modules
    import_safetensors(here.path / "x.safetensors", network, (2, 3, 1))


@follows("data/picture_folder.py", "convert them to PNG or JPEG, or take the folder away")
def a_class_of_files_that_are_not_read(here: Here) -> None:
    folder = making.write_pictures(here.path / "pets", ("cat", "dog", "eel"))
    for path in (folder / "eel").iterdir():
        Image.open(path).save(path.with_suffix(".tga"))
        path.unlink()
    with here.refused():
        load_dataset(folder)
    for path in (folder / "eel").iterdir():
        Image.open(path).save(path.with_suffix(".png"))
    load_dataset(folder)
