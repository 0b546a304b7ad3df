"""Pictures on disk as model inputs: found, labelled, decoded one batch at a time.

Labels come from `labels.csv` (columns `file,label` and, if wished, `name`) or from the name of
the folder that a picture lies in. Folder names that are all whole numbers are the labels
themselves; otherwise label k is the k-th folder name in alphabetical order.
"""

from __future__ import annotations

import csv
import io
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from workbench.foundation.errors import DataError
from workbench.foundation.zips import BROKEN, Limits, members, open_zip

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
MAX_PIXELS = 64_000_000
MAX_FILE = 64 * 2**20
IMAGES = Limits(each=MAX_FILE)
_MARGIN = 8 / 7  # 256 for a crop of 224, the usual evaluation protocol


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes an input: `(pixels - mean) / std`, in the middle of the picture.

    A picture larger than the model's input loses its border: its short side is first brought to
    `resize` (by default to 8/7 of the input's side, but never enlarged), then the centre is cut
    out. A smaller one is enlarged until its short side fits.

    Attributes:
        size: (height, width) wanted; None takes the model's own.
        resize: short side before the cut; None as said above.
        mean: one value, or one for each channel, in the unit of `pixels`.
        std: the same for the divisor.
        pixels: 255 if `mean` and `std` count pixel values 0 to 255, 1 if white is 1.0.
    """

    size: tuple[int, int] | None = None
    resize: int | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    pixels: Literal[1, 255] = 1

    def __post_init__(self) -> None:
        if any(value <= 0 for value in self.std):
            raise DataError(f"std was {self.std}: divide by positive numbers")

    @classmethod
    def guess_unit(cls, mean: Sequence[float], std: Sequence[float], **rest: Any) -> Self:
        """With `pixels` read off the numbers: anything above 2 can only mean 0 to 255."""
        unit = 255 if max(*mean, *std, 0.0) > 2 else 1
        return cls(mean=tuple(mean), std=tuple(std), pixels=unit, **rest)

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The inverse of `record`."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in record.items()
        }
        return cls(**values)


@dataclass(frozen=True)
class Layout:
    """The picture that a model takes: `(channels, height, width)` or channels last."""

    channels: int
    height: int
    width: int
    channels_last: bool = False

    @classmethod
    def of(cls, name: str, shape: Sequence[int], preprocess: Preprocess) -> Self:
        """From the input's shape with the batch axis first; 0 stands for an unknown length."""
        if len(shape) != 4:
            raise DataError(
                f"input '{name}' has shape {tuple(shape)}, which is not a batch of pictures"
                " (4 axes); give the data as an .npz with an array of that name"
            )
        last = shape[3] in (1, 3) and shape[1] not in (1, 3)
        channels, height, width = (shape[3], shape[1], shape[2]) if last else tuple(shape[1:])
        if preprocess.size:
            height, width = preprocess.size
        if channels not in (1, 3) or not (height and width):
            raise DataError(
                f"input '{name}' has shape {tuple(shape)}: pictures need 1 or 3 channels and a"
                " known height and width; state them with --size"
            )
        return cls(channels, height, width, last)


def to_input(picture: NDArray[np.uint8], preprocess: Preprocess, layout: Layout) -> Tensor:
    """Pixels `(height, width, channels)`, of any size, as float32 input without batch axis."""
    image = Image.fromarray(picture.squeeze(2) if picture.shape[2] == 1 else picture)
    return fit(image, preprocess, layout)


def fit(image: Image.Image, preprocess: Preprocess, layout: Layout) -> Tensor:
    """A decoded picture as float32 input without batch axis."""
    image = _centre(image.convert("L" if layout.channels == 1 else "RGB"), preprocess, layout)
    pixels = torch.from_numpy(np.array(image, dtype=np.float32))
    pixels = pixels.reshape(layout.height, layout.width, layout.channels)
    mean, std = (_per_channel(v, layout) for v in (preprocess.mean, preprocess.std))
    scaled = (pixels * (preprocess.pixels / 255) - mean) / std
    return scaled if layout.channels_last else scaled.permute(2, 0, 1).contiguous()


class ImageSource:
    """Pictures of a folder or zip as rows; only the rows asked for are ever in memory."""

    def __init__(self, path: Path, preprocess: Preprocess, layout: Layout) -> None:
        self._files = _Folder(path) if path.is_dir() else _Zip(path)
        self._preprocess = preprocess
        self._layout = layout
        self.names, self.labels = _labelled(self._files, path)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """The pictures of `rows`, stacked: one tensor with a batch axis."""
        return (torch.stack([self._one(self.names[row]) for row in rows]),)

    def _one(self, name: str) -> Tensor:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(io.BytesIO(self._files.read(name)), formats=FORMATS) as image:
                    _check_size(image, name)
                    return fit(image, self._preprocess, self._layout)
        except DataError:
            raise
        except Exception as error:  # noqa: BLE001 - decoders fail in any way on files of strangers
            raise DataError(
                f"picture '{name}' cannot be used ({error}); take it out or save it again"
            ) from None


class _Folder:
    def __init__(self, path: Path) -> None:
        self._root = path
        found = sorted(p for p in path.rglob("*") if p.is_file() and not p.is_symlink())
        self.names = [p.relative_to(path).as_posix() for p in found]

    def read(self, name: str) -> bytes:
        with (self._root / name).open("rb") as stream:
            if os.fstat(stream.fileno()).st_size > MAX_FILE:
                raise DataError(f"'{name}' has more than {MAX_FILE} bytes; save it smaller")
            return stream.read()


class _Zip:
    def __init__(self, path: Path) -> None:
        self._archive = open_zip(path)
        self.names = sorted(entry.filename for entry in members(self._archive, IMAGES))

    def read(self, name: str) -> bytes:
        try:
            return self._archive.read(name)
        except BROKEN as error:
            raise DataError(
                f"entry '{name}' of the zip is damaged ({error}); pack the files again"
            ) from None


def _labelled(files: _Folder | _Zip, path: Path) -> tuple[list[str], NDArray[np.int64] | None]:
    """Names of the pictures and, where they can be told, their labels."""
    pictures = [n for n in files.names if PurePosixPath(n).suffix.lower() in SUFFIXES]
    pictures = [n for n in pictures if not n.startswith("__MACOSX/")]
    if not pictures:
        kinds = ", ".join(sorted(SUFFIXES))
        raise DataError(f"'{path}' holds no pictures ({kinds}); give a folder or zip that does")
    lists = [n for n in files.names if PurePosixPath(n).name == "labels.csv"]
    if lists:
        return _from_csv(files.read(lists[0]), PurePosixPath(lists[0]).parent, pictures)
    return pictures, _from_folders(pictures)


def _from_csv(
    text: bytes, parent: PurePosixPath, pictures: list[str]
) -> tuple[list[str], NDArray[np.int64]]:
    rows = csv.DictReader(io.StringIO(text.decode("utf-8-sig", errors="replace")))
    try:
        if not {"file", "label"} <= set(rows.fieldnames or ()):
            raise DataError("labels.csv needs the columns file,label in its first line; add it")
        table = {(parent / row["file"]).as_posix(): _label(row["label"]) for row in rows}
    except (TypeError, csv.Error) as error:
        raise DataError(f"labels.csv is not a table ({error}); save it again") from None
    names = [name for name in pictures if name in table]
    if not names:
        raise DataError("labels.csv names none of the pictures beside it; check its column 'file'")
    return names, np.array([table[name] for name in names], np.int64)


def _label(text: str | None) -> int:
    """A class number from a stranger's text; None where the line is too short."""
    digits = (text or "").strip()
    if digits.isascii() and digits.removeprefix("-").isdecimal() and len(digits) < 19:
        return int(digits)
    raise DataError(f"labels.csv has the label '{digits[:40]}'; give whole numbers from 0 on")


def _from_folders(pictures: list[str]) -> NDArray[np.int64] | None:
    folders = [PurePosixPath(name).parent.name for name in pictures]
    classes = sorted(set(folders))
    if len(classes) < 2:
        return None
    numbers = all(name.isdecimal() and len(name) < 19 for name in classes)
    index = {name: int(name) if numbers else place for place, name in enumerate(classes)}
    return np.array([index[name] for name in folders], np.int64)


def _check_size(image: Image.Image, name: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise DataError(
            f"picture '{name}' has {image.width}×{image.height} pixels;"
            f" the limit is {MAX_PIXELS}: shrink it"
        )


def _centre(image: Image.Image, preprocess: Preprocess, layout: Layout) -> Image.Image:
    """Resized (where needed) and cut to the layout's height and width."""
    scale = _scale(image, preprocess, layout)
    if scale != 1.0:
        wide = max(layout.width, round(image.width * scale))
        high = max(layout.height, round(image.height * scale))
        image = image.resize((wide, high), Image.Resampling.BILINEAR)
    left, top = (image.width - layout.width) // 2, (image.height - layout.height) // 2
    return image.crop((left, top, left + layout.width, top + layout.height))


def _scale(image: Image.Image, preprocess: Preprocess, layout: Layout) -> float:
    least = max(layout.width / image.width, layout.height / image.height)
    if preprocess.resize:
        return max(least, preprocess.resize / min(image.width, image.height))
    if least >= 1:
        return least
    return min(1.0, least * _MARGIN)


def _per_channel(values: tuple[float, ...], layout: Layout) -> Tensor:
    if len(values) not in (1, layout.channels):
        raise DataError(
            f"mean and std have {len(values)} values for {layout.channels} channels;"
            " give one value, or one for each channel"
        )
    return torch.tensor(values, dtype=torch.float32)
