"""The code that CONTRIBUTING.md shows does what it says."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
import torch

from workbench.foundation.errors import RecipeError
from workbench.foundation.options import controls
from workbench.maths.grid import Granularity, Grid
from workbench.quantizers.registry import QUANTIZERS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def shift(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The registry's entry of the worked example, registered for one test."""
    QUANTIZERS.names()
    monkeypatch.setattr(QUANTIZERS, "_entries", dict(QUANTIZERS._entries))
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "shift.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "shift", raising=False)
    importlib.import_module("shift")
    return QUANTIZERS["shift"]


def test_the_worked_quantizer_has_power_of_two_scales(shift):
    weight = torch.randn(6, 5)
    quantizer = shift.make(Grid(4, granularity=Granularity("channel", 0)), tuple(weight.shape))
    quantizer.set_range(weight.amin(1), weight.amax(1))
    frozen = quantizer.frozen(weight)
    mantissa, _ = torch.frexp(frozen.scale)
    assert torch.equal(mantissa, torch.full((6,), 0.5))
    assert torch.equal(frozen.values(), quantizer(weight))
    assert torch.equal(quantizer(frozen.values()), frozen.values())


def test_the_worked_quantizer_never_clips_the_calibrated_range(shift):
    quantizer = shift.make(Grid(4), (3,))
    quantizer.set_affine(torch.tensor(0.25), torch.tensor(0.0))
    assert quantizer.affine()[0] == 0.25
    quantizer.set_affine(torch.tensor(0.26), torch.tensor(0.0))
    assert quantizer.affine()[0] == 0.5


def test_the_worked_quantizer_learns(shift):
    quantizer = shift.make(Grid(4), (100,))
    quantizer.set_range(torch.tensor(-1.0), torch.tensor(1.0))
    quantizer(torch.randn(100)).square().sum().backward()
    assert quantizer.scale.grad.abs() > 0


def test_the_worked_options_describe_their_control(shift):
    (control,) = controls(shift.options)
    assert (control.minimum, control.maximum, control.default) == (0, 4, 0)
    with pytest.raises(RecipeError, match="has no option 'finer'"):
        shift.options.parse({"finer": 1}, "shift")


def test_links_in_the_pages_lead_somewhere():
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to '{link}'"
