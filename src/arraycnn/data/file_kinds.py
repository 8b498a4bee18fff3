"""Files that people bring and that are not read: what each is, by its first bytes, and the remedy.

A file's name says what somebody meant it to be; its first bytes say what it is.
"""

import os
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from arraycnn.errors import one_line

_START = 512
_TO_PICTURES = 'convert it to PNG or JPEG, such as with ImageMagick: magick "{name}" "{png}"'
_TO_ARRAYS = (
    "read it with the program that wrote it, and save images and labels with "
    "numpy.savez('{stem}.npz', images=..., labels=...)"
)
_UNPACK = "unpack it and name the folder: {how}"


@dataclass(frozen=True)
class FileKind:
    """A kind of file that is not read: its name, and what helps."""

    name: str
    _remedy: str

    @property
    def with_article(self) -> str:
        """Such as "a zip file" or "an HDF5 file"."""
        vowel = self.name[0] in "AEIOaeio" or self.name in ("HDF5", "xz")
        return f"{'an' if vowel else 'a'} {self.name} file"

    def remedy(self, path: str | os.PathLike[str]) -> str:
        name, stem = one_line(Path(path).name), one_line(Path(path).stem)
        png = f"{stem}.png" if name != f"{stem}.png" else f"{stem}-converted.png"
        text = self._remedy.replace("{png}", png).replace("{stem}", stem)
        return text.replace("{name}", name)


def _unpacked(name: str, how: str) -> FileKind:
    return FileKind(name, _UNPACK.replace("{how}", how))


_ZIP = _unpacked("zip", 'python -m zipfile -e "{name}" "{stem}"')
_TAR = _unpacked("tar", 'python -m tarfile -e "{name}" "{stem}"')
_TORCH = FileKind(
    "PyTorch",
    "it holds pickled objects, which are never unpickled here; in PyTorch, save its images and "
    "labels with numpy.savez('{stem}.npz', images=x.numpy(), labels=y.numpy())",
)

# What a file begins with, what it is.
_BEGINNINGS: tuple[tuple[bytes, FileKind], ...] = (
    (b"Rar!\x1a\x07", _unpacked("RAR", 'unrar x "{name}"')),
    (b"7z\xbc\xaf\x27\x1c", _unpacked("7z", '7z x "{name}"')),
    (b"\xfd7zXZ\0", _unpacked("xz", 'tar -xf "{name}" or xz -d "{name}"')),
    (b"BZh", _unpacked("bzip2", 'tar -xf "{name}" or bzip2 -d "{name}"')),
    (b"\x28\xb5\x2f\xfd", _unpacked("Zstandard", 'tar -xf "{name}" or zstd -d "{name}"')),
    (b"PAR1", FileKind("Parquet", _TO_ARRAYS)),
    (b"ARROW1", FileKind("Arrow", _TO_ARRAYS)),
    (b"\x89HDF\r\n\x1a\n", FileKind("HDF5", _TO_ARRAYS)),
    (b"MATLAB 7.3 MAT-file", FileKind("MATLAB", _TO_ARRAYS)),
    (b"MATLAB 5.0 MAT-file", FileKind("MATLAB", _TO_ARRAYS)),
    (b"SQLite format 3\0", FileKind("SQLite", _TO_ARRAYS)),
    (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", _TORCH),
    (b"%PDF", FileKind("PDF", _TO_PICTURES)),
    (b"8BPS", FileKind("Photoshop", _TO_PICTURES)),
    (b"\0\0\0\x0cjP  \r\n\x87\n", FileKind("JPEG 2000", _TO_PICTURES)),
    (b"\0\0\0\x0cJXL \r\n\x87\n", FileKind("JPEG XL", _TO_PICTURES)),
    (b"\xff\x0a", FileKind("JPEG XL", _TO_PICTURES)),
    (b"\x76\x2f\x31\x01", FileKind("OpenEXR", _TO_PICTURES)),
    (b"\0\0\1\0", FileKind("icon", _TO_PICTURES)),
)
# The brands of ISO media files, at byte 8 (ISO/IEC 14496-12; 23008-12 for HEIF).
_BRANDS = {
    **dict.fromkeys(
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
        FileKind("HEIC", _TO_PICTURES),
    ),
    **dict.fromkeys((b"avif", b"avis"), FileKind("AVIF", _TO_PICTURES)),
}
_VIDEO = FileKind("video", 'save its pictures: ffmpeg -i "{name}" %05d.png')


def kind_of(path: Path) -> FileKind | None:
    """What kind of file that is not read ``path`` is; None for others and unreadable ones."""
    try:
        with path.open("rb") as file:
            start = file.read(_START)
            size = os.fstat(file.fileno()).st_size
    except OSError:
        return None
    return kind_of_bytes(start, size, lambda: _entries(path))


def kind_of_bytes(
    start: bytes, size: int, entries: Callable[[], list[str]] = list
) -> FileKind | None:
    """As `kind_of`, of the first 512 bytes of a file of ``size`` bytes.

    ``entries`` lists the names in it where it is a zip file.
    """
    for beginning, kind in _BEGINNINGS:
        if start.startswith(beginning):
            return kind
    if start[4:8] == b"ftyp":
        return _BRANDS.get(start[8:12], _VIDEO)
    if start[257:262] == b"ustar":
        return _TAR
    if start.startswith((b"PK\3\4", b"PK\5\6")):
        names = entries()
        if any(name.endswith("data.pkl") for name in names):
            return _TORCH
        return None if names and all(name.endswith(".npy") for name in names) else _ZIP
    return FileKind("TFRecord", _TO_ARRAYS) if _is_tfrecord(start, size) else None


def _entries(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception:  # a damaged zip file is still one
        return []


def _is_tfrecord(start: bytes, size: int) -> bool:
    """Whether the length of the first record has its checksum (a masked CRC-32C) behind it."""
    if len(start) < 12:
        return False
    length, masked = struct.unpack("<QI", start[:12])
    if length + 16 > size:
        return False
    crc = 0xFFFFFFFF
    for byte in start[:8]:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    rotated = ((crc >> 15) | (crc << 17)) & 0xFFFFFFFF
    return masked == (rotated + 0xA282EAD8) & 0xFFFFFFFF
