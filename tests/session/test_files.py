"""Files as the bytes at their ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.foundation.errors import DataError
from workbench.graph.build import TensorSpec
from workbench.session.files import MOST_EACH, Ends, FileSource, unambiguous

SPEC = TensorSpec("bytes", ("batch", 8), torch.int32)


def test_short_files_are_padded_in_the_middle_and_long_ones_cut(tmp_path: Path):
    path = tmp_path / "a.txt"
    ends = Ends(first=4, last=4, block=6)
    path.write_bytes(b"  ab \n")
    assert ends.read(path).tolist() == [*b"ab \n"[:4], *b"  ab"]
    path.write_bytes(b"xyz")
    assert ends.read(path).tolist() == [*b"xyz", 256, 256, *b"xyz"]
    path.write_bytes(b"0123456789")
    assert ends.read(path).tolist() == [*b"0123", *b"6789"]


def test_labels_come_from_extensions_that_say_one_thing(tmp_path: Path):
    label_of = unambiguous([["py"], ["pl"], ["pl", "c"]])
    assert label_of == {"py": 0, "c": 2}
    for index in range(MOST_EACH + 3):
        (tmp_path / f"{index:03}.py").write_text("x = 1")
    for name in ("a.c", "b.C", "c.pl", "empty.c"):
        (tmp_path / name).write_text("" if name == "empty.c" else "text")
    source = FileSource(tmp_path, SPEC, label_of, Ends(4, 4))
    assert len(source) == MOST_EACH + 2
    assert np.bincount(source.labels).tolist() == [MOST_EACH, 0, 2]
    (numbers,) = source.read(np.array([0, 1]))
    assert (numbers.shape, numbers.dtype) == ((2, 8), torch.int32)


def test_a_folder_without_known_files_is_refused(tmp_path: Path):
    (tmp_path / "a.unknown").write_text("text")
    with pytest.raises(DataError, match="holds 0 files whose extension"):
        FileSource(tmp_path, SPEC, {"py": 0})
