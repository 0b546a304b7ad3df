"""Models whose data lie elsewhere: external data, and zips."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from pathlib import Path

from onnx import helper

from tests.hostile.corpus.case import case, zipped
from tests.hostile.corpus.models import EYE, external, matmul, model, outside, save, weight

BEYOND = ("../secret", "/etc/passwd", "sub/secret", "..", "", "a\0b", "..\\secret", "x" * 300)

for _number, _location in enumerate(BEYOND):

    @case("open", "only a plain file beside", f"external-elsewhere-{_number}")
    def _elsewhere(folder: Path, location: str = _location) -> Path:
        return save(external(location), folder)


@case("open", "only a plain file beside")
def external_symlink(folder: Path) -> Path:
    (folder / "w.bin").symlink_to("/etc/passwd")
    return save(external("w.bin"), folder)


@case("open", "only a plain file beside")
def external_hard_link(folder: Path) -> Path:
    (folder / "first").write_bytes(EYE)
    os.link(folder / "first", folder / "w.bin")
    return save(external("w.bin"), folder)


@case("open", "only a plain file beside")
def external_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "w.bin")
    return save(external("w.bin"), folder)


@case("open", "is missing; put it beside")
def external_missing(folder: Path) -> Path:
    return save(external("w.bin"), folder)


WRONG_PLACES = (
    *(("35", "0"), ("36", "1"), ("36", "-1"), ("x", "0"), ("-36", "72"), ("36", "9" * 5000)),
    *(("9" * 18, "0"), ("٣٦", "0"), ("36", "1e1")),
)

for _number, (_length, _offset) in enumerate(WRONG_PLACES):

    @case("open", "does not have the '36' bytes", f"external-wrong-place-{_number}")
    def _wrong_place(folder: Path, length: str = _length, offset: str = _offset) -> Path:
        (folder / "w.bin").write_bytes(EYE)
        return save(external("w.bin", length, offset), folder)


@case("open", "only a plain file beside")
def external_in_a_constant(folder: Path) -> Path:
    node = helper.make_node("Constant", [], ["w"], name="c", value=weight())
    outside(node.attribute[0].t, "../secret")
    return save(model([node, matmul("x", "w", "y")], []), folder)


@case("open", "only a plain file beside")
def external_in_a_function(folder: Path) -> Path:
    constant = helper.make_node("Constant", [], ["c"], value=weight())
    outside(constant.attribute[0].t, "/etc/passwd")
    proto = model([helper.make_node("F", ["x"], ["y"], domain="d")], [], {"": 21, "d": 1})
    body = [constant, matmul("a", "c", "b")]
    imports = [helper.make_opsetid("", 21)]
    proto.functions.append(helper.make_function("d", "F", ["a"], ["b"], body, imports))
    return save(proto, folder)


@case("open", "only a plain file beside")
def external_in_a_subgraph_without_nodes(folder: Path) -> Path:
    inner = helper.make_graph([], "inner", [], [], [weight("hidden")])
    outside(inner.initializer[0], "../secret")
    node = helper.make_node("Relu", ["x"], ["y"], name="relu")
    node.attribute.append(helper.make_attribute("body", inner))
    return save(model([node], []), folder)


@case("open", None)
def external_beside(folder: Path) -> Path:
    (folder / "w.bin").write_bytes(EYE)
    return save(external("w.bin"), folder)


# --- zips -----------------------------------------------------------------------------------------


@case("open", None)
def zip_with_external_data(folder: Path) -> Path:
    proto = external("w.bin").SerializeToString()
    return zipped(folder / "m.zip", {"deep/model.onnx": proto, "deep/w.bin": EYE}, deflate=True)


@case("open", "is missing; put it beside")
def zip_external_elsewhere_in_it(folder: Path) -> Path:
    proto = external("w.bin").SerializeToString()
    return zipped(folder / "m.zip", {"deep/model.onnx": proto, "w.bin": EYE})


SLIPS = ("../model.onnx", "/tmp/model.onnx", "a/../../model.onnx", "..\\model.onnx", "C:/m.onnx")

for _number, _name in enumerate(SLIPS):

    @case("open", "climbs out|absolute path", f"zip-slip-{_number}")
    def _slip(folder: Path, name: str = _name) -> Path:
        return zipped(folder / "m.zip", {name: model().SerializeToString()})


@case("open", "is a symbolic link")
def zip_symlink(folder: Path) -> Path:
    link = zipfile.ZipInfo("model.onnx")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(folder / "m.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    return folder / "m.zip"


@case("open", "is compressed")
def zip_bomb(folder: Path) -> Path:
    return zipped(folder / "m.zip", {"model.onnx": bytes(64 << 20)}, deflate=True)


@case("open", "is compressed")
def zip_bomb_in_many_entries(folder: Path) -> Path:
    entries = {f"{k}.bin": bytes(1 << 20) for k in range(40)}
    return zipped(folder / "m.zip", {"model.onnx": b"x", **entries}, deflate=True)


@case("open", "is compressed|GiB; the limit is")
def zip_that_promises_too_much(folder: Path) -> Path:
    return _with_size(zipped(folder / "m.zip", {"model.onnx": b"x" * 100}), (1 << 32) - 2)


@case("open", "is damaged|not a complete ONNX file")
def zip_that_promises_too_little(folder: Path) -> Path:
    return _with_size(zipped(folder / "m.zip", {"model.onnx": b"x" * 100}, deflate=True), 10)


def _with_size(path: Path, size: int) -> Path:
    """The archive with another uncompressed size in its directory."""
    content = bytearray(path.read_bytes())
    at = content.rfind(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", size)
    path.write_bytes(bytes(content))
    return path


@case("open", "entries; the limit is 10000")
def zip_of_many_entries(folder: Path) -> Path:
    return zipped(folder / "m.zip", {f"{k}": b"" for k in range(10_001)})


@case("open", "holds '0' .onnx files")
def zip_in_zip(folder: Path) -> Path:
    inner = zipped(folder / "inner.zip", {"model.onnx": model().SerializeToString()})
    return zipped(folder / "m.zip", {"inner.zip": inner.read_bytes()})


@case("open", "holds '2' .onnx files")
def zip_with_two_models(folder: Path) -> Path:
    data = model().SerializeToString()
    return zipped(folder / "m.zip", {"a.onnx": data, "b.onnx": data})


@case("open", "is there twice")
def zip_with_a_name_twice(folder: Path) -> Path:
    path = zipped(folder / "m.zip", {"a.onnx": b"1", "b.onnx": b"2"})
    path.write_bytes(path.read_bytes().replace(b"b.onnx", b"a.onnx"))
    return path


@case("open", "is encrypted")
def zip_encrypted(folder: Path) -> Path:
    path = zipped(folder / "m.zip", {"model.onnx": model().SerializeToString()})
    content = bytearray(path.read_bytes())
    content[content.rfind(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(content))
    return path


@case("open", "not a readable zip archive")
def zip_truncated(folder: Path) -> Path:
    path = zipped(folder / "m.zip", {"model.onnx": model().SerializeToString()})
    path.write_bytes(path.read_bytes()[:-30])
    return path


@case("open", "is damaged")
def zip_damaged(folder: Path) -> Path:
    path = zipped(folder / "m.zip", {"model.onnx": model().SerializeToString()}, deflate=True)
    content = bytearray(path.read_bytes())
    content[60] ^= 255
    path.write_bytes(bytes(content))
    return path
