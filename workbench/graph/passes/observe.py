"""What passes through a float graph on calibration data, channel by channel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir
import torch
from torch import Tensor

from workbench.foundation.errors import DataError
from workbench.graph.batching import count_examples
from workbench.graph.build import build
from workbench.graph.passes.registry import Batches
from workbench.graph.passes.scaling import Group
from workbench.graph.taps import capture


@torch.no_grad()
def sources(
    model: ir.Model, groups: Sequence[Group], batches: Batches, examples: int
) -> Iterator[tuple[Group, Tensor]]:
    """The source of every group, batch after batch, as rows `(positions, channels)`.

    Args:
        model: that the groups were found in.
        batches: makes a fresh iterator over calibration inputs.
        examples: at most so many are looked at, in whole batches.

    Raises:
        DataError: there are no examples.
    """
    if not groups:
        return
    graph = build(model.clone())
    names = {group.name for group in groups}
    seen = 0
    for inputs in batches():
        values = capture(graph.module, inputs, names)
        for group in groups:
            yield group, values[group.name].movedim(group.axis, -1).flatten(0, -2)
        seen += count_examples(graph.inputs, inputs)
        if seen >= examples:
            return
    if not seen:
        raise DataError("there are no calibration examples to look at; give some with --data")
