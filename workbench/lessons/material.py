"""Real tensors of the sample models, kept for as long as they are in use.

Names are those of `workbench.open(model).model`, so the code that a demo shows finds the same.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from workbench.graph.taps import capture
from workbench.session.data import Split
from workbench.session.session import Session
from workbench.session.session import open as open_session

#: what a demo offers by a plain name: model and parameter
WEIGHTS: dict[str, tuple[str, str]] = {
    "ResNet convolution": ("digits-resnet", "blocks_2_conv2_weight"),
    "MobileNet depthwise": ("digits-mobilenet", "blocks_6_depthwise_weight"),
    "MobileNet pointwise": ("digits-mobilenet", "blocks_6_expand_weight"),
    "ViT attention query": ("digits-vit", "blocks_1_attention_query_weight"),
    "ByteGPT feed-forward": ("bytegpt", "blocks_2_shrink_weight"),
}
EXAMPLES = 64
_SESSIONS, _TENSORS = 5, 32


@lru_cache(maxsize=_SESSIONS)
def session(model: str) -> Session:
    """A sample model with its data."""
    return open_session(model)


@lru_cache(maxsize=_TENSORS)
def parameter(model: str, name: str) -> Tensor:
    """A parameter of a sample model, float32, in the shape that ONNX stores; not to be changed."""
    return session(model).model.get_parameter(name).detach().float()


def weight(title: str) -> Tensor:
    """A weight by its name in `WEIGHTS`."""
    return parameter(*WEIGHTS[title])


@lru_cache(maxsize=_TENSORS)
def activation(
    model: str, value: str, examples: int = EXAMPLES, split: Split = "calibration"
) -> Tensor:
    """An activation by its ONNX name, (examples, ...), on the first examples of a split."""
    opened = session(model)
    inputs, _ = next(opened.data.batches(split, examples, examples))
    with torch.no_grad():
        found = capture(opened.graph.module, tuple(inputs), [value])
    return found[value].detach().float()


def opening(title: str) -> str:
    """Lines of Python that load a weight of `WEIGHTS` as `weight`."""
    model, name = WEIGHTS[title]
    return (
        "import workbench\n\n"
        f'session = workbench.open("{model}")\n'
        f'weight = session.model.get_parameter("{name}").detach()\n'
    )


def recording(model: str, value: str, examples: int = EXAMPLES) -> str:
    """Lines of Python that open a sample model and capture an activation of it as `x`."""
    return (
        "import workbench\n"
        "from workbench.graph.taps import capture\n\n"
        f'session = workbench.open("{model}")\n'
        f'inputs, _ = next(session.data.batches("calibration", {examples}, {examples}))\n'
        f'x = capture(session.graph.module, tuple(inputs), ["{value}"])["{value}"].detach()\n'
    )
