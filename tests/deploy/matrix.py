"""The export matrix: operator x grid x granularity x store x opset, each judged in ONNX Runtime.

`python -m tests.deploy.matrix` runs all of it and prints the counts. A case is *equal* if the file
gives what the simulation gives, with graph optimisations off to within float noise and with them on
to within the steps of an 8-bit kernel; it is *refused* if the export says in a sentence why it
cannot be written. Anything else differs.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from tests.deploy import small
from workbench.deploy.export import export
from workbench.deploy.pack import Store
from workbench.deploy.runtime import open_session, run, with_outputs
from workbench.foundation.errors import ExportError
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site, Weight, layers
from workbench.graph.targets import ActivationGrid, WeightGrid, target
from workbench.maths.grid import Granularity, Grid
from workbench.maths.levels import TABLES

OPSETS = (13, 17, 19, 21, 25)
KINDS = ("tensor", "channel", "group", "ragged")
GROUP, RAGGED = 4, 3  # of 8 inputs, so that the last group is whole or has two values
INTEGER = tuple(k for k in small.KINDS if k not in ("gru", "gru-both", "lstm", "rnn", "embedding"))
#: where groups are judged at the oldest and the newest operator set too
GROUPED = ("conv", "gemm", "matmul", "gru", "embedding")
#: with optimisations off sums differ by their order; with them on, inputs of narrow products get
#: 8 bits
NOISE, STEPS = 1e-5, 5e-2
FLOATS = {"float8e4m3fn", "float8e5m2"}


@dataclass(frozen=True)
class Case:
    """One export."""

    kind: str
    grid: Grid
    granularity: str = "channel"
    activations: int | None = None
    store: Store = "packed"
    opset: int | None = None
    source_opset: int = 21

    def __str__(self) -> str:
        width = "" if self.activations is None else f" a{self.activations}"
        place = f"{self.store}, opset {self.source_opset} -> {self.opset or 'least'}"
        name = f"{self.grid.describe().split()[0]} {self.granularity}"
        return f"{self.kind}: {name}{'' if self.grid.symmetric else ' asymmetric'}{width}, {place}"


def cases(kind: str) -> Iterator[Case]:
    """All cases of one operator."""
    for grid in _grids():
        rare = not grid.uniform and grid.table not in ("nf4", "float8e4m3fn")
        for granularity in ("channel", "ragged") if rare else KINDS:
            yield Case(kind, grid, granularity)
    for grid in (Grid(8), Grid(4), Grid(2), Grid(4, table="nf4"), Grid(8, table="float8e5m2")):
        for opset in OPSETS:
            granularity = "group" if opset in (13, 25) and kind in GROUPED else "channel"
            yield Case(kind, grid, granularity, opset=opset, source_opset=13)
    for bits in (4, 2):
        yield Case(kind, Grid(bits), store="int8")
    if kind in INTEGER:
        yield from _with_activations(kind)


def _grids() -> Iterator[Grid]:
    """Every width, symmetric and not, and every table at its narrowest width."""
    yield from (Grid(bits) for bits in range(1, 9))
    yield from (Grid(bits, signed=False, symmetric=False) for bits in (2, 3, 4, 7, 8))
    yield from (Grid(table.bits[0], table=name) for name, table in TABLES.items())


def _with_activations(kind: str) -> Iterator[Case]:
    for active in (2, 5, 8, 11, 16):
        yield Case(kind, Grid(4), activations=active)
        yield Case(kind, Grid(8), activations=active)
    for bits in (7, 2):
        yield Case(kind, Grid(bits), activations=8)
    for bits in (8, 4):
        yield Case(kind, Grid(bits), "tensor", activations=8, store="int8")
    yield Case(kind, Grid(8, signed=False, symmetric=False), activations=8)
    for opset in OPSETS:
        yield Case(kind, Grid(8), activations=16 if opset in (13, 25) else 8, opset=opset,
                   source_opset=13)  # fmt: skip


def quantized(case: Case) -> QuantizedGraph:
    """The case's simulation, with min-max ranges."""
    graph = small.graph_of(case.kind, case.source_opset)
    weights = {w.name: w for layer in layers(graph) for w in layer.weights}
    changed = []
    for site in _sites(case.kind, case.activations, case.source_opset):
        grid = site.grid
        if site.kind == "weight":
            granularity = _granularity(case.granularity, weights[site.tensor])
            grid = replace(case.grid, granularity=granularity)
        elif site.kind == "bias":
            shared = case.granularity == "tensor"
            grid = replace(grid, granularity=Granularity() if shared else Granularity("channel"))
        changed.append(replace(site, grid=grid))
    model = QuantizedGraph(graph, changed).eval()
    small.calibrate(model, small.inputs_of(graph, 8, seed=9))
    if case.grid == Grid(1):  # min-max leaves all codes of one bit at zero
        for site in model.of_kind("weight"):
            model.quantizer(site.name).scale.data.mul_(0.25)
    return model


def refusal(case: Case) -> str:
    """Words of the refusal that is due, or nothing."""
    turned = case.kind in ("matmul-left", "matmul-batched")
    if turned and case.activations and not case.grid.symmetric:
        return "is a first factor or a batch of matrices with zero-points"
    low = case.opset is not None and max(case.opset, case.source_opset) < 21
    float8 = case.grid.table in FLOATS
    if low and case.activations == 16:
        return "opset '1[379]' holds 8 at most"
    if low and float8 and int(case.opset or 0) < 19:
        return "float8e5m2, and opset '1[37]' has no such thing|is quantized in groups"
    grouped = case.granularity in ("group", "ragged") and (case.grid.uniform or float8)
    return "is quantized in groups, and opset" if low and grouped else ""


def judge(case: Case, folder: Path) -> str:
    """ "equal", "refused: ..." or "differs: ..."."""
    model = quantized(case)
    try:
        written = export(model, folder / "m.onnx", store=case.store, opset=case.opset)
    except ExportError as error:
        return f"refused: {error}"
    names = [f"{site.tensor}__dq" for site in model.of_kind("weight")]
    active = [f"{site.tensor}__q" for site in model.of_kind("activation")]
    try:
        plain = open_session(with_outputs(written.path, names + active), optimise=False)
        optimised = open_session(written.path)
        for count in (1, 3):
            inputs = small.inputs_of(model.graph, count, seed=4)
            if case.activations:  # beyond the calibrated range, so that clipping shows
                inputs = tuple(2 * x for x in inputs)
            got = run(plain, inputs)
            found = _compare(model, inputs, got)
            if found:
                return f"differs: {found}"
            gap = _relative(got["y"], run(optimised, inputs)["y"])
            if gap > STEPS:
                return f"differs: output with optimisations on, by {gap:.2g}"
    except ExportError as error:
        return f"differs: {error}"
    return "equal"


def main() -> int:
    """Run everything; 0 if nothing differs."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for kind in sys.argv[1:] or small.KINDS:
            for case in cases(kind):
                verdict = judge(case, Path(folder))
                counts[verdict.split(":")[0]] += 1
                if verdict.startswith("differs"):
                    sys.stdout.write(f"{case}: {verdict}\n")
    sys.stdout.write(
        f"export matrix: {counts.total()} cases of {len(small.KINDS)} layers, "
        f"{counts['equal']} equal in ONNX Runtime, {counts['refused']} refused with a reason, "
        f"{counts['differs']} differ\n"
    )
    return int(bool(counts["differs"]))


@cache
def _sites(kind: str, activations: int | None, opset: int) -> list[Site]:
    """Places as a target gives them; their grids are changed by the case."""
    place = target("weight-only" if activations is None else "ort-cpu-vnni")
    active = None if activations is None else ActivationGrid(bits=activations)
    return place.sites(small.graph_of(kind, opset), WeightGrid(bits=8), active, edges=None)


def _granularity(kind: str, weight: Weight) -> Granularity:
    if kind == "tensor":
        return Granularity()
    if kind == "channel":
        return Granularity("channel", weight.channel_axis)
    return Granularity("group", weight.input_axis, GROUP if kind == "group" else RAGGED)


def _compare(model: QuantizedGraph, inputs: tuple, got: dict[str, np.ndarray]) -> str:
    frozen = model.frozen()
    for site in model.of_kind("weight"):
        values = frozen[site.name].values()
        if not values.any() or not np.array_equal(got[f"{site.tensor}__dq"], values.numpy()):
            return f"weight {site.name}"
    for site in model.of_kind("activation"):
        if site.tensor == "x":
            codes = model.quantizer(site.name).codes(inputs[0]).numpy()
            if not np.array_equal(got["x__q"].astype(np.float32), codes):
                return "codes of x"
    with torch.no_grad():
        expected = model(*inputs)[0].numpy()
    gap = _relative(expected, got["y"])
    return f"output, by {gap:.2g}" if gap > NOISE else ""


def _relative(expected: np.ndarray, got: np.ndarray) -> float:
    largest = np.abs(expected).max()
    assert largest > 0, "comparing zeros proves nothing"
    return float(np.abs(expected - got).max() / largest)


if __name__ == "__main__":
    sys.exit(main())
