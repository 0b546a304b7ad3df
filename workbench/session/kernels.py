"""What a run's file loses to saturating kernels of this processor, measured on the file itself."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from workbench.analysis.causes.finding import Cure, Finding
from workbench.analysis.damage import Answer, TensorSums
from workbench.deploy import runtime
from workbench.deploy.export import export
from workbench.graph.quantized import QuantizedGraph
from workbench.session.recipe import Recipe
from workbench.session.scores import Model

SAFE = "ort-cpu"
#: the cause's name
SATURATION = "saturation"


def run_as_file(model: QuantizedGraph, recipe: Recipe) -> Model:
    """The network written and opened in ONNX Runtime, with the default kernels."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export(model, path, store=recipe.store)
        session = runtime.open_session(path)

    def call(*inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(value) for value in runtime.run(session, inputs).values())

    return call


def saturation(
    model: QuantizedGraph, path: Path, held_out: list[tuple[Tensor, ...]], answer: Answer
) -> Finding | None:
    """The file with its default kernels, and with exact ones; None where they agree.

    Without quantized activations nothing is summed in integers.

    Args:
        model: that the file was written from.
        path: of the file.
        held_out: batches.
        answer: what the first output says.
    """
    if not model.of_kind("activation"):
        return None
    settings = {exact: runtime.open_session(path, exact=exact) for exact in (False, True)}
    sums = {exact: TensorSums() for exact in settings}
    damage, positions = dict.fromkeys(settings, 0.0), 0
    for inputs in held_out:
        with torch.no_grad():
            reference = model.graph.module(*inputs)[0]
        positions += len(answer.scores(reference))
        for exact, session in settings.items():
            output = torch.from_numpy(next(iter(runtime.run(session, inputs).values())))
            sums[exact] += TensorSums.between(reference, output)
            damage[exact] += float(answer.divergence(reference, output))
    before, after = (damage[exact] / max(1, positions) for exact in (False, True))
    sentence = (
        f"the default int8 kernels of this processor sum pairs in 16 bits and saturate: exact"
        f" kernels raise the output's SQNR from {sums[False].db:.1f} to {sums[True].db:.1f} dB"
    )
    cures = (
        Cure("7-bit", f"target '{SAFE}', whose weights leave room in the sums", {"target": SAFE}),
    )
    found = Finding(
        str(model.graph.model.graph.outputs[0].name), sentence, sums[False].db, sums[True].db,
        before, after, cures, cause=SATURATION,
        title="Saturating kernels in ONNX Runtime", order=5,
    )  # fmt: skip
    return found if found.established else None
