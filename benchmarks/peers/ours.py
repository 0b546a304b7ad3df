"""This workbench: all layers alike, weights per channel."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import torch

import workbench
from benchmarks.accuracy import learned
from benchmarks.peers.common import BATCH, WATCH, batches, main
from workbench.deploy.export import export
from workbench.session.recipe import Recipe, Stage


def quantize(folder: Path, stages: str, weights: int, activations: int | None) -> None:
    """Learn stage after stage; activations None leaves them in float."""
    inputs = [(torch.from_numpy(batch),) for batch in batches(folder, "calibration")]
    session = workbench.open(folder / "float.onnx")
    recipe = Recipe(
        target="weight-only" if activations is None else "ort-cpu-vnni",
        weights={"bits": weights},  # type: ignore[arg-type]
        activations="float" if activations is None else {"bits": activations},  # type: ignore[arg-type]
        edges="same",  # type: ignore[arg-type]
        stages=tuple(Stage(method=name) for name in stages.split("+")),
    )
    WATCH.start()
    model, _ = learned(session, recipe, inputs, BATCH * len(inputs))
    WATCH.stop()
    with torch.no_grad():
        found = [model(torch.from_numpy(batch))[0].numpy() for batch in batches(folder, "test")]
    np.save(folder / "simulated.npy", np.concatenate(found))
    export(model, folder / "quantized.onnx")


if __name__ == "__main__":
    every = json.loads((Path(__file__).parent / "ours.json").read_text(encoding="utf-8"))
    main({name: partial(quantize, **case) for name, case in every.items()})
