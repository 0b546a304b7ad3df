"""Measurements that are kept: one JSON line each, only ever appended, so that none is made twice.

A line is written in one piece; what a killed process left unfinished is passed over. Keys name what
was measured on which data, the file's name what it was measured of. Two processes may write to one
file: at worst both measure the same.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import onnx_ir as ir
import torch
from torch import Tensor

from workbench.graph.build import Graph

Record = Mapping[str, float]


class Ledger:
    """Records of numbers by key, in a file or, without a path, in memory.

    Args:
        path: of the file; its folder is made when something is first kept.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._known: dict[str, Record] = {}
        if path is not None and path.exists():
            for line in path.read_bytes().split(b"\n"):
                self._take(line)

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> Record:
        return self._known[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def put(self, key: str, record: Record) -> None:
        """Keep one record."""
        self._known[key] = record
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = "\n" + json.dumps([key, record])  # a line cut short before it stays alone
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)

    def _take(self, line: bytes) -> None:
        try:
            key, record = json.loads(line)
            self._known[str(key)] = {str(name): float(value) for name, value in record.items()}
        except (ValueError, TypeError, AttributeError):
            return


def digest_tensors(tensors: Iterable[Tensor | None]) -> str:
    """Of shapes, types and contents."""
    found = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        if tensor is None:
            found.update(b"none")
            continue
        found.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        plain = tensor.detach().cpu().contiguous().flatten()
        found.update(plain.view(torch.uint8).numpy().data if plain.numel() else b"")
    return found.hexdigest()


def digest_text(*parts: str) -> str:
    """Of some texts, in their order."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def digest_graph(graph: Graph, version: str) -> str:
    """Of a float network.

    Args:
        graph: the network.
        version: of what measures; another version measures anew.
    """
    found = hashlib.blake2b(version.encode(), digest_size=16)
    found.update(ir.to_proto(graph.model).SerializeToString(deterministic=True))
    return found.hexdigest()
