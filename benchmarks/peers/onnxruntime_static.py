"""ONNX Runtime: `quantize_static`, weights per channel."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from benchmarks.peers.common import INPUT, WATCH, batches, main

Pictures = np.ndarray[Any, Any]


class _Reader(CalibrationDataReader):
    """Batches of one input."""

    def __init__(self, name: str, pictures: Iterable[Pictures]) -> None:
        self._name, self._pictures = name, iter(pictures)

    def get_next(self) -> dict[str, Pictures] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        batch = next(self._pictures, None)
        return None if batch is None else {self._name: batch}


def quantize(folder: Path, name: str, pictures: Iterable[Pictures]) -> None:
    """From `float.onnx` to `quantized.onnx` in a folder; `pictures` are batches of input `name`."""
    original, ready, quantized = (folder / f"{n}.onnx" for n in ("float", "ready", "quantized"))
    quant_pre_process(str(original), str(ready), skip_symbolic_shape=True)
    quantize_static(
        str(ready),
        str(quantized),
        _Reader(name, pictures),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def w8a8(folder: Path) -> None:
    """8 bits for weights and activations."""
    pictures = batches(folder, "calibration")
    WATCH.start()
    quantize(folder, INPUT, pictures)
    WATCH.stop()


if __name__ == "__main__":
    main({"W8A8": w8a8})
