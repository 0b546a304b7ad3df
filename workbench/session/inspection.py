"""What a model is made of, and what was done to it before anything is quantized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from workbench.foundation.errors import DataError
from workbench.graph.blocks import Block, blocks
from workbench.graph.fusion import fused_activations
from workbench.graph.operators import OperatorUse, operators
from workbench.graph.passes.base import FoldRecord
from workbench.graph.sites import Layer, layers
from workbench.graph.transforms import transform

if TYPE_CHECKING:
    from workbench.session.session import Session

EXAMPLES = 8  # to prove the passes on


@dataclass(frozen=True)
class Inspection:
    """A model, described.

    Attributes:
        about: name, origin, size, inputs and outputs, as JSON values.
        operators: of the model as it was given, the most frequent first.
        layers: nodes with weights, in order.
        fused: layer -> the activation functions that are part of it.
        blocks: the parts with one way in and one way out, nested.
        passes: what folding and transformations did, in order.
    """

    about: Mapping[str, Any]
    operators: list[OperatorUse]
    layers: list[Layer]
    fused: Mapping[str, tuple[str, ...]]
    blocks: list[Block]
    passes: list[FoldRecord]

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            **self.about,
            "operators": [use.record() for use in self.operators],
            "layer_list": [self._layer(layer) for layer in self.layers],
            "blocks": [block.record() for block in self.blocks],
            "passes": [step.record() for step in self.passes],
        }

    def _layer(self, layer: Layer) -> dict[str, Any]:
        return {
            "name": layer.name,
            "op": layer.op,
            "shape": list(layer.shape),
            "parameters": layer.parameters,
            "macs": layer.macs,
            "fused": list(self.fused.get(layer.name, ())),
        }


def inspect(session: Session, prove: bool = False, transforms: Sequence[str] = ()) -> Inspection:
    """Describe the session's model; see `Session.inspect`."""
    graph = session.graph
    return Inspection(
        about=session.about(),
        operators=operators(session.source),
        layers=layers(graph),
        fused=fused_activations(graph),
        blocks=blocks(graph),
        passes=_passes(session, prove, transforms),
    )


def transform_proof(session: Session, transforms: Sequence[str]) -> list[FoldRecord]:
    """What each transformation did, and what it changed in the float outputs on a few examples.

    Raises:
        RecipeError: an unknown name. ExportError: ONNX Runtime does not run the model.
    """
    from workbench.deploy.proof import prove_transforms

    measured = session.measure(transforms)
    return prove_transforms(session.graph.model, _inputs(session), transforms, measured)


def _passes(session: Session, prove: bool, transforms: Sequence[str]) -> list[FoldRecord]:
    measured = session.measure(transforms)
    if prove:
        from workbench.deploy.proof import prove_passes

        return prove_passes(session.source, _inputs(session), transforms, measured)
    return [*session.folds, *transform(session.graph.model, transforms, measured)[1]]


def _inputs(session: Session) -> tuple[Tensor, ...]:
    """The first examples, or random numbers where the session has no data."""
    from workbench.deploy.proof import fitting_inputs

    try:
        data = session.data
    except DataError:
        return fitting_inputs(session.source, session.graph.inputs)
    size = min(EXAMPLES, session.batch_size)
    return next(inputs for inputs, _ in data.batches("test", size))
