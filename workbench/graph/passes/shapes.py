"""Shapes and types onto the values, as far as ONNX can tell."""

from __future__ import annotations

import logging

import onnx_ir as ir
from onnx_ir.passes import common

from workbench.graph.passes.base import FoldRecord, record

logger = logging.getLogger(__name__)


def infer_shapes(model: ir.Model) -> FoldRecord:
    """Shapes and types onto the values, where ONNX can tell; failures leave them unknown."""
    before = _unknown(model)
    chatter = logging.getLogger("onnx_ir.passes.common")
    level = chatter.level
    chatter.setLevel(logging.CRITICAL)
    try:
        common.ShapeInferencePass()(model)
    except Exception as error:  # noqa: BLE001 - a stranger's file may defeat it; shapes only help
        logger.info("shape inference gave up: %s", error)
    finally:
        chatter.setLevel(level)
    after = _unknown(model)
    done = [name for name in before if name not in set(after)]
    measures = {"values without a shape": (float(len(before)), float(len(after)))}
    return record("shapes inferred", done, measures=measures)


def _unknown(model: ir.Model) -> list[str]:
    """The values that nodes make and whose rank is not known."""
    values = [value for node in model.graph for value in node.outputs if value.name]
    return [str(value.name) for value in values if value.shape is None]
