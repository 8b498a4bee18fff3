"""Small good inputs of every target, and words that its format knows: where the fuzzers begin."""

import gzip
import io
import json
import pickle
import struct

import numpy as np
from PIL import Image

from model_targets import PARAMETERS, archive, npy, sealed

NETWORK = {
    "class": "Sequential",
    "layers": [
        {"class": "Rescale"},
        {"class": "Conv2d", "filters": 2, "kernel_size": [3, 3], "padding": "valid"},
        {"class": "Flatten"},
        {"class": "Dense", "outputs": 3},
    ],
}
EVERY_LAYER = {
    "class": "Sequential",
    "layers": [
        {"class": "Rescale"},
        {
            "class": "Conv2d",
            "filters": 2,
            "kernel_size": 3,
            "stride": [1, 2],
            "padding": "same",
            "bias": False,
        },
        {"class": "BatchNorm2d", "momentum": 0.1, "epsilon": 1e-05},
        {"class": "ReLU"},
        {"class": "MaxPool2d", "pool_size": 2, "stride": 2, "ties": "all"},
        {"class": "AvgPool2d", "pool_size": [2, 2], "stride": None},
        {"class": "Residual", "body": {"class": "Sequential", "layers": [{"class": "ReLU"}]}},
        {"class": "Dropout", "rate": 0.5},
        {"class": "GlobalAvgPool2d"},
        {"class": "Flatten"},
        {"class": "Softmax"},
        {"class": "Dense", "outputs": 10, "bias": True},
    ],
}
HEADER = {
    "format_version": 1,
    "network": NETWORK,
    "input_shape": [4, 4, 1],
    "dtype": "float32",
    "seed": 0,
    "class_names": ["a", "b", "c"],
    "epochs_done": 1,
    "steps_done": 2,
}


def _idx(shape: tuple[int, ...], code: int, size: int) -> bytes:
    count = int(np.prod(shape)) * size
    return struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape) + bytes(range(count))


def _idx_seeds() -> list[bytes]:
    files = [_idx((2, 3, 4), 8, 1), _idx((5,), 8, 1), _idx((3,), 11, 2), _idx((2,), 14, 8)]
    files += [_idx((2, 2, 2, 3), 8, 1), _idx((4,), 9, 1), _idx((2, 2), 12, 4), _idx((2,), 13, 4)]
    absurd = struct.pack(">HBB3I", 0, 8, 3, 2**20, 28, 28) + b"12"
    empty = struct.pack(">HBB2I", 0, 8, 2, 0, 2)
    files += [absurd, empty, b"<html>", b""]
    packed = [gzip.compress(file, mtime=0) for file in files]
    raw = [bytes([kind]) + file for file in files for kind in (0, 1)]
    return raw + [b"\2" + file for file in packed] + [b"\2" + packed[0] + packed[1]]


def _arrays_seeds() -> list[bytes]:
    values = [np.arange(6, dtype=np.uint8).reshape(2, 3), np.arange(3.0), np.array(["a", "bc"])]
    values += [np.asfortranarray(values[0]), np.zeros((0, 2)), np.array(True)]
    files = [npy(value) for value in values]
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, images=values[0], labels=values[1], class_names=values[2])
        files.append(buffer.getvalue())
    objects = io.BytesIO()
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    second = io.BytesIO()
    np.lib.format.write_array(second, values[0], version=(2, 0))
    files += [second.getvalue(), b"\x93NUMPY\2\0\xff\xff\xff\x7f{"]
    return [*files, objects.getvalue(), npy(np.zeros(2, "i4,f4")), b""]


def _pickled_seeds() -> list[bytes]:
    values = [np.arange(6, dtype=np.uint8).reshape(2, 3), np.arange(3.0), np.array(["a", "bc"])]
    values += [np.asfortranarray(values[0]), np.zeros((0, 2)), np.float32(1.5), np.array(2)]
    values += [{"data": values[0], b"labels": [1, 2, -300, 2**40], "x": (1.5, None, True)}]
    inner = ["caf\xe9", b"\xff", {}]
    inner.append(inner)
    values += [((values[0], values[1]),) * 3, [inner, inner], "x" * 300, b"y" * 300]
    files = [pickle.dumps(value, protocol) for value in values for protocol in (0, 2, 4, 5)]
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR"
    dtype += b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    files += [b"\x80\x02" + array + b"(K\x01(K\x01K\x02t" + dtype + b"\x89U\x02abtb."]
    files += [b"cos\nsystem\n(S'true'\ntR.", b"(S'x'\nios\nsystem\n.", b"\x80\x02K\x07Q.", b"P1\n."]
    files += [
        b"\x8e" + b"\xff" * 8,
        b"((((tttt.",
        b"})\x85\x85K\1s.",
        b"0.",
        b"N1.",
        b"\x80\x04\x82\1.",
    ]
    return [bytes([place % 4]) + file for place, file in enumerate(files)]


def _table_seeds() -> list[bytes]:
    files = [
        "label,pixel0,pixel1,pixel2,pixel3\n1,0,255,3,4\n0,5,6,7,8\n",
        "1,0,255,3,4\r\n0,5,6,7,8",
        "pixel0,pixel1,pixel2,pixel3,label\n1,2,3,4,cat\n\n5,6,7,8,caf\xe9\n",
        '"label";"1x1";"1x2";"2x1";"2x2"\n"a;b";"1";"2.0";"3";"0.5"\n',
        "\ufeff,label,p0,p1,p2,p3\n0,1,2,3,4,5\n",
        "0\t1\t2\t3\t4\n1\t1\t2\t3\t1e2\n",
        "1,2,3,4\n5,6,7,8\n",
        "1,2,3,4,256\n",
        "1,2,3,4,nan\n",
        "1,2,3,4,5\n1,2,3,4\n",
        "1,2,3,4,99999999999999999999\n",
        "a,b,c\n",
        "",
        ",".join(map(str, range(300))) + "\n" + ",".join(["7"] * 300) + "\n",
    ]
    packed = [bytes([place % 4]) + text.encode() for place, text in enumerate(files)]
    return [*packed, b"\0\xff\xfe1,2", b"\0\x1f\x8b\x08"]


def _published_seeds() -> list[bytes]:
    row = bytes(n % 251 for n in range(3073))
    rows = struct.pack(">HBB2I", 0, 12, 2, 2, 8) + struct.pack(">16i", *range(16))
    mapping = [
        b"0 48\n1 49\n",
        b"0 48\n0 50\n1 49\n",
        b"1 65 97\r\n0 66 98\r\n",
        b"0 48\n",
        b"0 300\n1 x\n",
        b"\xef\xbb\xbf0 48\n1 50",
    ]
    letters = [
        "index,codepoint,char\n0,U+304A,\u304a\n1,U+304D,\u304d\n",
        "a\n1,2,3\n",
        "",
        'x\n0,,"a\nb"\n',
    ]
    return [
        *(b"\0" + part for part in (row, row[:-1], b"")),
        *(b"\1" + part for part in mapping),
        *(b"\2" + part.encode() for part in letters),
        *(b"\3" + part for part in (rows, rows[:-1], rows.replace(b"\0\0\x0c\2", b"\0\0\x08\2"))),
    ]


def _image_seeds() -> list[bytes]:
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    grey, colour = Image.fromarray(pixels), Image.fromarray(np.dstack([pixels] * 3))
    clear = colour.convert("RGBA")
    clear.putalpha(128)
    pictures = [(grey, kind) for kind in ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM")]
    pictures += [(colour, kind) for kind in ("PNG", "JPEG", "BMP", "WEBP", "PPM")]
    pictures += [(clear, "PNG"), (grey.convert("1"), "PNG"), (colour.convert("P"), "PNG")]
    pictures += [(grey.convert("LA"), "PNG"), (colour.convert("CMYK"), "JPEG"), (clear, "WEBP")]
    pictures += [(Image.fromarray(pixels.astype(np.uint16) * 200), "PNG")]
    pictures += [(grey, "TIFF"), (colour, "TIFF"), (clear, "TIFF"), (grey.convert("1"), "TIFF")]
    seeds = []
    for number, (picture, kind) in enumerate(pictures):
        buffer = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 1 + number % 8
        options = {"exif": exif} if kind in ("PNG", "JPEG", "WEBP") else {}
        picture.save(buffer, kind, **options)
        seeds.append(bytes([number % 4]) + buffer.getvalue())
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4"):
        buffer = io.BytesIO()
        mode = "1" if compression == "group4" else "L"
        grey.convert(mode).save(buffer, "TIFF", compression=compression)
        seeds.append(b"\0" + buffer.getvalue())
    bomb = bytearray(seeds[0])
    bomb[17:25] = struct.pack(">II", 60_000, 60_000)
    return [*seeds, bytes(bomb), b"\0<html>", b"\0P5 3 2 255\n123456", b"\0P2 2 1 9\n1 2"]


def _checkpoint_seeds() -> list[bytes]:
    text = json.dumps(HEADER).encode()
    header = npy(np.frombuffer(text, np.uint8))
    body = archive({"header.npy": header, **PARAMETERS})
    flipped = bytearray(sealed(body))
    flipped[10] ^= 1  # the time of an entry, which no checksum of the zip format covers
    deep = json.dumps(HEADER).replace('"Flatten"', '"Flatten", "x": ' + "[" * 50 + "]" * 50)
    huge = json.dumps(HEADER).replace('"outputs": 3', '"outputs": 300000')
    double = json.dumps({**HEADER, "dtype": "float64", "class_names": None})
    return [
        *(b"\0" + file for file in (sealed(body), sealed(body)[:-100], body, bytes(flipped), b"")),
        *(b"\1" + file for file in (body, body[: len(body) // 2])),
        *(b"\2" + file for file in (text, deep.encode(), huge.encode(), double.encode())),
    ]


def _config_seeds() -> list[bytes]:
    parts = [{"class": "Dense", "outputs": 3, "bias": False}, [NETWORK], 3, {"class": "Swish"}]
    parts += [{"class": "Conv2d", "filters": 1, "kernel_size": [1, 2], "padding": [0, 1]}]
    return [json.dumps(part).encode() for part in (NETWORK, EVERY_LAYER, *parts)]


def _option_seeds() -> list[bytes]:
    lines = [
        "train",
        "train --epochs 2 --batch-size 16 --learning-rate 0.1 --seed 3 --json",
        "train --dataset mnist --data-dir data --network lenet5 --optimizer sgd --limit 10",
        "train --schedule cosine --validation 0.25 --backend numpy --out run --log-steps",
        "train --learning-rate nan",
        "train --epochs=0 --debug",
        "train --image-size 0x8",
        "train --image-size 8x",
        "evaluate model.npz --dataset digits --limit 5 --backend auto",
        "predict model.npz a.png b.png --invert --json",
        "predict model.npz - --no-invert --top 3 --format csv --output out.csv",
        "train --dataset . --image-size 32x32x1 --seed 1",
        "evaluate model.npz --dataset . --part all --per-class --top 2",
        "info --json",
        "--version",
        "-h",
        "train --help",
        "trian",
    ]
    return [line.replace(" ", "\n").encode() for line in lines]


SEEDS = {
    "idx": _idx_seeds,
    "arrays": _arrays_seeds,
    "pickled": _pickled_seeds,
    "table": _table_seeds,
    "published": _published_seeds,
    "image": _image_seeds,
    "checkpoint": _checkpoint_seeds,
    "config": _config_seeds,
    "options": _option_seeds,
}

_LAYERS = [layer["class"] for layer in EVERY_LAYER["layers"]] + ["Sequential"]
_SETTINGS = sorted({name for layer in EVERY_LAYER["layers"] for name in layer})
_JSON = [f'"{word}"' for word in (*_LAYERS, *_SETTINGS, *HEADER)]
_JSON += ["null", "true", "false", "1e999", "-1", "99999999", '{"class":', "[[[[", "NaN"]
_OPTIONS = b"""
--dataset --data-dir --network --backend --epochs --batch-size --optimizer --learning-rate
--schedule --validation --seed --limit --log-steps --out --json --debug --help --invert --version
--no-invert --top --format --output --part --per-class --image-size 8x8 jsonl csv all
train evaluate predict info digits mnist numpy sgd cosine nan inf -1 1e400 0 --
""".split()

WORDS: dict[str, list[bytes]] = {
    "idx": [b"\0\0\x08\x03", b"\0\0\x0c\x01", b"\x1f\x8b\x08", b"\xff" * 4, b"\0\0\0\1"],
    "arrays": [
        *(b"PK\3\4", b"PK\1\2", b"PK\5\6", b"\x93NUMPY", b"'descr': '|u1'", b"'shape': ("),
        *(b"'fortran_order': True", b"|O", b"<f8", b"<U2", b"99999999", b"-1"),
    ],
    "pickled": [
        *(b"cnumpy.core.multiarray\n", b"_reconstruct\n", b"cnumpy\ndtype\n", b"cos\nsystem\n"),
        *(b"U\x02u1", b"tR", b"tb", b"\x80\x02", b"\x8e", b"\x94", b"](", b"}(", b"_frombuffer"),
        *(b"numpy._core.numeric", b"scalar", b"\xff\xff\xff\x7f", b"__builtin__\nbytes\n"),
    ],
    "table": [
        *(b"label", b"pixel0", b"1x1", b",label\n", b"\r\n", b'"', b'""', b"nan", b"inf", b"1e5"),
        *(b"0x1", b"1_0", b"-1", b"256", b"\xef\xbb\xbf", b";", b"\t", b"id,", b"\xc2\xa0"),
    ],
    "published": [
        b"\0\0\x0c\2",
        b" 48\n",
        b"index,codepoint,char",
        b",U+304A,",
        b"\n2,",
        b'"',
        b"\r",
    ],
    "image": [
        *(b"IHDR", b"IDAT", b"IEND", b"tRNS", b"PLTE", b"iTXt", b"acTL", b"fdAT", b"Exif\0\0"),
        *(
            b"\xff\xd8",
            b"\xff\xc0",
            b"GIF89a",
            b"RIFF",
            b"WEBPVP8 ",
            b"VP8L",
            b"P6",
            b"BM",
            b"II*\0",
            b"MM\0*",
        ),
    ],
    "checkpoint": [
        *(b"PK\3\4", b"PK\1\2", b"PK\5\6", b"\x93NUMPY", b"'descr'", b"'shape': ("),
        *(word.encode() for word in _JSON),
    ],
    "config": [word.encode() for word in _JSON],
    "options": [*_OPTIONS, b"\n", b"="],
}
