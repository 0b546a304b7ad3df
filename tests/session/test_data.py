"""Data in: every source, the split, and files that mean harm."""

from __future__ import annotations

import csv
import gzip
import io
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from workbench.foundation.errors import DataError
from workbench.graph import TensorSpec
from workbench.session import archives, images
from workbench.session.archives import Limits
from workbench.session.data import Data, open_data, order
from workbench.session.images import Layout, Preprocess, fit

PICTURE = TensorSpec("picture", ("batch", 3, 8, 8), torch.float32)
GREY = TensorSpec("image", ("batch", 1, 8, 8), torch.float32)
TOKENS = TensorSpec("tokens", ("batch", 16), torch.int64)
LAST_IS_NAN = np.zeros((4, 1, 8, 8))
LAST_IS_NAN[-1, 0, 7, 7] = np.nan


def png(colour: int, side: tuple[int, int] = (8, 8)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", side, (colour, colour, colour)).save(stream, "PNG")
    return stream.getvalue()


def make_zip(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def labels_csv(rows: list[tuple[str, int]]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerows([("file", "label", "name"), *((f, k, f"class {k}") for f, k in rows)])
    return stream.getvalue().encode()


def all_rows(data: Data) -> list[int]:
    return sorted([*data.calibration.tolist(), *data.test.tolist()])


# --- the split ------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60))
def test_the_order_is_a_permutation_in_which_classes_take_turns(labels: list[int]):
    found = np.array(labels)
    rows = order(len(found), found)
    assert sorted(rows.tolist()) == list(range(len(found)))
    counts = np.bincount(found)
    present = int((counts > 0).sum())
    assert len(set(found[rows[:present]].tolist())) == present  # each class once before any twice


def test_the_order_is_fixed():
    assert order(50, None).tolist() == order(50, None).tolist()
    assert order(50, None).tolist() != list(range(50))


def test_calibration_and_test_never_share(tiny_npz: Path):
    data = open_data(tiny_npz, [GREY])
    for count in (1, 7, 48):
        moved = data.calibrate_on(count)
        assert moved.size("calibration") == count
        assert all_rows(moved) == list(range(96))
    assert data.calibrate_on(1000).size("calibration") == 48  # half of the pool at most


def test_an_unknown_split_is_refused(tiny_npz: Path):
    with pytest.raises(DataError, match="no split 'dev'; choose"):
        open_data(tiny_npz, [GREY]).size("dev")


# --- arrays ---------------------------------------------------------------------------------------


def test_batches_cover_a_split_once(tiny_npz: Path):
    data = open_data(tiny_npz, [GREY]).calibrate_on(20)
    batches = list(data.batches("test", 32))
    assert [len(inputs[0]) for inputs, _ in batches] == [32, 32, 12]
    assert all(labels.dtype == torch.int64 for _, labels in batches)
    joined = torch.cat([inputs[0] for inputs, _ in batches])
    assert torch.equal(joined, data.split("test")[0])
    assert len(data.split("test", 5)[0]) == 5


def test_a_fixed_batch_leaves_the_rest_out(tiny_npz: Path):
    fixed = TensorSpec("image", (10, 1, 8, 8), torch.float32)
    data = open_data(tiny_npz, [fixed]).calibrate_on(16)
    assert [len(inputs[0]) for inputs, _ in data.batches("test", 64)] == [10] * 8


def test_arrays_and_pairs_from_python():
    x, y = np.zeros((6, 1, 8, 8)), np.arange(6)
    assert open_data((x, y), [GREY]).task == "classify"
    assert open_data(x, [GREY]).task == "none"
    assert open_data({"image": torch.zeros(6, 1, 8, 8)}, [GREY]).size("test") == 3


def test_several_inputs_go_by_name(tmp_path: Path):
    specs = [TensorSpec("a", ("n", 2), torch.float32), TensorSpec("b", ("n", 3), torch.int64)]
    np.savez(tmp_path / "two.npz", a=np.ones((4, 2)), b=np.ones((4, 3), np.int32))
    first, second = open_data(tmp_path / "two.npz", specs).split("test")
    assert first.dtype == torch.float32
    assert second.dtype == torch.int64
    np.savez(tmp_path / "one.npz", a=np.ones((4, 2)))
    with pytest.raises(DataError, match=r"no array for the model's input 'b'; found: a \(4, 2\)"):
        open_data(tmp_path / "one.npz", specs)


def test_uint8_arrays_are_pictures(tmp_path: Path):
    np.savez(tmp_path / "p.npz", images=np.full((4, 8, 8), 255, np.uint8), labels=np.arange(4))
    data = open_data(tmp_path / "p.npz", [GREY], Preprocess(mean=(0.5,), std=(0.25,)))
    assert torch.equal(data.split("test")[0], torch.full((2, 1, 8, 8), 2.0))


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        (
            {"images": np.zeros((4, 1, 9, 9), np.float32)},
            r"input 'image' has shape \(N, 1, 9, 9\), but the model takes \(N, 1, 8, 8\); reshape",
        ),
        ({"images": np.zeros((4, 64), np.float32)}, r"has shape \(N, 64\), but the model takes"),
        ({"pictures": np.zeros((4, 1, 8, 8))}, "no array for the model's input 'image'; found: pi"),
        ({"images": np.full((4, 1, 8, 8), np.nan)}, "values that are not finite; take them out"),
        ({"images": LAST_IS_NAN}, "values that are not finite; take them out"),
        ({"images": np.zeros((4, 1, 8, 8)), "labels": np.arange(3)}, "labels have shape .*4 whole"),
        ({"images": np.zeros((4, 1, 8, 8)), "labels": np.zeros(4)}, "labels .* type float64"),
        ({"images": np.zeros((1, 1, 8, 8))}, "holds one example; give two or more"),
        ({"images": np.zeros((0, 1, 8, 8))}, "at least one"),
        ({"images": np.array(["a", "b"])}, "has shape"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, arrays: dict, sentence: str):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=sentence):
        open_data(tmp_path / "bad.npz", [GREY])


def test_floats_for_an_integer_input_are_refused():
    with pytest.raises(DataError, match="type float64, but the model takes whole numbers"):
        open_data(np.zeros((4, 16)), [TOKENS])


def test_what_is_no_data_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"there is no data at .*check the path"):
        open_data(tmp_path / "missing.npz", [GREY])
    with pytest.raises(DataError, match="type 'int' is not understood; give a path"):
        open_data(3, [GREY])
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"'notes.txt' is not data for this model; give an .npz"):
        open_data(tmp_path / "notes.txt", [GREY])


# --- text -----------------------------------------------------------------------------------------


def test_text_comes_in_windows_of_the_models_length(tmp_path: Path):
    (tmp_path / "text.txt").write_bytes(bytes(range(160)))
    data = open_data(tmp_path / "text.txt", [TOKENS])
    assert data.task == "bytes"
    assert data.size("calibration") + data.size("test") == 10
    windows = torch.cat([data.split("calibration")[0], data.split("test")[0]])
    assert torch.equal(windows.flatten().sort().values, torch.arange(160))
    assert bool((windows.diff(dim=1) == 1).all())


def test_text_may_be_gzipped(tmp_path: Path):
    (tmp_path / "text.txt.gz").write_bytes(gzip.compress(bytes(100)))
    assert open_data(tmp_path / "text.txt.gz", [TOKENS]).size("test") == 3
    (tmp_path / "bad.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="cannot be read"):
        open_data(tmp_path / "bad.gz", [TOKENS])


def test_a_short_text_is_refused(tmp_path: Path):
    (tmp_path / "short.txt").write_bytes(bytes(20))
    with pytest.raises(DataError, match="20 bytes, fewer than two windows of 16; give a longer"):
        open_data(tmp_path / "short.txt", [TOKENS])


# --- pictures -------------------------------------------------------------------------------------


def test_folders_name_the_classes(tmp_path: Path):
    for index, name in enumerate(("cat", "dog")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for k in range(3):
            (tmp_path / "set" / name / f"{k}.png").write_bytes(png(100 * index + 50))
    data = open_data(tmp_path / "set", [PICTURE])
    inputs, labels = next(data.batches("test", 8))
    assert labels is not None
    assert inputs[0].shape == (3, 3, 8, 8)
    assert torch.allclose(inputs[0][:, 0, 0, 0], (100.0 * labels + 50) / 255)


def test_numbers_as_folder_names_are_the_labels(tmp_path: Path):
    entries = {f"{label}/{k}.png": png(label) for label in (3, 11) for k in range(2)}
    data = open_data(make_zip(tmp_path / "z.zip", entries), [PICTURE])
    assert set(data.source.labels.tolist()) == {3, 11}


def test_a_list_of_labels_decides_which_pictures_count(tmp_path: Path):
    entries = {f"set/{k}.png": png(k) for k in range(6)}
    entries["set/labels.csv"] = labels_csv([(f"{k}.png", 10 * k) for k in range(5)])
    data = open_data(make_zip(tmp_path / "z.zip", entries), [PICTURE])
    assert len(data.source) == 5
    inputs, labels = next(data.batches("test", 8))
    assert labels is not None
    assert torch.allclose(inputs[0][:, 0, 0, 0] * 255, labels / 10)


def test_pictures_without_labels_are_data_too(tmp_path: Path):
    data = open_data(make_zip(tmp_path / "z.zip", {f"{k}.png": png(k) for k in range(4)}), [GREY])
    assert data.task == "none"
    assert next(data.batches("test", 2))[1] is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"name,class\na,1\n", "needs the columns file,label"),
        (b"file,label\n0.png,cat\n", "has the label 'cat'; give whole numbers"),
        (b"file,label\n../0.png,1\n", "names none of the pictures"),
    ],
)
def test_lists_of_labels_that_are_wrong(tmp_path: Path, text: bytes, sentence: str):
    path = make_zip(tmp_path / "z.zip", {"0.png": png(0), "1.png": png(1), "labels.csv": text})
    with pytest.raises(DataError, match=sentence):
        open_data(path, [PICTURE])


def test_only_one_batch_of_pictures_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = make_zip(tmp_path / "z.zip", {f"{k}.png": png(k) for k in range(40)})
    decoded: list[str] = []
    original = images.ImageSource._one

    def count(self, name: str):
        decoded.append(name)
        return original(self, name)

    monkeypatch.setattr(images.ImageSource, "_one", count)
    batches = open_data(path, [PICTURE]).batches("test", 5)
    assert decoded == []
    next(batches)
    assert len(decoded) == 5


def test_damaged_and_oversized_pictures_are_named(tmp_path: Path, monkeypatch):
    entries = {"0.png": b"not a picture", "1.png": b"not either"}
    data = open_data(make_zip(tmp_path / "z.zip", entries), [PICTURE])
    with pytest.raises(DataError, match=r"picture '\d.png' cannot be used"):
        data.split("test")
    monkeypatch.setattr(images, "MAX_PIXELS", 63)
    data = open_data(make_zip(tmp_path / "y.zip", {"0.png": png(0), "1.png": png(1)}), [PICTURE])
    with pytest.raises(DataError, match="has 8×8 pixels; the limit is 63: shrink it"):
        data.split("test")


def test_an_empty_folder_is_refused(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no pictures"):
        open_data(tmp_path / "empty", [PICTURE])


def test_pictures_for_a_model_that_takes_none(tmp_path: Path):
    path = make_zip(tmp_path / "z.zip", {"0.png": png(0), "1.png": png(1)})
    flat = TensorSpec("x", ("n", 64), torch.float32)
    with pytest.raises(DataError, match=r"input 'x' has shape \(0, 64\), which is not a batch of"):
        open_data(path, [flat])
    with pytest.raises(DataError, match="state them with --size"):
        open_data(path, [TensorSpec("x", ("n", 3, "h", "w"), torch.float32)])


def gradient(width: int, height: int) -> Image.Image:
    row = np.tile(np.arange(width, dtype=np.uint8), (height, 1))
    return Image.fromarray(row)


def test_a_slightly_larger_picture_is_cut_not_resampled():
    layout = Layout(1, 224, 224)
    found = fit(gradient(256, 256), Preprocess(mean=(127.0,), std=(128.0,), pixels=255), layout)
    assert found.shape == (1, 224, 224)
    expected = (torch.arange(16, 240).float() - 127) / 128
    assert torch.equal(found[0, 0], expected)


@pytest.mark.parametrize("side", [(100, 60), (8, 8), (5, 7), (300, 300), (9, 8)])
def test_any_picture_gets_the_models_size(side: tuple[int, int]):
    for layout in (Layout(1, 8, 8), Layout(3, 8, 6), Layout(3, 6, 8, channels_last=True)):
        found = fit(gradient(*side), Preprocess(), layout)
        wanted = (layout.channels, layout.height, layout.width)
        assert tuple(found.shape) == ((*wanted[1:], wanted[0]) if layout.channels_last else wanted)


def test_units_are_read_off_the_numbers():
    assert Preprocess.guess_unit((127.0,), (128.0,)).pixels == 255
    assert Preprocess.guess_unit((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)).pixels == 1
    record = Preprocess((8, 8), 9, (1.0, 2.0, 3.0), (4.0,), 255).record()
    assert Preprocess.from_record(record) == Preprocess((8, 8), 9, (1.0, 2.0, 3.0), (4.0,), 255)
    with pytest.raises(DataError, match="std was"):
        Preprocess(std=(0.0,))


def test_mean_has_one_value_or_one_for_each_channel():
    with pytest.raises(DataError, match="2 values for 3 channels"):
        fit(gradient(8, 8), Preprocess(mean=(0.0, 1.0)), Layout(3, 8, 8))


# --- archives that mean harm ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("/etc/passwd.png", "absolute path"),
        ("C:/x.png", "absolute path"),
        ("\\\\host\\x.png", "absolute path"),
        ("a/../../x.png", "climbs out"),
        ("..\\x.png", "climbs out"),
    ],
)
def test_names_that_leave_the_archive(tmp_path: Path, name: str, fault: str):
    with pytest.raises(DataError, match=f"is refused: its entry .* {fault}.*pack the files again"):
        open_data(make_zip(tmp_path / "z.zip", {name: png(0), "1.png": png(1)}), [PICTURE])


def test_symbolic_links_in_archives(tmp_path: Path):
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="is a symbolic link"):
        open_data(tmp_path / "z.zip", [PICTURE])


def test_symbolic_links_in_folders_are_not_followed(tmp_path: Path):
    (tmp_path / "set").mkdir()
    (tmp_path / "secret.png").write_bytes(png(1))
    (tmp_path / "set" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match="holds no pictures"):
        open_data(tmp_path / "set", [PICTURE])


def test_bombs(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.png", bytes(4 * 2**20))
    with pytest.raises(DataError, match=r"is compressed \d+ times"):
        open_data(tmp_path / "z.zip", [PICTURE])


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        (Limits(entries=2), "holds 3 entries; the limit is 2"),
        (Limits(total=250), "the limit is 0 GiB"),
        (Limits(each=50), "unpacks to 100 bytes"),
    ],
)
def test_limits_of_archives(tmp_path: Path, limits: Limits, sentence: str):
    path = make_zip(tmp_path / "z.zip", {f"{k}": bytes(100) for k in range(3)})
    with archives.open_zip(path) as archive, pytest.raises(DataError, match=sentence):
        archives.members(archive, limits)


def object_array(path: Path) -> None:
    np.savez(path, images=np.array([{"a": 1}], object), allow_pickle=True)


def lying_header(path: Path) -> None:
    stream = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (2**40,)}
    np.lib.format.write_array_header_1_0(stream, header)
    make_zip(path, {"images.npy": stream.getvalue()})


def truncated(path: Path) -> None:
    np.savez(path, images=np.zeros((10, 1, 8, 8)))
    path.write_bytes(path.read_bytes()[:-100])


def damaged(path: Path) -> None:
    np.savez(path, images=np.zeros((10, 1, 8, 8)))
    content = bytearray(path.read_bytes())
    content[300] ^= 255
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (object_array, "holds Python objects, which can run code; save numbers only"),
        (lying_header, "is 128 bytes but promises 4398046511232"),
        (truncated, "is not a readable zip archive"),
        (damaged, "cannot be read"),
        (lambda path: path.write_bytes(b"hello"), "is not a readable zip archive"),
        (lambda path: make_zip(path, {"x.txt": b"hello"}), "cannot be read"),
    ],
    ids=["objects", "lying header", "truncated", "damaged", "no zip", "no array"],
)
def test_hostile_npz(tmp_path: Path, make: Callable[[Path], object], sentence: str):
    path = tmp_path / "bad.npz"
    make(path)
    with pytest.raises(DataError, match=sentence):
        open_data(path, [GREY])
