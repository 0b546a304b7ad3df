"""Small networks, ONNX Runtime as the reference, and models written as text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import torch
from torch import Tensor, fx, nn

from workbench.graph import build, capture


class Separable(nn.Module):
    """Depthwise convolution, batch norm, ReLU6, and a skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.act(self.norm(self.conv(x)))


class ConvNet(nn.Module):
    """Asymmetric padding, strides, pooling and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d((0, 1, 0, 1))
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.blocks = nn.Sequential(Separable(8), Separable(8))
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2, groups=2)
        self.up_norm = nn.BatchNorm2d(4)
        self.pool = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
        self.head = nn.Linear(4, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.nn.functional.hardswish(self.norm(self.stem(self.pad(image))))
        x = self.up_norm(self.up(self.blocks(x)))
        return self.head(self.pool(x).mean((2, 3)))


class Recurrent(nn.Module):
    """Two directions of GRU, then an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 5, batch_first=True, bidirectional=True)
        self.lstm = nn.LSTM(10, 7, batch_first=True)
        self.head = nn.Linear(7, 3)

    def forward(self, frames: Tensor) -> Tensor:
        return self.head(self.lstm(self.gru(frames)[0])[0][:, -1])


class Transformer(nn.Module):
    """Embedding, one attention block and a tied head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, 0.0, "gelu", batch_first=True)
        self.norm = nn.LayerNorm(8)

    def forward(self, tokens: Tensor) -> Tensor:
        causal = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        x = self.norm(self.block(self.embed(tokens), src_mask=causal))
        return x @ self.embed.weight.T


def settled(module: nn.Module) -> nn.Module:
    """Evaluation mode, batch norms with statistics that do something."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            nn.init.normal_(layer.weight, 1.0, 0.3)
            nn.init.normal_(layer.bias)
    return module.eval()


NETS = {
    "conv": (ConvNet, lambda: torch.randn(2, 3, 16, 16)),
    "recurrent": (Recurrent, lambda: torch.randn(2, 9, 6)),
    "transformer": (Transformer, lambda: torch.randint(0, 20, (2, 7))),
}


def runtime(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session that computes each node as it stands."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def run_all(model: ir.Model, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every value that the model's main graph computes, by name, from ONNX Runtime."""
    proto = ir.to_proto(model)
    present = {value.name for value in proto.graph.output}
    computed = (node for node in proto.graph.node if node.op_type != "Constant")
    names = [name for node in computed for name in node.output if name]
    proto.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in present)
    values = runtime(proto).run(names, feeds)
    return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}


def both(
    model: ir.Model, inputs: list[Tensor]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Every computed tensor by name: ONNX Runtime's, ours."""
    graph = build(model)
    feeds = {spec.name: x.numpy() for spec, x in zip(graph.inputs, inputs, strict=True)}
    reference = run_all(model, feeds)
    with torch.no_grad():
        ours = capture(graph.module, inputs)
    return reference, {name: ours[name].detach().numpy() for name in reference}


def worst_difference(model: ir.Model, inputs: list[Tensor]) -> tuple[float, str, int]:
    """Largest relative difference over all tensors: (value, its name, how many were compared)."""
    reference, ours = both(model, inputs)
    worst, where = 0.0, ""
    for name, wanted in reference.items():
        got = ours[name]
        assert got.shape == wanted.shape, name
        difference = relative(got, wanted)
        if difference > worst:
            worst, where = difference, name
    return worst, where, len(reference)


def in_float64(model: ir.Model, inputs: list[Tensor]) -> dict[str, np.ndarray]:
    """The same tensors without rounding worth mentioning."""
    module = build(model).module.double()
    for part in module.modules():
        if isinstance(part, fx.GraphModule):
            for node in part.graph.nodes:
                if node.kwargs.get("to") == onnx.TensorProto.FLOAT:
                    node.kwargs = {**node.kwargs, "to": onnx.TensorProto.DOUBLE}
            part.recompile()
    wide = [x.double() if x.is_floating_point() else x for x in inputs]
    with torch.no_grad():
        return {name: x.detach().numpy() for name, x in capture(module, wide).items()}


def relative(got: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference over largest value; infinities must agree in place."""
    if not wanted.size:
        return 0.0
    finite = np.isfinite(wanted)
    assert np.array_equal(finite, np.isfinite(got))
    a, b = np.where(finite, got, 0), np.where(finite, wanted, 0)
    peak = np.abs(b.astype(np.float64)).max()
    return float(np.abs(a.astype(np.float64) - b).max() / (peak or 1.0))


def from_text(text: str) -> ir.Model:
    """A model in the ONNX text format."""
    return ir.from_proto(onnx.parser.parse_model(text))


def save(model: onnx.ModelProto | bytes, path: Path) -> Path:
    """Write a model, well-formed or not."""
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return path
