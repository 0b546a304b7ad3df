"""Records made from real tensors, in the shape that runs leave on disk."""

from __future__ import annotations

from typing import Any

import torch

from workbench.analysis.distributions import counted, grid_record, weight_record
from workbench.maths.grid import Granularity, Grid, affine_range, quantize
from workbench.maths.metrics import sqnr_db
from workbench.quantizers.base import Frozen

WIDTHS = (16, 24, 24, 40, 40, 64, 64)


def shapes() -> list[tuple[str, str, tuple[int, ...]]]:
    """(layer, operator, weight shape) of a small mobile network."""
    found: list[tuple[str, str, tuple[int, ...]]] = [("stem", "Conv", (16, 1, 3, 3))]
    before = 16
    for index, width in enumerate(WIDTHS):
        wide = before * 4
        found += [
            (f"blocks.{index}.expand", "Conv", (wide, before, 1, 1)),
            (f"blocks.{index}.depthwise", "Conv", (wide, 1, 3, 3)),
            (f"blocks.{index}.project", "Conv", (width, wide, 1, 1)),
        ]
        before = width
    return [*found, ("last", "Conv", (128, 64, 1, 1)), ("head", "Gemm", (10, 128))]


def frozen(weight: torch.Tensor, bits: int) -> Frozen:
    """A weight on a symmetric grid per channel."""
    grid = Grid(bits, granularity=Granularity("channel", 0))
    rows = weight.flatten(1)
    scale, zero = affine_range(rows.amin(1), rows.amax(1), grid)
    codes = quantize(weight, scale, zero, grid).int()
    return Frozen(grid, scale, zero.int(), codes)


def weight(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Heavy-tailed weights with channels of different width."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator)
    width = torch.rand((shape[0], *[1] * (len(shape) - 1)), generator=generator) * 2 - 1
    return values * (1 + values.abs() * 0.4) * torch.exp(width) * 0.1


def activation_record() -> dict[str, Any]:
    """The input of a layer after ReLU6, 8 bits."""
    values = torch.randn(200_000).clamp(0, 6) * 1.3
    grid = Grid(8, signed=False, symmetric=False)
    scale, zero = affine_range(values.min(), values.max() * 0.92, grid)
    return {
        **counted(values),
        "grid": grid_record(grid),
        "scale": float(scale),
        "zero_point": float(zero),
        "kind": "activation",
    }


def report(bits: int = 4) -> dict[str, Any]:
    """A run's report with histograms."""
    records, histograms = [], {}
    names = shapes()
    gathered = 40.0
    for index, (layer, op, shape) in enumerate(names):
        width = 8 if index in (0, len(names) - 1) else bits
        values = weight(shape, index)
        kept = frozen(values, width)
        own = float(sqnr_db(values, kept.values()))
        gathered = max(4.0, gathered - 1.2 - 20 / own)
        histograms[f"{layer}.weight"] = {
            **weight_record(values, kept),
            "kind": "weight",
            "layer": layer,
        }
        histograms[f"{layer}_in"] = {**activation_record(), "layer": layer}
        records.append(
            {
                "layer": layer,
                "op": op,
                "shape": list(shape),
                "bits_weights": width,
                "bits_activations": 8,
                "parameters": values.numel(),
                "macs": values.numel() * 49,
                "weight_sqnr_db": own,
                "alone_weights_db": own - 1.5,
                "alone_activations_db": 36.0 + index % 5,
                "accumulated_db": gathered,
                "damage_kl": 10 ** (-own / 10),
                "damage_flips": 0.4 * 10 ** (-own / 10),
            }
        )
    return {
        "model": {"name": "digits-mobilenet"},
        "method": "gram",
        "layers": records,
        "histograms": histograms,
        "scores": scores(),
        "verification": verification(),
        "bytes": 92_000,
        "float_bytes": 410_000,
        "latency_ms": 0.61,
        "float_latency_ms": 0.42,
        "seconds": 14.2,
        "guilty": ["blocks.0.depthwise"],
        "recipe": 'target = "ort-cpu"\n',
    }


def scores() -> dict[str, Any]:
    """Scores as `workbench.session.scores` makes them."""

    def one(score: float, agreement: float, noise: float | None) -> dict[str, Any]:
        return {
            "score": score,
            "metric": "top-1",
            "unit": "%",
            "agreement": agreement,
            "kl": 0.01,
            "sqnr_db": noise,
            "examples": 3000,
        }

    return {
        "float": one(97.4, 100.0, None),
        "naive": one(81.3, 82.0, 4.1),
        "learned": one(96.9, 98.2, 18.3),
        "onnxruntime": one(96.9, 98.2, 18.3),
    }


def verification() -> dict[str, Any]:
    """A verdict as `workbench.deploy.verify` records it."""

    def mode(optimisations: str, kernels: str, verdict: str, steps: int) -> dict[str, Any]:
        sites = [
            {
                "name": f"t{k}",
                "max_steps": steps if k == 3 else 0,
                "count": 1000,
                "share_over_half": 0.002 if steps and k == 3 else 0.0,
                "share_over_one_and_half": 0.0,
            }
            for k in range(24)
        ]
        return {
            "optimisations": optimisations,
            "kernels": kernels,
            "verdict": verdict,
            "sites": sites,
            "floats": [],
            "top1_agreement": 1.0,
            "first_departure": None,
        }

    return {
        "verdict": "equal",
        "ok": True,
        "stored": 48,
        "differing_stored": [],
        "cause": "rounding ties",
        "cure": "",
        "batch_sizes": [1, 64],
        "examples": 129,
        "modes": [
            mode("off", "default", "equal", 0),
            mode("on", "default", "within one step", 1),
            mode("on", "exact", "equal", 0),
        ],
    }


def network() -> Any:
    """Two convolutions and a linear layer, image (N, 1, 8, 8) to logits (N, 4), as ONNX."""
    import onnx

    text = """<ir_version: 10, opset_import: ["": 21]>
    tiny (float[batch, 1, 8, 8] image) => (float[batch, 4] logits) {
      c0 = Conv <pads: ints = [1, 1, 1, 1]> (image, w0)
      r0 = Relu (c0)
      c1 = Conv (r0, w1)
      r1 = Relu (c1)
      p = GlobalAveragePool (r1)
      f = Flatten (p)
      logits = Gemm <transB: int = 1> (f, w2)
    }"""
    model = onnx.parser.parse_model(text)
    generator = torch.Generator().manual_seed(0)
    for name, shape in (("w0", (8, 1, 3, 3)), ("w1", (16, 8, 1, 1)), ("w2", (4, 16))):
        values = torch.randn(shape, generator=generator) / 3
        model.graph.initializer.append(onnx.numpy_helper.from_array(values.numpy(), name))
    for node, name in zip((0, 2, 6), ("stem", "wide", "head"), strict=True):
        model.graph.node[node].name = name
    return model
