"""Copies of a sample model, or of its data, with an illness put in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import torch

import workbench
from workbench.graph.tensors import add_initializer
from workbench.session.digits import MEAN, STD
from workbench.session.recipe import ActivationSpec, Recipe, Stage, WeightSpec

MODEL = "digits-mobilenet"
CALIBRATION, JUDGING = 96, 300
LOUD, CHANNEL = 64.0, 5
SPIKE = 2000.0


def recipe(weights: int, activations: int, granularity: str = "channel") -> Recipe:
    """Nearest rounding over the extremes of each tensor."""
    options = {"weight_calibrator": "minmax", "calibrator": "minmax"}
    return Recipe(
        target="ort-cpu-vnni",
        weights=WeightSpec(bits=weights, granularity=granularity),
        activations=ActivationSpec(bits=activations),
        stages=(Stage(method="rtn", options=options),),
        calibration_examples=CALIBRATION,
    )


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Pictures and labels; the model was trained on none of them."""
    data = workbench.open(MODEL).data
    found = [
        next(data.batches(split, count, count))
        for split, count in (("calibration", CALIBRATION), ("test", JUDGING))
    ]
    return tuple(
        np.concatenate([part.numpy() for part in parts])
        for parts in ([x[0] for x, _ in found], [y for _, y in found if y is not None])
    )  # type: ignore[return-value]


def healthy() -> workbench.Session:
    """The model as it is."""
    return workbench.open(MODEL, data=digits())


def loud_channel() -> workbench.Session:
    """A channel of a depthwise layer is LOUD times larger, and its reader so much smaller."""
    graph = workbench.open(MODEL).graph.model
    nodes = {node.name: node for node in graph.graph}
    depthwise, reader = nodes["blocks.2.depthwise"], nodes["blocks.2.project"]
    for value in depthwise.inputs[1:3]:
        _scale(graph, value, np.s_[CHANNEL], LOUD)
    _scale(graph, reader.inputs[1], np.s_[:, CHANNEL], 1 / LOUD)
    clip = next(iter(depthwise.outputs[0].uses())).node  # whose limit would cut the channel
    clip.op_type = "Relu"
    clip.resize_inputs(1)
    return workbench.open(graph, data=digits(), name="loud")


def spike() -> workbench.Session:
    """One value of an activation is huge in each example; a Clip behind its reader bounds it."""
    graph = workbench.open(MODEL).graph.model
    reader = next(node for node in graph.graph if node.name == "blocks.1.expand")
    source = reader.inputs[0]
    assert source is not None
    assert source.shape is not None
    huge = torch.zeros([1, *(int(size) for size in source.shape[1:])])
    huge[0, 3, 0, 0] = SPIKE
    constant = add_initializer(graph.graph, "spike", huge)
    node = ir.Node("", "Add", [source, constant], num_outputs=1, name="spiked")
    value = node.outputs[0]
    value.name, value.shape, value.type = "spiked.out", source.shape, source.type
    graph.graph.insert_before(reader, node)
    reader.replace_input_with(0, value)
    return workbench.open(graph, data=digits(), name="spike")


def not_normalised() -> workbench.Session:
    """The calibration pictures are as they were before normalisation, 0 to 255."""
    images, labels = digits()
    images[:CALIBRATION] = 255 * (images[:CALIBRATION] * STD + MEAN)
    given = workbench.open(MODEL, data=(images, labels)).data
    rows = np.arange(len(images))
    parts = {"calibration": rows[:CALIBRATION], "test": rows[CALIBRATION:]}
    return workbench.open(MODEL, data=replace(given, pool=False, **parts))


def _scale(model: ir.Model, value: ir.Value | None, where: object, factor: float) -> None:
    assert value is not None
    assert value.const_value is not None
    array = value.const_value.numpy().copy()
    array[where] *= factor
    model.graph.initializers[str(value.name)].const_value = ir.tensor(array, name=value.name)
