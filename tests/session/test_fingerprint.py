"""Data on disk: the same, touched, or changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workbench.foundation.errors import DataError
from workbench.session import fingerprint as module
from workbench.session.fingerprint import fingerprint


def test_content_counts_and_times_do_not(tmp_path: Path):
    (tmp_path / "a.bin").write_bytes(b"one")
    first = fingerprint(tmp_path / "a.bin")
    os.utime(tmp_path / "a.bin", (1, 1))
    assert fingerprint(tmp_path / "a.bin") == first
    (tmp_path / "a.bin").write_bytes(b"two")
    assert fingerprint(tmp_path / "a.bin") != first


def test_large_data_are_told_by_size_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_READ", 2)
    (tmp_path / "a.bin").write_bytes(b"one")
    os.utime(tmp_path / "a.bin", (1, 1))
    first = fingerprint(tmp_path / "a.bin")
    os.utime(tmp_path / "a.bin", (2, 2))
    assert fingerprint(tmp_path / "a.bin") != first


def test_a_folder_is_all_its_files(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    first = fingerprint(tmp_path)
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert fingerprint(tmp_path) == first
    (tmp_path / "b").rename(tmp_path / "c")
    assert fingerprint(tmp_path) != first


def test_data_that_are_gone(tmp_path: Path):
    with pytest.raises(DataError, match="cannot be read"):
        fingerprint(tmp_path / "gone" / "a.bin")
