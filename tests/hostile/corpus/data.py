"""Data for a model that takes (n, 1, 4, 4) and tells 3 classes apart, and for one of bytes."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.hostile.corpus.case import MARK, Bomb, case, zipped


def png(width: int = 4, height: int = 4) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (width, height), 7).save(stream, "PNG")
    return stream.getvalue()


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


PICTURES = np.zeros((6, 1, 4, 4), np.float32)


@case("data", "holds Python objects")
def npz_with_objects(folder: Path) -> Path:
    return npz(folder / "d.npz", images=np.array([Bomb(folder / MARK)], object))


def _array_entry(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


HEADERS = {
    "promises": b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }\n",
    "negative": b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }\n",
    "code": b"__import__('os').system('touch touched')\n",
    "deep": b"(" * 4000 + b"\n",
    "no-text": b"\xff\xfe\n",
    "no-type": b"{'descr': 'Q9', 'fortran_order': False, 'shape': (1,), }\n",
}

for _name, _header in HEADERS.items():

    @case("data", "cannot be read|but promises", f"npz-header-{_name}")
    def _bad_header(folder: Path, header: bytes = _header) -> Path:
        return zipped(folder / "d.npz", {"images.npy": _array_entry(header)})


@case("data", "is compressed")
def npz_bomb(folder: Path) -> Path:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (402653056,), }"
    head = _array_entry(header + b" " * (117 - len(header)) + b"\n")
    path = folder / "d.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("images.npy", "w") as entry,
    ):
        entry.write(head)
        for _ in range(384):
            entry.write(bytes(1 << 20))
    return path


@case("data", "not a regular file")
def npz_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "d.npz")
    return folder / "d.npz"


@case("data", "values that are not finite")
def npz_not_finite(folder: Path) -> Path:
    return npz(folder / "d.npz", images=np.full((6, 1, 4, 4), np.nan, np.float32))


for _labels in ([0, 1, 2, 3, 0, 1], [0, 1, -1, 0, 1, 2], [2**40] * 6):

    @case("data", "of the model's 3 classes", f"npz-label-{max(_labels)}-{min(_labels)}")
    def _wrong_labels(folder: Path, labels: list[int] = _labels) -> Path:
        return npz(folder / "d.npz", images=PICTURES, labels=np.array(labels))


@case("data", "has shape")
def npz_of_records(folder: Path) -> Path:
    return npz(folder / "d.npz", images=np.zeros(6, np.dtype([("a", "f4"), ("b", "U4")])))


@case("data", "climbs out")
def pictures_slip(folder: Path) -> Path:
    return zipped(folder / "d.zip", {"../a.png": png(), "b.png": png()})


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def _huge_png(side: int) -> bytes:
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1 << 20))
    parts = [_png_chunk(b"IHDR", head), _png_chunk(b"IDAT", rows), _png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@case("data", "cannot be used|pixels; the limit")
def picture_bomb(folder: Path) -> Path:
    return zipped(folder / "d.zip", {"a.png": _huge_png(30_000), "b.png": _huge_png(30_000)})


@case("data", "cannot be used")
def picture_with_a_huge_text(folder: Path) -> Path:
    text = _png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100 << 20)))
    data = png()
    data = data[:33] + text + data[33:]
    return zipped(folder / "d.zip", {"a.png": data, "b.png": data})


@case("data", "cannot be used")
def truncated_jpeg(folder: Path) -> Path:
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(stream, "JPEG")
    data = stream.getvalue()[:600]
    return zipped(folder / "d.zip", {"a.jpg": data, "b.jpg": data})


@case("data", "cannot be used")
def pictures_of_another_kind(folder: Path) -> Path:
    return zipped(folder / "d.zip", {"a.png": b"GIF89a" + bytes(100), "b.png": b"%!PS-Adobe"})


@case("data", "holds no pictures")
def folder_of_links(folder: Path) -> Path:
    (folder / "set").mkdir()
    (folder / "set" / "a.png").symlink_to("/etc/passwd")
    (folder / "set" / "loop").symlink_to(folder / "set")
    os.mkfifo(folder / "set" / "b.png")
    return folder / "set"


TABLES = {
    "no-column": (b"name,class\na,1\n", "needs the columns"),
    "no-number": (b"file,label\na.png,cat\n", "has the label 'cat'"),
    "huge-number": (b"file,label\na.png," + b"9" * 6000 + b"\n", "has the label '99"),
    "huge-cell": (b"file,label\n" + b"x" * 200_000 + b",1\n", "is not a table|names none"),
    "ragged": (b"file,label\na.png\n,\n", "is not a table|has the label"),
    "nul": (b"file,label\n\0a.png,1\n", "is not a table|names none"),
    "elsewhere": (b"file,label\n../a.png,1\n/etc/passwd,0\n", "names none"),
    "outside-classes": (b"file,label\na.png,1\nb.png,7\n", "label '7' is none of the model's 3"),
}

for _name, (_text, _words) in TABLES.items():

    @case("data", _words, f"labels-{_name}")
    def _bad_table(folder: Path, text: bytes = _text) -> Path:
        entries = {"a.png": png(), "b.png": png(), "labels.csv": text}
        return zipped(folder / "d.zip", entries)


@case("data", "of the model's 3 classes|takes|none")
def folders_named_by_huge_numbers(folder: Path) -> Path:
    return zipped(folder / "d.zip", {"9" * 18 + "/a.png": png(), "0/b.png": png()})


@case("data", None)
def folders_named_by_longer_numbers(folder: Path) -> Path:
    return zipped(folder / "d.zip", {"9" * 40 + "/a.png": png(), "0/b.png": png()})


@case("text", "unpacks to more than")
def gzip_bomb(folder: Path) -> Path:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    with (folder / "t.txt.gz").open("wb") as stream:
        for _ in range(300):
            stream.write(packer.compress(bytes(1 << 20)))
        stream.write(packer.flush())
    return folder / "t.txt.gz"


@case("text", "cannot be read")
def gzip_damaged(folder: Path) -> Path:
    content = bytearray(zlib.compress(os.urandom(5000), wbits=31))
    content[100:200] = bytes(100)
    (folder / "t.txt.gz").write_bytes(bytes(content))
    return folder / "t.txt.gz"


@case("text", "is not data for this model|there is no data")
def text_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "t.txt")
    return folder / "t.txt"
