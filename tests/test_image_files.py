"""Pictures: size, channels, rotation, transparency, depth, and files that are none."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from arraycnn.errors import DataError, DataFileError
from arraycnn.image_files import decode_image, image_shape, read_image

PIXELS = (np.arange(48, dtype=np.uint8).reshape(6, 8) * 5).copy()


def saved(tmp_path, picture, name="a.png", **options):
    picture.save(tmp_path / name, **options)
    return tmp_path / name


def refusal(path, shape=(6, 8, 1)):
    with pytest.raises(DataFileError) as caught:
        read_image(path, shape)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.gif", "a.pgm"])
def test_grey_pixels_come_as_they_are(tmp_path, name):
    path = saved(tmp_path, Image.fromarray(PIXELS), name)
    np.testing.assert_array_equal(read_image(path, (6, 8, 1))[..., 0], PIXELS)
    assert read_image(path, (6, 8, 3)).shape == (6, 8, 3)
    np.testing.assert_array_equal(read_image(path, (6, 8, 1), invert=True)[..., 0], 255 - PIXELS)


def test_colour_and_size(tmp_path):
    colour = np.zeros((10, 20, 3), np.uint8)
    colour[..., 1] = 200
    path = saved(tmp_path, Image.fromarray(colour))
    assert image_shape(path) == (10, 20, 3)
    assert read_image(path, (5, 5, 3)).tolist() == [[[0, 200, 0]] * 5] * 5


def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path):
    deep = PIXELS.astype(np.uint16) * 257
    path = saved(tmp_path, Image.fromarray(deep))
    assert image_shape(path) == (6, 8, 1)
    np.testing.assert_array_equal(read_image(path, (6, 8, 1))[..., 0], PIXELS)


def test_what_is_transparent_is_white(tmp_path):
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    clear.putpixel((1, 2), (0, 0, 0, 255))
    pixels = read_image(saved(tmp_path, clear), (4, 4, 1))[..., 0]
    assert pixels[2, 1] == 0
    assert (pixels == 255).sum() == 15


def test_a_camera_held_sideways(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees clockwise to see it upright"
    path = saved(tmp_path, Image.fromarray(PIXELS), exif=exif)
    assert image_shape(path) == (8, 6, 1)
    upright = np.rot90(PIXELS, -1)
    np.testing.assert_array_equal(read_image(path, (8, 6, 1))[..., 0], upright)


def test_a_bomb_is_refused_by_its_header(tmp_path):
    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    for side in (9000, 60_000):
        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))
        path = tmp_path / "bomb.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b""))
        with pytest.raises(DataFileError, match=r"67108864 pixels|decompression bomb"):
            image_shape(path)
        refusal(path)


def test_every_truncation_is_read_or_refused(tmp_path):
    saved(tmp_path, Image.fromarray(PIXELS))
    content = (tmp_path / "a.png").read_bytes()
    for length in range(len(content) - 20):
        with pytest.raises(DataFileError):
            decode_image(content[:length], "cut", (6, 8, 1))


def test_what_is_no_picture(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    assert "is not a picture" in refusal(tmp_path / "a.png")
    assert "No such file" in refusal(tmp_path / "absent.png")
    refusal(tmp_path)
    # Formats with a large and rarely tested decoder are not opened at all.
    assert "is not a picture" in refusal(saved(tmp_path, Image.fromarray(PIXELS), "a.tiff"))
    assert "is not a picture" in refusal(saved(tmp_path, Image.fromarray(PIXELS), "a.eps"))
    path = saved(tmp_path, Image.fromarray(PIXELS), "good.png")
    with pytest.raises(DataError, match="1 or 3 channels"):
        read_image(path, (6, 8, 2))
