"""Run directories that were tampered with: `folder / "run"` holds a finished one beforehand."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import torch

from tests.hostile.corpus.case import case


def _edited(folder: Path, **changes: Any) -> Path:
    path = folder / "run" / "run.json"
    about = json.loads(path.read_text())
    for key, value in changes.items():
        about.pop(key) if value is None else about.update({key: value})
    path.write_text(json.dumps(about))
    return folder / "run"


BROKEN_RECORDS: dict[str, tuple[dict[str, Any], str]] = {
    "no-source": ({"source": None}, "no 'source'"),
    "no-state": ({"state": None}, "no 'state'"),
    "odd-state": ({"state": "<img>"}, "state '<img>'"),
    "source-of-another-shape": ({"source": {"path": "x"}}, "is damaged"),
    "source-elsewhere": ({"source": {"kind": "file", "value": "/etc/passwd"}}, "does not end in"),
    "other-model": ({"sha256": "0" * 64}, "has changed since run"),
    "data-elsewhere": ({"data": {"kind": "path", "path": "/etc/passwd"}}, "is not data for"),
    "data-of-another-shape": ({"data": {"kind": "path"}}, "is damaged"),
    "preprocess-of-another-shape": ({"data": {"preprocess": {"size": "x", "y": 1}}}, "is damaged"),
    "other-fingerprint": ({"data": {"kind": "arrays", "fingerprint": "1-00"}}, "have changed"),
}

for _name, (_changes, _words) in BROKEN_RECORDS.items():

    @case("run", _words, f"record-{_name}")
    def _bad_record(folder: Path, changes: dict[str, Any] = _changes) -> Path:
        return _edited(folder, **changes)


BROKEN_FILES: dict[str, tuple[str, bytes, str]] = {
    "record-cut": ("run.json", b'{"name": "x', "is damaged"),
    "record-deep": ("run.json", b"[" * 200_000, "is damaged"),
    "record-list": ("run.json", b"[]", "is not a run's file"),
    "record-no-text": ("run.json", b"\xff\xfe", "is damaged"),
    "recipe-cut": ("recipe.toml", b"target = ", "is not TOML"),
    "state-cut": ("state.safetensors", b"\x08\0\0", "is damaged"),
    "state-huge-header": ("state.safetensors", struct.pack("<Q", 1 << 60) + b"{}", "is damaged"),
    "state-is-a-pickle": ("state.safetensors", b"\x80\x04\x95\x05\0\0\0\0\0\0\0.", "is damaged"),
    "events-cut-inside": ("events.jsonl", b'{"a": 1}\n{"b"\n{"c": 1}\n', "is damaged"),
    "events-of-numbers": ("events.jsonl", b"1\n2\n", "holds the line"),
    "report-deep": ("report.json", b"[" * 200_000, "is damaged"),
    "model-is-text": ("model.onnx", b"hello", "not a complete ONNX file|does not load"),
}

for _name, (_file, _content, _words) in BROKEN_FILES.items():

    @case("run", _words, _name)
    def _bad_file(folder: Path, file: str = _file, content: bytes = _content) -> Path:
        (folder / "run" / file).write_bytes(content)
        return folder / "run"


def _state(folder: Path, header: dict[str, Any], data: bytes) -> Path:
    text = json.dumps(header).encode()
    path = folder / "run" / "state.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return folder / "run"


LYING_HEADERS: dict[str, dict[str, Any]] = {
    "size": {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 8]}},
    "offsets": {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 1 << 60]}},
    "overlap": {k: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for k in "ab"},
    "negative": {"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}},
    "type": {"a": {"dtype": "PICKLE", "shape": [2], "data_offsets": [0, 8]}},
}

for _name, _header in LYING_HEADERS.items():

    @case("run", "is damaged", f"state-lies-about-{_name}")
    def _lying_state(folder: Path, header: dict[str, Any] = _header) -> Path:
        return _state(folder, header, bytes(8))


@case("run", "belongs|is not in this graph|does not fit|is damaged")
def state_of_strange_tensors(folder: Path) -> Path:
    header = {"a/b/c": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    return _state(folder, header, bytes(8))


@case("run", "does not fit|is damaged")
def state_of_other_shapes(folder: Path) -> Path:
    from safetensors.torch import load_file, save_file

    path = folder / "run" / "state.safetensors"
    save_file({name: torch.zeros(7, 7) for name in load_file(path)}, path)
    return folder / "run"
