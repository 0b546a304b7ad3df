"""The figure of the gradient estimators."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.maths.estimators.curves import curves
from workbench.maths.estimators.registry import ESTIMATORS
from workbench.views import figures


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
@pytest.mark.parametrize("names", [None, ["dsq"], ["ewgs", "dsq", "ste", "tanh"]])
def test_the_figure_is_written(names: list[str] | None, suffix: str, tmp_path: Path):
    figure = figures.estimator_figure(curves(names, bits=3))
    path = figures.save(figure, tmp_path / f"estimators.{suffix}")
    assert path.stat().st_size > 5000
    shown = len(names or ESTIMATORS.names())
    assert len(figure.axes) == 2 * shown
    assert {ax.get_xlim() for ax in figure.axes} == {(-0.745, 7.745)}
