"""Sums and layers read tensors of their own: the same function, with grids apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import workbench
from workbench.graph import fold
from workbench.graph.build import build
from workbench.graph.passes.split_shortcuts import split_shortcuts
from workbench.session.recipe import Override


class Residual(nn.Module):
    """Two blocks, of which the second one's shortcut is padded."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 8, 3, padding=1)
        self.act = nn.ReLU6()
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = self.act(x + self.first(x))
        x = (nn.functional.pad(x, (0, 0, 0, 0, 2, 2)) + self.second(x)).relu()
        return self.head(x.mean((2, 3)))


@pytest.fixture
def session() -> workbench.Session:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 6, 6)
    data = {"x": torch.rand(48, 3, 6, 6).numpy(), "labels": torch.arange(48).numpy() % 5}
    return workbench.open(Residual().eval(), example_inputs=(x,), data=data)


def test_layers_get_tensors_of_their_own_and_nothing_changes(session) -> None:
    model, _ = fold(session.source.clone())
    x = torch.rand(4, 3, 6, 6)
    before = build(model).module(x)[0]
    found = split_shortcuts(model)
    assert found.count == 2  # behind the stem, and behind the first sum; the last one ends it
    assert torch.equal(build(model).module(x)[0], before)
    assert split_shortcuts(model).count == 0


def test_sums_keep_eight_bits_where_layers_have_two(session) -> None:
    narrow = [n for n in _sites(session, ()) if n.endswith(".narrow")]
    assert not narrow
    found = _sites(session, ("split_shortcuts",))
    narrow = {name: bits for name, bits in found.items() if name.endswith(".narrow")}
    assert set(narrow.values()) == {2}
    assert len(narrow) == 2
    for name in narrow:
        assert found[name.removesuffix(".narrow")] == 8


def test_the_file_computes_what_was_simulated(session, tmp_path) -> None:
    recipe = _recipe(session, ("split_shortcuts",))
    run = session.quantize(recipe=recipe, out=tmp_path / "run")
    assert run.report()["verification"]["ok"], run.report()["verification"]["sentence"]


def _recipe(session: workbench.Session, transforms: tuple[str, ...]) -> workbench.Recipe:
    kinds = ("Relu", "Clip")
    nodes = [node for node in session.graph.model.graph if node.op_type in kinds]
    wide = [str(node.outputs[0].name) for node in nodes]
    overrides = tuple(Override(pattern=f"tensor:{name}", activations=8) for name in wide)
    recipe = session.recipe(4, 2, "rtn").changed(transforms=transforms, target="ort-cpu-vnni")
    return recipe.changed(overrides=overrides)


def _sites(session: workbench.Session, transforms: tuple[str, ...]) -> dict[str, int]:
    from workbench.session.execute import build as quantized

    model = quantized(session, _recipe(session, transforms))
    return {site.name: model.asked[site.name].bits for site in model.of_kind("activation")}
