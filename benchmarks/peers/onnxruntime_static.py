"""ONNX Runtime: `quantize_static`, weights per channel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from benchmarks.peers.common import INPUT, WATCH, batches, main


class _Reader(CalibrationDataReader):
    def __init__(self, folder: Path) -> None:
        self._batches = iter(batches(folder, "calibration"))

    def get_next(self) -> dict[str, Any] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


def w8a8(folder: Path) -> None:
    """8 bits for weights and activations."""
    ready = folder / "ready.onnx"
    WATCH.start()
    quant_pre_process(str(folder / "float.onnx"), str(ready), skip_symbolic_shape=True)
    quantize_static(
        str(ready),
        str(folder / "quantized.onnx"),
        _Reader(folder),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    WATCH.stop()


if __name__ == "__main__":
    main({"W8A8": w8a8})
