"""Brevitas: 4-bit weights per channel, activations in float: nearest, GPTQ, GPFQ, learned round.

The network is the eager one; its batch norms are folded first, as Brevitas' own example does.
"""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peers.common import BATCH, WATCH, batches, main
from benchmarks.peers.eager import efficientnet, without_torchvision_operators

EXAMPLE = "brevitas_examples.imagenet_classification.ptq"
#: the defaults of Brevitas' example, with half its iterations
LEARNED_ROUND = Namespace(
    learned_round="hard_sigmoid",
    learned_round_mode="layerwise",
    learned_round_loss="regularised_mse",
    learned_round_iters=500,
    learned_round_lr=1e-3,
    learned_round_lr_scheduler=None,
    learned_round_batch_size=BATCH,
)


def weights(folder: Path, how: str) -> None:
    """Weights per channel; the scale is the MSE one."""
    without_torchvision_operators()
    preprocess = import_module("brevitas.graph.quantize").preprocess_for_quantize
    common = import_module(f"{EXAMPLE}.ptq_common")
    pictures = torch.from_numpy(np.concatenate(batches(folder, "calibration")))
    data = torch.utils.data.TensorDataset(pictures, torch.zeros(len(pictures)))
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH)
    model = efficientnet()
    WATCH.start()
    model = preprocess(model, relu6_to_relu=False)
    model = _quantized(common, model)
    with torch.no_grad():
        model(pictures[:BATCH])
    if how == "gptq":
        common.apply_gptq(loader, model, act_order=True)
    if how == "gpfq":
        common.apply_gpfq(loader, model, act_order=True)
    if how == "learned round":
        learn = import_module(f"{EXAMPLE}.learned_round_utils").apply_learned_round
        learn(model, loader, LEARNED_ROUND)
    WATCH.stop()
    with torch.no_grad():
        found = [model(torch.from_numpy(batch)).numpy() for batch in batches(folder, "test")]
    np.save(folder / "simulated.npy", np.concatenate(found))


def _quantized(common: Any, model: torch.nn.Module) -> Any:
    return common.quantize_model(
        model,
        backend="layerwise",
        weight_bit_width=4,
        layerwise_first_last_bit_width=4,
        act_bit_width=None,
        bias_bit_width=None,
        weight_quant_granularity="per_channel",
        weight_param_method="mse",
        act_quant_percentile=99.999,
        act_quant_type="sym",
        scale_factor_type="float_scale",
        quant_format="int",
    )


if __name__ == "__main__":
    ways = ("nearest", "gptq", "gpfq", "learned round")
    main({f"W4 {how}": partial(weights, how=how) for how in ways})
