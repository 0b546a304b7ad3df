"""What an exported file says about itself, in its metadata.

    workbench.version    of the program; workbench.versions of onnx, onnxruntime and torch
    workbench.forms      which activations have levels of their own, and of which kind
    workbench.sites      every quantizer's place and grid, so that the file can be opened again
    workbench.changed    float initializers that hold other values than in the source model
    workbench.removed    nodes that quantization made superfluous, in the order of removal
    workbench.store      how weight codes are held
    workbench.measured   what transformations of the float graph saw in the calibration data
    workbench.calibration  "data-free (...)" where no real data were calibrated on
    workbench.recipe, workbench.model, workbench.source, workbench.scores
                         given by the caller: what was asked, of which model (a name and the SHA-256
                         of the source, never a path), and how it scored

All but `version`, `recipe`, `model`, `source`, `calibration` and `store` are JSON; `sites` and
`measured`, which are long, are compressed (zlib, then base64 behind "zlib:").
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from workbench.deploy.external import replace_file
from workbench.foundation.errors import ModelError, WorkbenchError
from workbench.graph.sites import Site
from workbench.maths.grid import Granularity, Grid

PREFIX = "workbench."
VERSION, VERSIONS, SITES = f"{PREFIX}version", f"{PREFIX}versions", f"{PREFIX}sites"
CHANGED, REMOVED, STORE = f"{PREFIX}changed", f"{PREFIX}removed", f"{PREFIX}store"
RECIPE, MODEL, SOURCE = f"{PREFIX}recipe", f"{PREFIX}model", f"{PREFIX}source"
FORMS = f"{PREFIX}forms"
SCORES, MEASURED = f"{PREFIX}scores", f"{PREFIX}measured"
CALIBRATION = f"{PREFIX}calibration"

ZLIB = "zlib:"
MOST_BYTES = 1 << 26  # of an entry, unpacked

_LIBRARIES = ("onnx", "onnxruntime", "torch")


def versions() -> dict[str, str]:
    """The program's version and its libraries', ready to be stored."""
    libraries = {name: _version(name) for name in _LIBRARIES}
    return {VERSION: _version("quantization-workbench"), VERSIONS: compact(libraries)}


def compact(value: Any) -> str:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def squeezed(value: Any) -> str:
    """JSON in a tenth of the bytes, for long tables of like records."""
    return ZLIB + base64.b64encode(zlib.compress(compact(value).encode(), 9)).decode("ascii")


def packed(tensors: Mapping[str, Tensor]) -> str:
    """Small float tensors as an entry, bit for bit."""
    return squeezed({name: [list(t.shape), _base64(t)] for name, t in tensors.items()})


def unpacked(entries: Mapping[str, str], key: str) -> dict[str, Tensor]:
    """The inverse of `packed`; {} where there is no such entry.

    Raises:
        ModelError: it is damaged.
    """
    try:
        return {str(k): _tensor(*value) for k, value in parsed(entries, key, {}).items()}
    except (TypeError, ValueError, RuntimeError):
        raise ModelError(f"the file's metadata '{key}' is damaged; export it again") from None


def annotate(path: str | Path, entries: Mapping[str, str]) -> None:
    """Add entries to the metadata of a file in place; tensors beside the file are not touched."""
    path = Path(path)
    proto = onnx.load(str(path), load_external_data=False)
    kept = {entry.key: entry.value for entry in proto.metadata_props}
    del proto.metadata_props[:]
    for key, value in sorted({**kept, **entries}.items()):
        proto.metadata_props.add(key=key, value=value)
    replace_file(path, proto.SerializeToString())


def site_record(site: Site) -> dict[str, Any]:
    """A site as plain JSON values; what is at its default is left out."""
    return _without_defaults(replace(site, widths=()))  # of learning, which is over


def site_of(record: Mapping[str, Any]) -> Site:
    """The inverse of `site_record`.

    Raises:
        ModelError: the record is not a site's.
    """
    try:
        values = dict(record)
        grid = dict(values.pop("grid"))
        granularity = Granularity(**grid.pop("granularity", {}))
        values["edges"] = tuple((str(node), int(index)) for node, index in values["edges"])
        values["shape"] = tuple(int(size) for size in values["shape"])
        return Site(**values, grid=Grid(**grid, granularity=granularity))
    except (KeyError, TypeError, ValueError, WorkbenchError) as error:
        raise ModelError(
            f"the file describes one of its quantizers in a way that is not understood ({error});"
            " export it again with this version"
        ) from None


def parsed(entries: Mapping[str, str], key: str, default: Any) -> Any:
    """A JSON entry, or `default` where there is none of that kind.

    Raises:
        ModelError: it is not JSON of the default's type.
    """
    try:
        value = json.loads(_expanded(entries[key])) if key in entries else default
    except (ValueError, RecursionError, zlib.error):
        value = None
    if not isinstance(value, type(default)):
        raise ModelError(f"the file's metadata '{key}' is damaged; export it again")
    return value


def _base64(tensor: Tensor) -> str:
    values = tensor.detach().cpu().float().contiguous().numpy().astype("<f4")
    return base64.b64encode(values.tobytes()).decode("ascii")


def _tensor(shape: list[int], text: str) -> Tensor:
    values = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4")
    return torch.from_numpy(values.astype(np.float32)).reshape([int(size) for size in shape])


def _expanded(text: str) -> str:
    """The JSON of an entry, compressed or not; what unpacks to too much is cut, and so no JSON."""
    if not text.startswith(ZLIB):
        return text
    packed = base64.b64decode(text[len(ZLIB) :], validate=True)
    return zlib.decompressobj().decompress(packed, MOST_BYTES).decode()


def _without_defaults(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults, nested ones likewise."""
    found: dict[str, Any] = {}
    for field in fields(value):
        held = getattr(value, field.name)
        if field.default is not MISSING and held == field.default:
            continue
        nested = isinstance(held, (Grid, Granularity))
        found[field.name] = _without_defaults(held) if nested else _plain(held)
    return found


def _plain(value: Any) -> Any:
    """Tuples as lists, all else as it is."""
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _version(package: str) -> str:
    try:
        return packages.version(package)
    except packages.PackageNotFoundError:  # run from a checkout
        return "unknown"
