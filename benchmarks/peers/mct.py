"""MCT (Sony): its post-training quantization with the default platform, weights per channel."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from benchmarks.peers.common import WATCH, batches, main
from benchmarks.peers.eager import efficientnet, without_torchvision_operators


def w8a8(folder: Path) -> None:
    """8 bits for weights and activations (powers of two)."""
    without_torchvision_operators()
    toolkit = import_module("model_compression_toolkit")
    pictures = batches(folder, "calibration")

    def representative() -> Iterator[list[torch.Tensor]]:
        yield from ([torch.from_numpy(batch)] for batch in pictures)

    model = efficientnet()
    WATCH.start()
    quantized, _ = toolkit.ptq.pytorch_post_training_quantization(model, representative)
    WATCH.stop()
    with torch.no_grad():
        found = [quantized(torch.from_numpy(batch)).numpy() for batch in batches(folder, "test")]
    np.save(folder / "simulated.npy", np.concatenate(found))


if __name__ == "__main__":
    main({"W8A8": w8a8})
