"""Notebook widgets: the pictures of the app, in a cell."""

from __future__ import annotations

from workbench.ui.widgets.compare import CompareWidget
from workbench.ui.widgets.demo import DemoWidget
from workbench.ui.widgets.histogram import HistogramWidget
from workbench.ui.widgets.layers import GraphWidget, LayersWidget
from workbench.ui.widgets.pareto import ParetoWidget
from workbench.ui.widgets.signals import SignalsWidget
from workbench.ui.widgets.survey import SurveyWidget
from workbench.ui.widgets.tune import TuneWidget
from workbench.ui.widgets.verify import VerifyWidget

__all__ = [
    "CompareWidget",
    "DemoWidget",
    "GraphWidget",
    "HistogramWidget",
    "LayersWidget",
    "ParetoWidget",
    "SignalsWidget",
    "SurveyWidget",
    "TuneWidget",
    "VerifyWidget",
]
