"""Pictures: size, channels, rotation, transparency, depth, and files that are none."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, features

from arraycnn.data import image_files
from arraycnn.data.image_files import decode_image, image_shape, read_image
from arraycnn.data.picture_values import PictureNotes, eight_bits
from arraycnn.errors import DataError, DataFileError

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


INK = np.zeros((9, 9), np.uint8)
INK[2:7, 3:6] = 255
INK[2, 3] = 100  # the edge of a stroke


def clear_but_for(colour):
    """A picture of ink in one colour, with a clear ground."""
    return Image.fromarray(np.dstack([np.full((9, 9), c, np.uint8) for c in colour] + [INK]))


def told(path, shape):
    notes = PictureNotes()
    pixels = read_image(path, shape, say=notes.about("it"))
    return pixels[..., 0].astype(int), notes.take()


@pytest.mark.parametrize(
    ("colour", "paper"),
    [
        ((255, 255, 255), 0),
        ((230, 230, 230), 0),
        ((255, 240, 120), 0),
        ((0, 0, 0), 255),
        ((90, 90, 90), 255),
        ((200, 0, 0), 255),
    ],
)
def test_ink_on_a_clear_ground_is_seen_whatever_its_colour(tmp_path, colour, paper):
    pixels, notes = told(saved(tmp_path, clear_but_for(colour)), (9, 9, 1))
    assert pixels[0, 0] == paper
    grey = np.dot(colour, [0.299, 0.587, 0.114])
    assert abs(pixels[4, 4] - grey) < 2
    edge = paper + (grey - paper) * 100 / 255
    assert abs(pixels[2, 3] - edge) < 2
    assert notes == (["it: light ink on a transparent ground, laid on black"] if paper == 0 else [])


def test_clear_grounds_of_other_modes(tmp_path):
    palette = Image.fromarray((INK > 127).astype(np.uint8), "P")
    palette.putpalette([0, 0, 0, 255, 255, 255])
    pixels, notes = told(saved(tmp_path, palette, transparency=0), (9, 9, 1))
    np.testing.assert_array_equal(pixels, np.where(INK > 127, 255, 0))
    assert len(notes) == 1
    one_is_clear = Image.fromarray(np.where(INK > 127, 255, 77).astype(np.uint8))
    pixels, notes = told(saved(tmp_path, one_is_clear, transparency=77), (9, 9, 1))
    np.testing.assert_array_equal(pixels, np.where(INK > 127, 255, 0))
    deep = Image.fromarray(np.where(INK > 127, 60_000, 7).astype(np.uint16))
    pixels, notes = told(saved(tmp_path, deep, transparency=7), (9, 9, 1))
    np.testing.assert_array_equal(pixels, np.where(INK > 127, 233, 0))
    nothing = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    pixels, notes = told(saved(tmp_path, nothing), (4, 4, 1))
    assert (pixels == 255).all()
    # A photograph whose corners are clear keeps white paper.
    photograph = np.dstack([np.tile(np.arange(0, 250, 25, dtype=np.uint8), (10, 1))] * 4)
    photograph[..., 3] = 255
    photograph[0, 0, 3] = 0
    pixels, notes = told(saved(tmp_path, Image.fromarray(photograph)), (10, 10, 1))
    assert pixels[0, 0] == 255
    assert not notes


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_the_bits_that_are_used_are_all_that_count(tmp_path, bits):
    values = np.linspace(0, 2**bits - 1, 48).reshape(6, 8).round().astype(np.uint16)
    expected = np.rint(values / (2**bits - 1) * 255)
    pixels, notes = told(saved(tmp_path, Image.fromarray(values)), (6, 8, 1))
    np.testing.assert_array_equal(pixels, expected)
    said = [f"it: values that use {bits} bits, scaled as such"]
    assert notes == ([] if bits == 16 else said)


def chunk(kind, content):
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


@pytest.mark.parametrize("bits", [12, 16])
def test_colours_of_sixteen_bits(tmp_path, bits):
    values = np.linspace(0, 2**bits - 1, 6 * 8 * 3).reshape(6, 24).astype(">u2")
    header = struct.pack(">IIBBBBB", 8, 6, 16, 2, 0, 0, 0)
    lines = zlib.compress(b"".join(b"\0" + row.tobytes() for row in values))
    content = chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    notes = PictureNotes()
    pixels = read_image(tmp_path / "a.png", (6, 8, 3), say=notes.about("it"))
    expected = values.reshape(6, 8, 3) / (2**bits - 1) * 255
    assert np.abs(pixels - expected).max() <= (1 if bits == 16 else 17)  # of 12 bits 4 are read
    assert len(notes.take()) == (bits == 12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (PIXELS / np.float32(255), PIXELS),  # floating, 0 to 1
        (PIXELS.astype(np.float32), PIXELS),
        (PIXELS.astype(np.float32) * 16, np.rint(PIXELS * (255 * 16 / 4095))),
        (PIXELS.astype(np.float32) - 100, np.rint(PIXELS * (255 / 235))),
        (PIXELS.astype(np.int32) * 1000, np.rint(PIXELS * (255 / 235))),
        (np.full((6, 8), np.nan, np.float32), None),
        (np.zeros((6, 8), np.float32), np.zeros((6, 8))),
    ],
)
def test_values_of_other_kinds(values, expected):
    notes = PictureNotes()
    picture = Image.fromarray(values)
    if expected is None:
        with pytest.raises(ValueError, match="NaN or infinity"):
            eight_bits(picture, False, notes.about("it"))
        return
    turned = np.asarray(eight_bits(picture, False, notes.about("it")))
    np.testing.assert_array_equal(turned, expected)
    assert len(notes.take()) == 1


def test_modes_of_colour_that_are_not_rgb(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    rgb = Image.fromarray(colour)
    cmyk = saved(tmp_path, rgb.convert("CMYK"), "a.jpg", quality=100, subsampling=0)
    assert np.abs(read_image(cmyk, (6, 8, 3)) - colour.astype(int)).mean() < 6
    assert read_image(cmyk, (6, 8, 1)).shape == (6, 8, 1)
    one_bit = saved(tmp_path, Image.fromarray(INK > 127))
    np.testing.assert_array_equal(read_image(one_bit, (9, 9, 1))[..., 0], (INK > 127) * 255)
    profile = saved(tmp_path, Image.fromarray(PIXELS), icc_profile=b"none that is known")
    np.testing.assert_array_equal(read_image(profile, (6, 8, 1))[..., 0], PIXELS)


def test_first_frames_and_stretched_pictures_are_said(tmp_path):
    frames = [Image.fromarray(np.full((6, 8), value, np.uint8)) for value in (10, 200)]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    pixels, notes = told(path, (6, 8, 1))
    assert (pixels == 10).all()
    assert notes == ["it: the first of several frames or pages"]
    for size, count in (((16, 8), 0), ((17, 8), 1), ((8, 600), 1), ((1, 1), 0), ((1, 5000), 1)):
        pixels, notes = told(saved(tmp_path, Image.new("L", size, 90)), (8, 8, 1))
        assert (pixels == 90).all()
        assert len(notes) == count, (size, notes)


def test_notes_are_counted_by_kind_with_the_first_name():
    lines = []
    notes = PictureNotes(lines.append)
    for name in ("b.png", "a.png", "c.png"):
        notes.about(name)("turned")
    notes.about("d.png")("cut")
    expected = ["3 pictures, a.png among them: turned", "d.png: cut"]
    assert notes.take() == expected
    assert notes.take() == []
    assert lines == ["b.png, and perhaps others: turned", "d.png, and perhaps others: cut"]


def test_a_camera_held_sideways(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees clockwise to see it upright"
    path = saved(tmp_path, Image.fromarray(PIXELS), exif=exif)
    assert image_shape(path) == (8, 6, 1)
    upright = np.rot90(PIXELS, -1)
    np.testing.assert_array_equal(read_image(path, (8, 6, 1))[..., 0], upright)


def test_a_bomb_is_refused_by_its_header(tmp_path):
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


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1", "P"])
def test_tiff(tmp_path, mode, compression):
    picture = Image.fromarray(PIXELS).convert(mode)
    picture.save(tmp_path / "a.tif", compression=compression)
    picture.convert("RGB").save(tmp_path / "a.png")
    expected = read_image(tmp_path / "a.png", (6, 8, 3))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", (6, 8, 3)), expected)
    assert image_shape(tmp_path / "a.tif") == (6, 8, 1 if mode in ("L", "1") else 3)


def test_tiles_larger_than_the_picture_are_not_allocated(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(PIXELS).save(path, compression="tiff_lzw")
    content = path.read_bytes()
    # RowsPerStrip and StripOffsets become TileWidth and TileLength: 16 million by 16 million.
    for old, new in ((278, 322), (273, 323)):
        place = content.index(struct.pack("<H", old), 8)
        changed = struct.pack("<HHII", new, 4, 1, 2**24)
        content = content[:place] + changed + content[place + 12 :]
    path.write_bytes(content)
    assert "has tiles larger than itself, 8x6" in refusal(path)


def test_the_first_page_of_a_tiff(tmp_path):
    pages = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    pages[0].save(tmp_path / "a.tiff", save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tiff", (6, 8, 1))[..., 0], PIXELS)


def test_avif_where_pillow_reads_it(tmp_path):
    if not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    picture = Image.fromarray(np.dstack([PIXELS] * 3))
    picture.save(tmp_path / "a.avif", quality=100, subsampling="4:4:4")
    found = read_image(tmp_path / "a.avif", (6, 8, 3)).astype(int)
    assert np.abs(found - PIXELS[..., None]).max() <= 8


def test_avif_where_pillow_does_not_read_it(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "_formats", lambda: image_files.FORMATS)
    (tmp_path / "a.avif").write_bytes(b"\0\0\0\x1cftypavif" + bytes(40))
    message = refusal(tmp_path / "a.avif")
    assert "is an AVIF file, which is not read; convert it to PNG or JPEG" in message


def test_what_is_no_picture(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    assert "is not a picture" in refusal(tmp_path / "a.png")
    assert "No such file" in refusal(tmp_path / "absent.png")
    refusal(tmp_path)
    # Formats with a large and rarely tested decoder are not opened at all.
    assert "is not a picture" in refusal(saved(tmp_path, Image.fromarray(PIXELS), "a.tga"))
    assert "is not a picture" in refusal(saved(tmp_path, Image.fromarray(PIXELS), "a.eps"))
    path = saved(tmp_path, Image.fromarray(PIXELS), "good.png")
    with pytest.raises(DataError, match="1 or 3 channels"):
        read_image(path, (6, 8, 2))
