"""AIMET (aimet-onnx): nearest rounding, sequential MSE and AdaRound on weights of 4 bits."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import aimet_onnx  # pyright: ignore[reportMissingImports]
import numpy as np
import onnx
from onnxruntime import InferenceSession

from benchmarks.peers.common import INPUT, WATCH, batches, main

ITERATIONS = 500


def weights(folder: Path, how: str, bits: int) -> None:
    """Weights per channel, activations in float."""
    inputs = [{INPUT: batch} for batch in batches(folder, "calibration")]
    model = onnx.load(folder / "float.onnx")
    kind = {4: aimet_onnx.int4, 8: aimet_onnx.int8}[bits]
    WATCH.start()
    sim = aimet_onnx.QuantizationSimModel(model, param_type=kind, dummy_input=inputs[0])
    for name, quantizer in sim.qc_quantize_op_dict.items():
        if name in sim.activation_names:
            quantizer.enabled = False
    if how == "seqmse":
        aimet_onnx.apply_seq_mse(sim, inputs)
    if how == "adaround":
        aimet_onnx.apply_adaround(sim, inputs, num_iterations=ITERATIONS)
    sim.compute_encodings(inputs)
    WATCH.stop()
    _simulated(folder, sim.session)


def w8a8(folder: Path) -> None:
    """8 bits for weights and activations, nearest rounding, exported as QDQ."""
    inputs = [{INPUT: batch} for batch in batches(folder, "calibration")]
    model = onnx.load(folder / "float.onnx")
    WATCH.start()
    sim = aimet_onnx.QuantizationSimModel(model, dummy_input=inputs[0])
    sim.compute_encodings(inputs)
    WATCH.stop()
    _simulated(folder, sim.session)
    onnx.save(sim.to_onnx_qdq(), folder / "quantized.onnx")


def _simulated(folder: Path, session: InferenceSession) -> None:
    found = [session.run(None, {INPUT: batch})[0] for batch in batches(folder, "test")]
    np.save(folder / "simulated.npy", np.concatenate([np.asarray(part) for part in found]))


if __name__ == "__main__":
    ways = {
        f"W4 {how}": partial(weights, how=how, bits=4) for how in ("nearest", "seqmse", "adaround")
    }
    main({"W8A8": w8a8, **ways})
