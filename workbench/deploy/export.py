"""Writing a quantized graph to ONNX: QDQ nodes in a copy of the very graph that was simulated.

Nothing else changes and nothing is renamed, so every tensor bears one name on screen, in the
simulation and in the runtime. `writer` says what is put where, `opset` which operator set is
chosen, `metadata` what the file says about itself, and `restore` reads it back.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from workbench.deploy import metadata as meta
from workbench.deploy.external import MAX_PROTO_BYTES, save, tensor_bytes
from workbench.deploy.opset import at_needed_opset, at_opset, opset_of
from workbench.deploy.pack import Store
from workbench.deploy.writer import Written, write
from workbench.graph.quantized import QuantizedGraph
from workbench.quantizers.base import Frozen

__all__ = ["Exported", "at_opset", "export"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """A written file.

    Attributes:
        path: where it lies; data: the file of its tensors, where they lie beside it.
        bytes: its size, with that file.
        float_bytes: the size of the same graph with float weights.
        int8_bytes: its size if every quantized weight lay in 8 bits.
        weight_bytes: of the quantized weights alone, with scales, zero-points and tables.
        opset: the ONNX operator set it needs; store: how weight codes are held.
        notes: what a person should know about how it was written, one sentence each.
    """

    path: Path
    bytes: int
    float_bytes: int
    int8_bytes: int
    weight_bytes: int
    opset: int
    store: Store
    notes: tuple[str, ...]
    data: Path | None = None

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        data = None if self.data is None else str(self.data)
        return {**asdict(self), "path": str(self.path), "data": data, "notes": list(self.notes)}


def export(
    quantized: QuantizedGraph,
    path: str | Path,
    *,
    store: Store = "packed",
    opset: int | None = None,
    external: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> Exported:
    """Write `quantized` to `path`; an existing file is replaced only by a complete one.

    Args:
        quantized: the graph, its sites and its learned quantizers.
        path: of the file; missing folders are made.
        store: "packed" for the smallest file, "int8" for codes of any width in 8-bit containers,
            which run in the runtime's integer kernels.
        opset: operator set to write, 13 or newer; None takes the oldest one that holds the codes
            packed. A newer model keeps its own.
        external: keep large tensors in `<name>.data` beside the file, as is done above 2 GiB.
        metadata: put into the file as given, beside what `metadata` says of itself.

    Raises:
        ExportError: a grid, name or model that cannot be written.
    """
    path = Path(path)
    source = quantized.graph.model
    model = at_needed_opset(source, quantized.sites, store, opset)
    values, frozen = quantized.float_parameters(), quantized.frozen()
    written = write(model, quantized.sites, frozen, values, store=store)
    own = _metadata(quantized, frozen, written, store)
    entries = {**model.metadata_props, **own, **(metadata or {})}
    model.metadata_props.clear()
    model.metadata_props.update(sorted(entries.items()))
    size, data = save(model, path, external=external)
    log.info("wrote %s, %d bytes", path, size)
    return Exported(
        path=path,
        bytes=size,
        float_bytes=_float_bytes(source),
        int8_bytes=size - written.weight_bytes + written.byte_weight_bytes,
        weight_bytes=written.weight_bytes,
        opset=opset_of(model),
        store=store,
        notes=written.notes,
        data=data,
    )


def _metadata(
    quantized: QuantizedGraph, frozen: Mapping[str, Frozen], written: Written, store: Store
) -> dict[str, str]:
    forms = {name: held.form for name, held in frozen.items() if held.form}
    sites = [meta.site_record(site) for site in quantized.sites.values()]
    return {
        **meta.versions(),
        **({meta.FORMS: meta.compact(forms)} if forms else {}),
        meta.SITES: meta.squeezed(sites),
        meta.CHANGED: meta.compact(written.changed),
        meta.REMOVED: meta.compact(written.removed),
        meta.STORE: store,
    }


def _float_bytes(source: ir.Model) -> int:
    tensors = tensor_bytes(source)
    return tensors if tensors > MAX_PROTO_BYTES // 2 else ir.to_proto(source).ByteSize()
