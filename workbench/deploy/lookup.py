"""Weights as indices into a table of levels.

    w__q (indices, packed) -> Cast -> w__index -> Gather from w__levels -> w__level
                                                  -> Mul by the scale -> w__dq

The scale is stored ready to be multiplied: one number, or one for each channel with axes of size 1
beside it. Scales of groups are brought to the weight's length by a Gather along the groups' axis
with the group number of each place, which also serves a last group that is shorter than the others.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from workbench.deploy.editor import Editor
from workbench.deploy.pack import pack
from workbench.foundation.errors import ExportError
from workbench.graph.sites import Site
from workbench.quantizers.base import Frozen


def lookup(editor: Editor, site: Site, frozen: Frozen, dtype: ir.DataType) -> list[ir.Node]:
    """The nodes that make `w__dq`, in order."""
    if frozen.codes is None or frozen.levels is None:
        raise ExportError(f"weight '{site.name}' has no codes or no levels; calibrate it again")
    name = site.tensor
    codes = editor.initializer(pack(frozen.codes, dtype, f"{name}__q"))
    table = frozen.levels.cpu().float().numpy()
    levels = editor.initializer(ir.tensor(table, name=f"{name}__levels"))
    to_index = {"to": int(ir.DataType.INT32)}
    index = editor.node("Cast", [codes], f"{name}__index", ir.DataType.INT32, to_index)
    level = editor.node("Gather", [levels, index.outputs[0]], f"{name}__level")
    level.outputs[0].shape = codes.shape
    spread, scale = _scale(editor, site, frozen)
    product = editor.node("Mul", [level.outputs[0], scale], f"{name}__dq")
    return [index, level, *spread, product]


def _scale(editor: Editor, site: Site, frozen: Frozen) -> tuple[list[ir.Node], ir.Value]:
    granularity, shape = site.grid.granularity, list(site.shape)
    scale = frozen.scale.cpu().float()
    if granularity.kind == "channel":
        ones = [1] * len(shape)
        ones[granularity.axis] = -1
        scale = scale.reshape(ones)
    held = editor.initializer(ir.tensor(scale.numpy(), name=f"{site.tensor}__scale"))
    if granularity.kind != "group":
        return [], held
    numbers = np.arange(shape[granularity.axis], dtype=np.int32) // granularity.size
    groups = editor.initializer(ir.tensor(numbers, name=f"{site.tensor}__groups"))
    axis = {"axis": granularity.axis}
    spread = editor.node("Gather", [held, groups], f"{site.tensor}__scales", attributes=axis)
    spread.outputs[0].shape = ir.Shape(shape)
    return [spread], spread.outputs[0]
