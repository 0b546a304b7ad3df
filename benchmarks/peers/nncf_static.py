"""NNCF: `nncf.quantize` on the ONNX model, with its default bias correction."""

from __future__ import annotations

from pathlib import Path

import nncf  # pyright: ignore[reportMissingImports]
import onnx

from benchmarks.peers.common import INPUT, WATCH, batches, main


def w8a8(folder: Path) -> None:
    """8 bits for weights and activations."""
    model = onnx.load(folder / "float.onnx")
    data = nncf.Dataset([{INPUT: one} for one in batches(folder, "calibration", 1)])
    WATCH.start()
    quantized = nncf.quantize(model, data, subset_size=100)
    WATCH.stop()
    onnx.save(quantized, folder / "quantized.onnx")


if __name__ == "__main__":
    main({"W8A8": w8a8})
